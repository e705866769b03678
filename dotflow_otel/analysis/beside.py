"""A run beside the last ones of its workflow: what is out of the ordinary."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow_otel import conventions as names
from dotflow_otel.analysis.tree import view_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotflow_otel.analysis.tree import RunView
    from dotflow_otel.history.reader import History, RunInfo

RUNS: Final = 20

# What a value is of.
RUN_DURATION: Final = "run"
TASK_DURATION: Final = "task"
TASK_QUEUE: Final = "queue"
TASK_TRIES: Final = "attempts"

# How many values there must be beside which one can be out of the ordinary.
FEWEST: Final = 5

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
    """Return the last runs of a run's workflow that ended before it started, the latest first."""
    found = history.runs(workflow=run.workflow, until=run.started, limit=count * 2)
    return [each for each in found if each.ended is not None and each.key != run.key][:count]


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
    values: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        for key, value in _values(view_of(run, history.spans(run))):
            values.setdefault(key, []).append(value)
    baselines = {key: Baseline.of(found) for key, found in values.items()}
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
    for key, value in _values(view, completed=False):
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


def _values(
    view: RunView, *, completed: bool = True
) -> Iterable[tuple[tuple[str, str, str], float]]:
    for task in view.tasks:
        if not task.attempts or (completed and task.status != names.COMPLETED):
            continue
        name, group = task.name, task.group
        if task.ended is not None:
            yield (TASK_DURATION, name, group), task.duration(view.end)
        yield (TASK_QUEUE, name, group), task.queue
        yield (TASK_TRIES, name, group), float(task.tries)
