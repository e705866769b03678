"""The board *Fleet*: have all services enough workers, and enough error budget?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from boards import fleet_workers, links, variables
from boards.board import Board, Section
from boards.fleet_scope import FROM_ROW, FROM_SERIES, SOURCES, saturation
from boards.fleet_scope import queries as _q
from boards.look import (
    BAD_FROM_ONE,
    BUDGET,
    BURN,
    COUNT,
    FAST_BURN,
    HALF,
    NUMBER,
    SATURATION,
    SECONDS,
    SHARE,
    SUCCESS,
    THIRD,
    WIDE,
    About,
)
from boards.panels import bars, graph, number, ranking
from boards.queries import INSTANCE, JOB, RATE, share
from boards.shared import failed_share, success
from boards.tables import Column, rows
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels

# What may fail, as a share of all runs.
_BUDGET: Final = f"(1 - ${variables.OBJECTIVE} / 100)"


def board() -> Board:
    """Return the board."""
    return Board(
        links.FLEET,
        "Have all services enough workers, and enough error budget? Side by side: services "
        "(`job`) and their processes (`instance`).",
        [
            *(variables.pick_source(source) for source in SOURCES),
            variables.pick_label(JOB),
            variables.pick_label(INSTANCE, (JOB,)),
            variables.pick_objective(),
        ],
        [
            Section("Now", _numbers()),
            Section("Services", [*_services(), *_runs()]),
            Section("Error budget", _budget()),
            Section("Workers", [*fleet_workers.workers(), *fleet_workers.waits()]),
            Section("Processes", fleet_workers.processes()),
        ],
    )


_SERVICES: Final = About("Services", "Services that have metrics of dotflow.", COUNT, NUMBER)
_PROCESSES: Final = About(
    "Processes",
    "Their processes. Fewer than you run: look at Status, Targets in Prometheus.",
    COUNT,
    NUMBER,
)
_RUNNING: Final = About("Runs in progress", "Over all services.", COUNT, NUMBER)
_WORKERS_LIVE: Final = About(
    "Workers", "Live worker processes. They start when needed.", COUNT, NUMBER
)
_WORKERS_BUSY: Final = About(
    "Workers busy",
    "The share that runs a step. Near 100 % for long: look at the waits below; if tasks "
    "wait, give the service more workers or more processes.",
    SHARE,
    NUMBER,
    SATURATION,
)
_FASTEST: Final = About(
    "Fastest burn",
    "How fast the worst service spends its error budget over the last hour: at 1 it lasts "
    "exactly for the period of the objective, at 14.4 a month's is spent in two days.",
    COUNT,
    NUMBER,
    BURN,
)


def _numbers() -> Panels:
    return [
        number(_SERVICES, _q.how_many(JOB, names.WORKFLOW_STARTED)),
        number(_PROCESSES, _q.how_many(INSTANCE, names.WORKFLOW_STARTED)),
        number(_RUNNING, _q.total(names.WORKFLOW_IN_PROGRESS)),
        number(_WORKERS_LIVE, _q.total(names.WORKERS)),
        number(_WORKERS_BUSY, saturation(), without="no workers"),
        number(_FASTEST, f"max({_burn('1h')})", without="no run ended").decimals(1),
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
        Column("Lost", _q.counted(names.WORKFLOW_LOST, JOB), COUNT, BAD_FROM_ONE),
        Column("Success", success(_q, JOB), SHARE, SUCCESS),
        Column("p95", _q.quantile_of_all(0.95, names.WORKFLOW_DURATION, JOB), SECONDS),
        Column("In progress", _q.total(names.WORKFLOW_IN_PROGRESS, JOB)),
        Column("Workers", _q.total(names.WORKERS, JOB)),
        Column("Busy", saturation(JOB), SHARE, SATURATION),
        Column("Workers lost", _q.counted(names.WORKER_LOST, JOB), COUNT, BAD_FROM_ONE),
    ]
    return [rows(about, {JOB: "Service"}, columns, [FROM_ROW], "Failed")]


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
        graph(failing, {by_service: failed_share(_q, JOB)}, links=[FROM_SERIES]),
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
        ranking(spent, used, "{{job}}", links=[FROM_SERIES]),
        graph(fast, _burns("5m", "1h"), links=[FROM_SERIES]),
        graph(slow, _burns("6h", "3d"), links=[FROM_SERIES]),
    ]


def _burns(*windows: str) -> dict[str, str]:
    return {f"{{{{job}}}} over {window}": _burn(window) for window in windows}


def _burn(window: str) -> str:
    return f"{failed_share(_q, JOB, window=window)} / {_BUDGET}"
