"""Of the board *Workflow*: the numbers at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from boards.look import (
    BAD_FROM_ONE,
    COUNT,
    NUMBER,
    ODD_FROM_ONE,
    PLAIN,
    SECONDS,
    SHARE,
    SUCCESS,
    About,
)
from boards.panels import number
from boards.shared import success
from boards.workflow_scope import queries as _q
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels

_OF_TASKS: Final = {
    names.TASK_FAILED: About(
        "Tasks failed",
        "Tasks that failed for good, after all their attempts.",
        COUNT,
        NUMBER,
        BAD_FROM_ONE,
    ),
    names.TASK_RETRIED: About(
        "Retries",
        "Attempts that failed and were followed by another. Many, with few failures: what "
        "a task calls is unsteady; see retries by type of error.",
        COUNT,
        NUMBER,
        ODD_FROM_ONE,
    ),
    names.TASK_TIMED_OUT: About(
        "Timeouts",
        "Attempts that hit their timeout. Is the timeout too short, or what they wait for "
        "down? Their traces show where the time went.",
        COUNT,
        NUMBER,
        ODD_FROM_ONE,
    ),
    names.WORKER_LOST: About(
        "Workers lost",
        "Attempts whose worker process died. Look in the kernel's log for the "
        "out-of-memory killer.",
        COUNT,
        NUMBER,
        BAD_FROM_ONE,
    ),
    names.TASK_SKIPPED: About(
        "Tasks skipped",
        "Tasks that did not run, as one before them failed. They run once that is mended.",
        COUNT,
        NUMBER,
        ODD_FROM_ONE,
    ),
    names.TASK_RESTORED_TOTAL: About(
        "Tasks restored",
        "Tasks taken from a checkpoint by a run that resumed another. Nothing to do.",
        COUNT,
        NUMBER,
        PLAIN,
    ),
}


_STARTED: Final = About("Runs started", "Runs that began in the time shown.", COUNT, NUMBER)
_FAILED: Final = About(
    "Runs failed",
    "Runs with a failed task. Most failing tasks, below, tells which; failed traces tell why.",
    COUNT,
    NUMBER,
    BAD_FROM_ONE,
)
_RATIO: Final = About(
    "Success ratio",
    "Completed among all runs that ended in the time shown.",
    SHARE,
    NUMBER,
    SUCCESS,
)
_TOOK: Final = About(
    "Duration, p95",
    "All but one run in twenty took at most this. Grown: see which task is slowest now.",
    SECONDS,
    NUMBER,
)
_SINCE: Final = About(
    "Last success",
    "How long ago a run last completed. Longer than its period: are runs failing, or is "
    "none started? None known: show a longer time, then see whether it ever did.",
    SECONDS,
    NUMBER,
)
_RUNNING: Final = About("In progress", "Runs that go on.", COUNT, NUMBER)


def runs() -> Panels:
    """Describe the runs in numbers."""
    return [
        number(_STARTED, _q.counted(names.WORKFLOW_STARTED)),
        number(_FAILED, _q.counted(names.WORKFLOW_FAILED)),
        number(_RATIO, success(_q), without="no run ended"),
        number(_TOOK, _q.quantile_of_all(0.95, names.WORKFLOW_DURATION), without="no run ended"),
        number(_SINCE, _q.since_last(names.WORKFLOW_LAST_SUCCESS), without="none known"),
        number(_RUNNING, _q.total(names.WORKFLOW_IN_PROGRESS)),
    ]


def tasks() -> Panels:
    """Describe the tasks in numbers."""
    return [number(about, _q.counted(metric)) for metric, about in _OF_TASKS.items()]
