"""Why a run is as it is: what failed first, what followed, where the time went, what was lost.

Beside the last runs of its workflow: what is out of the ordinary.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow_otel import conventions as names
from dotflow_otel.analysis.timing import critical_path, time_of_tasks, time_on_path
from dotflow_otel.analysis.tree import view_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotflow_otel.analysis.timing import Segment, TimeSpent
    from dotflow_otel.analysis.tree import RunView, TaskView
    from dotflow_otel.history.reader import History, RunInfo
    from dotflow_otel.history.segments import LogLine


RUNS: Final = 20

# What a value is of.
RUN_DURATION: Final = "run"
TASK_DURATION: Final = "task"
TASK_QUEUE: Final = "queue"
TASK_TRIES: Final = "attempts"

# How many values there must be beside which one can be out of the ordinary.
FEWEST: Final = 5

# So many tasks are read in about a second, and tell as much as more of them would.
_MOST_TASKS: Final = 50_000

# How many spreads from the median is outside; of values that are spread as by chance (the normal
# distribution) one in 370 is.
_OUTSIDE: Final = 3.0

# By this the median of the distances from a median is as wide as a standard deviation.
_AS_DEVIATION: Final = 1.4826

# The least spread: a part of the median, and seconds. Less is what any machine does by chance.
_LEAST_PART: Final = 0.05
_LEAST: Final = 0.005


class Baseline(NamedTuple):
    """What values were in the last runs.

    Attributes:
        median: The middle one.
        spread: The median of their distances from it, times 1.4826: as wide as a standard
            deviation, but not made wider by one odd value.
        values: How many values there were.
    """

    median: float
    spread: float
    values: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Baseline:
        """Return that of some values, of which there is one at least."""
        middle = median(values)
        away = median([abs(value - middle) for value in values])
        return cls(middle, away * _AS_DEVIATION, len(values))

    def is_outside(self, value: float, *, least: float = _LEAST) -> bool:
        """Return whether a value is out of the ordinary.

        Args:
            value: The value.
            least: Three times this, in the value's unit, is never outside.
        """
        if self.values < FEWEST:
            return False
        spread = max(self.spread, self.median * _LEAST_PART, least)
        return abs(value - self.median) > _OUTSIDE * spread


class Unusual(NamedTuple):
    """A value that is out of the ordinary.

    Attributes:
        kind: `run`: its seconds; `task`: those of a task; `queue`: those that a task waited for
            workers; `attempts`: how many a task had.
        name: The name of the task; of the workflow where it is of the run.
        group: The name of the task's group; empty where it is of the run.
        value: The value.
        baseline: What it was in the runs before.
    """

    kind: str
    name: str
    group: str
    value: float
    baseline: Baseline

    @property
    def ratio(self) -> float | None:
        """The value beside the median; None where that is 0."""
        return self.value / self.baseline.median if self.baseline.median else None


class Beside(NamedTuple):
    """A run beside the last ones of its workflow.

    Attributes:
        runs: Those runs, the latest first.
        unusual: What is out of the ordinary, the run's own time first, then by how far it is out.
        tasks: What tasks took in those runs, by name and group.
    """

    runs: Sequence[RunInfo]
    unusual: Sequence[Unusual]
    tasks: dict[tuple[str, str], Baseline]


def earlier_runs(history: History, run: RunInfo, count: int = RUNS) -> list[RunInfo]:
    """Return the last runs of a run's workflow that ended before it started, the latest first.

    They are fewer where they have more tasks than can be read at once.
    """
    found = history.runs(workflow=run.workflow, until=run.started, limit=count * 2)
    ended = [each for each in found if each.ended is not None and each.key != run.key][:count]
    tasks = accumulate(each.tasks for each in ended)
    room = sum(so_far <= _MOST_TASKS for so_far in tasks)
    return ended[: max(room, FEWEST)]


def beside(history: History, view: RunView, count: int = RUNS) -> Beside:
    """Return what is out of the ordinary in a run, beside the last ones of its workflow.

    A run's time is compared with those that completed, and a task's with those of the same name
    and group that completed, whatever became of their runs.

    Args:
        history: Where they are.
        view: The run.
        count: With how many runs at most.

    Raises:
        HistoryUnusable: The history cannot be read.
    """
    runs = earlier_runs(history, view.run, count)
    durations = [each.duration for each in runs if each.status == names.COMPLETED]
    values: _Values = defaultdict(lambda: ([], [], []))
    for run in runs:
        _gather(view_of(run, history.spans(run)), values)
    baselines = {
        (kind, *key): Baseline.of(found)
        for key, kinds in values.items()
        for kind, found in zip(_KINDS, kinds, strict=True)
        if found
    }
    unusual = [*_outside(view, baselines)]
    unusual.sort(key=_distance, reverse=True)
    if durations and view.run.ended is not None:
        whole = Baseline.of(durations)
        if whole.is_outside(view.duration):
            unusual.insert(0, Unusual(RUN_DURATION, view.run.workflow, "", view.duration, whole))
    tasks = {key[1:]: each for key, each in baselines.items() if key[0] == TASK_DURATION}
    return Beside(runs, unusual, tasks)


def _outside(view: RunView, baselines: dict[tuple[str, str, str], Baseline]) -> Iterable[Unusual]:
    seen: dict[tuple[str, str, str], Unusual] = {}
    for key, value in _values(view):
        baseline = baselines.get(key)
        least = 1.0 / _OUTSIDE if key[0] == TASK_TRIES else _LEAST
        if baseline is None or not baseline.is_outside(value, least=least):
            continue
        if view.run.ended is None and value < baseline.median:
            continue  # it may have become more
        # Of many like tasks the one that is furthest out stands for all.
        found = Unusual(*key, value, baseline)
        known = seen.get(key)
        if known is None or _distance(found) > _distance(known):
            seen[key] = found
    return seen.values()


def _distance(unusual: Unusual) -> float:
    baseline = unusual.baseline
    spread = max(baseline.spread, baseline.median * _LEAST_PART, _LEAST)
    return abs(unusual.value - baseline.median) / spread


# By the name and group of a task: its seconds, those that it waited, and its attempts.
_Values = defaultdict[tuple[str, str], tuple[list[float], list[float], list[float]]]
_KINDS: Final = (TASK_DURATION, TASK_QUEUE, TASK_TRIES)


def _gather(view: RunView, values: _Values, *, completed: bool = True) -> None:
    for task in view.tasks:
        if not task.attempts or (completed and task.status != names.COMPLETED):
            continue
        durations, queues, tries = values[task.name, task.group]
        if task.ended is not None:
            durations.append(task.duration(view.end))
        queues.append(task.queue)
        tries.append(task.tries)


def _values(view: RunView) -> Iterable[tuple[tuple[str, str, str], float]]:
    values: _Values = defaultdict(lambda: ([], [], []))
    _gather(view, values, completed=False)
    for key, kinds in values.items():
        for kind, found in zip(_KINDS, kinds, strict=True):
            yield from (((kind, *key), value) for value in found)


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
