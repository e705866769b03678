"""Of the board *Fleet*: workers, and the processes that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards.fleet_scope import FROM_ROW, FROM_SERIES, PROCESS, saturation
from boards.fleet_scope import queries as _q
from boards.look import (
    BAD_FROM_ONE,
    COUNT,
    HALF,
    ODD_FROM_ONE,
    SATURATION,
    SECONDS,
    SHARE,
    WIDE,
    About,
)
from boards.panels import bars, graph
from boards.queries import INSTANCE, JOB, RATE
from boards.tables import Column, rows
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels


def workers() -> Panels:
    """Show how many workers there are, and how busy they are: two panels."""
    busy = About(
        "Saturation of workers",
        "Busy among live workers, by process. At 100 % for long, tasks queue: see their waits "
        "beside this, then raise `ExecutorLocal(workers=)` or add a process.",
        SHARE,
        HALF,
        SATURATION,
    )
    workers = About(
        "Workers, live and busy",
        "A drop in live workers that nobody asked for: see the workers lost below.",
        COUNT,
        HALF,
    )
    queries = {
        "{{job}} live": _q.total(names.WORKERS, JOB),
        "{{job}} busy": _q.total(names.WORKERS_BUSY, JOB),
    }
    return [
        graph(busy, {"{{instance}} ({{job}})": saturation(*PROCESS)}),
        graph(workers, queries),
    ]


def waits() -> Panels:
    """Show how long tasks wait for workers, and how many workers die: two panels."""
    waits = About(
        "Wait for a worker, p95",
        "How long tasks that were ready waited. Longer than the tasks themselves take: there "
        "are too few workers.",
        SECONDS,
        HALF,
    )
    lost = About(
        "Workers lost",
        "Attempts whose worker process died. Look in the kernel's log for the out-of-memory "
        "killer, then in the trace of such a task at what it loads.",
        COUNT,
        HALF,
    )
    wait = _q.quantile(0.95, names.TASK_QUEUE, JOB)
    return [
        graph(waits, {"{{job}}": wait}, exemplars=True, links=[FROM_SERIES]),
        bars(lost, {"{{job}}": _q.counted(names.WORKER_LOST, JOB, window=RATE)}, exemplars=True),
    ]


def processes() -> Panels:
    """Show a row for each process: one panel."""
    about = About(
        "Processes",
        "One that stands out among its like: restart it, after a look at its log. Telemetry "
        "errors: the overview tells of which provider.",
        COUNT,
        WIDE,
    )
    columns = [
        Column("Started", _q.counted(names.WORKFLOW_STARTED, *PROCESS)),
        Column("Failed", _q.counted(names.WORKFLOW_FAILED, *PROCESS), COUNT, BAD_FROM_ONE),
        Column("Tasks in progress", _q.total(names.TASK_IN_PROGRESS, *PROCESS)),
        Column("Oldest run", _q.age(names.WORKFLOW_OLDEST_START, *PROCESS), SECONDS),
        Column("Workers", _q.total(names.WORKERS, *PROCESS)),
        Column("Busy", saturation(*PROCESS), SHARE, SATURATION),
        Column(
            "Telemetry errors",
            _q.counted(names.TELEMETRY_ERRORS, *PROCESS),
            COUNT,
            ODD_FROM_ONE,
        ),
    ]
    return [rows(about, {JOB: "Service", INSTANCE: "Process"}, columns, [FROM_ROW], "Failed")]
