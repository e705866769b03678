"""The board *Overview*: does everything run, and well?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from boards import links, variables
from boards.board import Board, Section
from boards.look import (
    BAD_FROM_ONE,
    COUNT,
    HALF,
    NUMBER,
    ODD_FROM_ONE,
    SECONDS,
    SHARE,
    SUCCESS,
    THIRD,
    TWO_THIRDS,
    About,
)
from boards.panels import bars, graph, number, ranking
from boards.queries import JOB, RATE, Queries
from boards.shared import durations, failed_share, outcomes, success
from boards.tables import Column, rows
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels

_SOURCES: Final = (variables.METRICS, variables.TRACES)
_WORKFLOW: Final = (JOB, "workflow")
_BY_WORKFLOW: Final = "{{workflow}} ({{job}})"
_q: Final = Queries((*_WORKFLOW, "mode"))
_FROM_SERIES: Final = links.to_workflow(
    {label: links.label(label) for label in _WORKFLOW}, _SOURCES
)


def board() -> Board:
    """Return the board."""
    return Board(
        links.OVERVIEW,
        "Does everything run, and well? How many runs started, completed and failed, how long "
        "they took, and when each workflow last succeeded.",
        [
            *(variables.pick_source(source) for source in _SOURCES),
            variables.pick_label(JOB),
            variables.pick_label("workflow", (JOB,)),
            variables.pick_label("mode", _WORKFLOW),
        ],
        [
            Section("In this time", _numbers()),
            Section("By workflow", _by_workflow()),
            Section("Over time", _over_time()),
            Section("Schedules", _schedules()),
            Section("Telemetry itself", _telemetry()),
        ],
    )


_STARTED: Final = About(
    "Runs started",
    "Runs that began in the time shown. None, where some are due: look at the scheduler, "
    "then whether Prometheus reaches the service (Status, Targets).",
    COUNT,
    NUMBER,
)
_COMPLETED: Final = About(
    "Runs completed", "Runs that ended well in the time shown.", COUNT, NUMBER
)
_FAILED: Final = About(
    "Runs failed",
    "Runs with a failed task. Look below which workflow they are of, and open it.",
    COUNT,
    NUMBER,
    BAD_FROM_ONE,
)
_RATIO: Final = About(
    "Success ratio",
    "Completed among all runs that ended in the time shown. Below 99 %: find the workflow "
    "in the table below.",
    SHARE,
    NUMBER,
    SUCCESS,
)


def _numbers() -> Panels:
    return [
        number(_STARTED, _q.counted(names.WORKFLOW_STARTED)),
        number(_COMPLETED, _q.counted(names.WORKFLOW_COMPLETED)),
        number(_FAILED, _q.counted(names.WORKFLOW_FAILED)),
        number(_RATIO, success(_q), without="no run ended"),
        *_now(),
    ]


_RUNNING: Final = About(
    "In progress", "Runs that go on at the end of the time shown.", COUNT, NUMBER
)
_OLDEST: Final = About(
    "Oldest run",
    "How long the oldest run in progress has been going. Longer than its workflow ever "
    "took: look in its trace which task it waits in, and give that task a timeout.",
    SECONDS,
    NUMBER,
)


def _now() -> Panels:
    return [
        number(_RUNNING, _q.total(names.WORKFLOW_IN_PROGRESS)),
        number(_OLDEST, _q.age(names.WORKFLOW_OLDEST_START), without="none runs"),
    ]


def _by_workflow() -> Panels:
    table = About(
        "Workflows",
        "What each workflow did in the time shown. Click on one to see what in it is slow or "
        "fails.",
        COUNT,
        TWO_THIRDS,
    )
    columns = [
        Column("Started", _q.counted(names.WORKFLOW_STARTED, *_WORKFLOW)),
        Column("Completed", _q.counted(names.WORKFLOW_COMPLETED, *_WORKFLOW)),
        Column("Failed", _q.counted(names.WORKFLOW_FAILED, *_WORKFLOW), COUNT, BAD_FROM_ONE),
        Column("Lost", _q.counted(names.WORKFLOW_LOST, *_WORKFLOW), COUNT, BAD_FROM_ONE),
        Column("Success", success(_q, *_WORKFLOW), SHARE, SUCCESS),
        Column("p95", _q.quantile_of_all(0.95, names.WORKFLOW_DURATION, *_WORKFLOW), SECONDS),
        Column("In progress", _q.total(names.WORKFLOW_IN_PROGRESS, *_WORKFLOW)),
    ]
    drill = [
        links.to_workflow(
            {JOB: links.field("Service"), "workflow": links.field("Workflow")}, _SOURCES
        )
    ]
    since = About(
        "Time since last success",
        "How long ago a run of each workflow last completed. Longer than its period: open the "
        "workflow; if nothing started at all, look at its scheduler. Of processes that are gone "
        "it knows what the time shown has.",
        SECONDS,
        THIRD,
    )
    ages = _q.since_last(names.WORKFLOW_LAST_SUCCESS, *_WORKFLOW)
    keys = {JOB: "Service", "workflow": "Workflow"}
    return [
        rows(table, keys, columns, drill, "Failed"),
        ranking(since, f"sort_desc({ages})", _BY_WORKFLOW, links=[_FROM_SERIES]),
    ]


def _over_time() -> Panels:
    return [*outcomes(_q), *_failing(), *durations(_q), *_in_progress()]


def _failing() -> Panels:
    about = About(
        "Failed share by workflow",
        "Which share of the runs that ended failed. Click on a line to open the workflow. All "
        "at once: suspect what they share, a database or a network.",
        SHARE,
        HALF,
    )
    query = failed_share(_q, *_WORKFLOW)
    return [graph(about, {_BY_WORKFLOW: query}, links=[_FROM_SERIES])]


def _in_progress() -> Panels:
    running = About(
        "In progress by workflow",
        "Runs that go on. A line that only climbs: runs start faster than they end, or hang.",
        COUNT,
        HALF,
    )
    oldest = About(
        "Age of the oldest run by workflow",
        "A line that climbs without an end is a run that hangs: open its workflow and look in "
        "its trace which task it waits in.",
        SECONDS,
        HALF,
    )
    started = _q.age(names.WORKFLOW_OLDEST_START, *_WORKFLOW)
    return [
        graph(
            running,
            {_BY_WORKFLOW: _q.total(names.WORKFLOW_IN_PROGRESS, *_WORKFLOW)},
            links=[_FROM_SERIES],
        ),
        graph(oldest, {_BY_WORKFLOW: started}, links=[_FROM_SERIES]),
    ]


def _schedules() -> Panels:
    late = About(
        "Late ticks",
        "Ticks of schedules whose run began more than a second late: it waited for the run before "
        "it, or the machine slept or is busy.",
        COUNT,
        HALF,
        ODD_FROM_ONE,
    )
    skipped = About(
        "Skipped ticks",
        "Ticks of schedules without a run: runs before them still went on (overlap), nobody could "
        "look at the time (missed), or the schedule ended while they waited (stopped).",
        COUNT,
        HALF,
        ODD_FROM_ONE,
    )
    of_fired = _q.counted(names.TICK_FIRED_TOTAL, *_WORKFLOW, window=RATE)
    of_late = _q.counted(names.TICK_LATE_TOTAL, *_WORKFLOW, window=RATE)
    reasons = _q.counted(names.TICK_SKIPPED_TOTAL, *_WORKFLOW, "reason", window=RATE)
    return [
        bars(late, {f"{_BY_WORKFLOW}: late": of_late, f"{_BY_WORKFLOW}: all": of_fired}),
        bars(skipped, {f"{_BY_WORKFLOW}: {{{{reason}}}}": reasons}),
    ]


def _telemetry() -> Panels:
    errors = About(
        "Errors of providers",
        "Errors that a provider (tracer, metrics, log, notify, server) raised. No run is the "
        "worse for them, but some of what you see here may be missing. The service's log has "
        "the traceback, once for each provider and hook.",
        COUNT,
        HALF,
        ODD_FROM_ONE,
    )
    dropped = About(
        "Dropped telemetry",
        "Spans, metrics and log records that could not be delivered. Look whether the "
        "collector is up and reached, then at the size of its queue.",
        COUNT,
        HALF,
        ODD_FROM_ONE,
    )
    of_hooks = _q.counted(names.TELEMETRY_ERRORS, "provider", "hook", window=RATE)
    of_signals = _q.counted(names.TELEMETRY_DROPPED, "signal", window=RATE)
    return [
        bars(errors, {"{{provider}}.{{hook}}": of_hooks}),
        bars(dropped, {"{{signal}}": of_signals}),
    ]
