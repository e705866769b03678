"""Why a run is as it is: what failed first, what followed, where the time went, what was lost."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow_otel import conventions as names
from dotflow_otel.analysis.beside import beside
from dotflow_otel.analysis.timing import critical_path, time_of_tasks, time_on_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotflow_otel.analysis.beside import Beside
    from dotflow_otel.analysis.timing import Segment, TimeSpent
    from dotflow_otel.analysis.tree import RunView, TaskView
    from dotflow_otel.history.reader import History
    from dotflow_otel.history.segments import LogLine

_SKIPPED: Final = "task.skipped"


class InFlight(NamedTuple):
    """A task that goes on, or went on when the run was lost.

    Attributes:
        task: The task.
        attempt: The number of the attempt that goes on; 0 while none does.
        since: When that began, or the task could begin, in nanoseconds since the epoch.
        seconds: For how long it went on, as far as is known.
    """

    task: TaskView
    attempt: int
    since: int
    seconds: float


class Why(NamedTuple):
    """Why a run is as it is.

    Attributes:
        view: The run.
        first: The task that failed first; None: none did.
        also_failed: Those that failed after it, in the order of their ends.
        skipped: How many tasks did not run.
        skipped_names: Their names, as far as the log tells them, in order.
        retried: The tasks that had several attempts, those that had most first.
        path: The critical path.
        on_path: What the time was spent on along it.
        of_tasks: What all tasks spent their time on, added up.
        in_flight: What goes on, or went on when the run was lost, the longest first.
        beside: The run beside the last ones of its workflow.
    """

    view: RunView
    first: TaskView | None
    also_failed: Sequence[TaskView]
    skipped: int
    skipped_names: Sequence[str]
    retried: Sequence[TaskView]
    path: Sequence[Segment]
    on_path: TimeSpent
    of_tasks: TimeSpent
    in_flight: Sequence[InFlight]
    beside: Beside


def why(history: History, view: RunView, lines: Iterable[LogLine] = ()) -> Why:
    """Return why a run is as it is.

    Args:
        history: Where the last runs of its workflow are.
        view: The run.
        lines: Its log lines, which name the tasks that were skipped.

    Raises:
        HistoryUnusable: The history cannot be read.
    """
    failed = [task for task in view.tasks if task.status == names.FAILED]
    failed.sort(key=lambda task: task.ended or view.end)
    path = critical_path(view)
    skipped = [str(line.fields.get("task", "")) for line in lines if line.event == _SKIPPED]
    retried = [task for task in view.tasks if task.tries > 1]
    retried.sort(key=attrgetter("tries"), reverse=True)
    return Why(
        view,
        failed[0] if failed else None,
        failed[1:],
        # Of a run that completed all ran, whatever the history has missed.
        0 if view.run.status == names.COMPLETED else view.run.skipped,
        skipped,
        retried,
        path,
        time_on_path(path),
        time_of_tasks(view),
        in_flight(view),
        beside(history, view),
    )


def in_flight(view: RunView) -> list[InFlight]:
    """Return what goes on, or went on when the run was lost, the longest first."""
    found = []
    for task in view.tasks:
        if task.ended is not None:
            continue
        last = task.attempts[-1] if task.attempts else None
        goes_on = last is not None and last.ended is None
        since = task.ready if last is None else last.ended or last.started
        number = last.number if last is not None and goes_on else 0
        found.append(InFlight(task, number, since, max(view.end - since, 0) / 1e9))
    found.sort(key=attrgetter("seconds"), reverse=True)
    return found
