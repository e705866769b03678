"""The board *Fleet*: have all services enough workers, and enough error budget?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from boards import links, variables
from boards.board import Board, Section
from boards.look import (
    BAD_FROM_ONE,
    BUDGET,
    BURN,
    COUNT,
    FAST_BURN,
    HALF,
    NUMBER,
    ODD_FROM_ONE,
    SATURATION,
    SECONDS,
    SHARE,
    SUCCESS,
    THIRD,
    WIDE,
    About,
)
from boards.panels import bars, graph, number, ranking
from boards.queries import INSTANCE, JOB, RATE, Queries, portion, share
from boards.shared import failed_share, success
from boards.tables import Column, rows
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels

_SOURCES: Final = (variables.METRICS,)
_PROCESS: Final = (JOB, INSTANCE)
_q: Final = Queries(_PROCESS)
_FROM_SERIES: Final = links.to_overview({JOB: links.label(JOB)}, _SOURCES)
_FROM_ROW: Final = links.to_overview({JOB: links.field("Service")}, _SOURCES)

# What may fail, as a share of all runs.
_BUDGET: Final = f"(1 - ${variables.OBJECTIVE} / 100)"


def board() -> Board:
    """Give the board."""
    return Board(
        links.FLEET,
        "Have all services enough workers, and enough error budget? Side by side: services "
        "(`job`) and their processes (`instance`).",
        [
            *(variables.pick_source(source) for source in _SOURCES),
            variables.pick_label(JOB),
            variables.pick_label(INSTANCE, (JOB,)),
            variables.pick_objective(),
        ],
        [
            Section("Now", _numbers()),
            Section("Services", [*_services(), *_runs()]),
            Section("Error budget", _budget()),
            Section("Workers", [*_workers(), *_waits()]),
            Section("Processes", _processes()),
        ],
    )


def _numbers() -> Panels:
    services = About("Services", "Services that have metrics of dotflow.", COUNT, NUMBER)
    processes = About(
        "Processes",
        "Their processes. Fewer than you run: look at Status, Targets in Prometheus.",
        COUNT,
        NUMBER,
    )
    running = About("Runs in progress", "Over all services.", COUNT, NUMBER)
    workers = About("Workers", "Live worker processes. They start when needed.", COUNT, NUMBER)
    busy = About(
        "Workers busy",
        "The share that runs a step. Near 100 % for long: look at the waits below; if tasks "
        "wait, give the service more workers or more processes.",
        SHARE,
        NUMBER,
        SATURATION,
    )
    burn = About(
        "Fastest burn",
        "How fast the worst service spends its error budget over the last hour: at 1 it lasts "
        "exactly for the period of the objective, at 14.4 a month's is spent in two days.",
        COUNT,
        NUMBER,
        BURN,
    )
    return [
        number(services, _q.how_many(JOB, names.WORKFLOW_STARTED)),
        number(processes, _q.how_many(INSTANCE, names.WORKFLOW_STARTED)),
        number(running, _q.total(names.WORKFLOW_IN_PROGRESS)),
        number(workers, _q.total(names.WORKERS)),
        number(busy, _saturation(), without="no workers"),
        number(burn, f"max({_burn('1h')})", without="no run ended").decimals(1),
    ]


def _services() -> Panels:
    about = About(
        "Services",
        "What each service did in the time shown. Click on one to see its workflows.",
        COUNT,
        WIDE,
    )
    columns = [
        Column("Processes", _q.how_many(INSTANCE, names.WORKFLOW_STARTED, JOB)),
        Column("Started", _q.counted(names.WORKFLOW_STARTED, JOB)),
        Column("Failed", _q.counted(names.WORKFLOW_FAILED, JOB), COUNT, BAD_FROM_ONE),
        Column("Success", success(_q, JOB), SHARE, SUCCESS),
        Column("p95", _q.quantile_of_all(0.95, names.WORKFLOW_DURATION, JOB), SECONDS),
        Column("In progress", _q.total(names.WORKFLOW_IN_PROGRESS, JOB)),
        Column("Workers", _q.total(names.WORKERS, JOB)),
        Column("Busy", _saturation(JOB), SHARE, SATURATION),
        Column("Workers lost", _q.counted(names.WORKER_LOST, JOB), COUNT, BAD_FROM_ONE),
    ]
    return [rows(about, {JOB: "Service"}, columns, [_FROM_ROW], "Failed")]


def _runs() -> Panels:
    started = About(
        "Runs by service",
        "Runs that started around each moment. A service that falls to nothing: look whether "
        "it is up and its scheduler runs.",
        COUNT,
        HALF,
    )
    failing = About(
        "Failed share by service",
        "Which share of the runs that ended failed. Several services at once: suspect what "
        "they share.",
        SHARE,
        HALF,
    )
    by_service = "{{job}}"
    return [
        bars(started, {by_service: _q.counted(names.WORKFLOW_STARTED, JOB, window=RATE)}),
        graph(failing, {by_service: failed_share(_q, JOB)}, links=[_FROM_SERIES]),
    ]


def _budget() -> Panels:
    spent = About(
        "Budget spent in this time",
        "Failed runs as a part of those that the objective allows of all that ended in the "
        "time shown. At 100 % all of it is spent: stop changing that service, mend it first.",
        SHARE,
        THIRD,
        BUDGET,
    )
    fast = About(
        "Fast burn",
        "How many times faster than allowed the budget goes. 14.4 over both windows spends a "
        "month's budget in two days: act now.",
        COUNT,
        THIRD,
        FAST_BURN,
    )
    slow = About(
        "Slow burn",
        "As the fast burn, over longer windows. Above 1 for long, the budget does not last: "
        "open the service and take its most frequent failure.",
        COUNT,
        THIRD,
        BURN,
    )
    failed = _q.counted(names.WORKFLOW_FAILED, JOB)
    completed = _q.counted(names.WORKFLOW_COMPLETED, JOB)
    used = f"sort_desc({share(failed, completed)} / {_BUDGET})"
    return [
        ranking(spent, used, "{{job}}", links=[_FROM_SERIES]),
        graph(fast, _burns("5m", "1h"), links=[_FROM_SERIES]),
        graph(slow, _burns("6h", "3d"), links=[_FROM_SERIES]),
    ]


def _workers() -> Panels:
    saturation = About(
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
        graph(saturation, {"{{instance}} ({{job}})": _saturation(*_PROCESS)}),
        graph(workers, queries),
    ]


def _waits() -> Panels:
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
        graph(waits, {"{{job}}": wait}, exemplars=True, links=[_FROM_SERIES]),
        bars(lost, {"{{job}}": _q.counted(names.WORKER_LOST, JOB, window=RATE)}, exemplars=True),
    ]


def _processes() -> Panels:
    about = About(
        "Processes",
        "One that stands out among its like: restart it, after a look at its log. Telemetry "
        "errors: the overview tells of which provider.",
        COUNT,
        WIDE,
    )
    columns = [
        Column("Started", _q.counted(names.WORKFLOW_STARTED, *_PROCESS)),
        Column("Failed", _q.counted(names.WORKFLOW_FAILED, *_PROCESS), COUNT, BAD_FROM_ONE),
        Column("Tasks in progress", _q.total(names.TASK_IN_PROGRESS, *_PROCESS)),
        Column("Oldest run", _q.age(names.WORKFLOW_OLDEST_START, *_PROCESS, of="min"), SECONDS),
        Column("Workers", _q.total(names.WORKERS, *_PROCESS)),
        Column("Busy", _saturation(*_PROCESS), SHARE, SATURATION),
        Column(
            "Telemetry errors",
            _q.counted(names.TELEMETRY_ERRORS, *_PROCESS),
            COUNT,
            ODD_FROM_ONE,
        ),
    ]
    return [rows(about, {JOB: "Service", INSTANCE: "Process"}, columns, [_FROM_ROW], "Failed")]


def _saturation(*by: str) -> str:
    return portion(_q.total(names.WORKERS_BUSY, *by), _q.total(names.WORKERS, *by))


def _burns(*windows: str) -> dict[str, str]:
    return {f"{{{{job}}}} over {window}": _burn(window) for window in windows}


def _burn(window: str) -> str:
    return f"{failed_share(_q, JOB, window=window)} / {_BUDGET}"
