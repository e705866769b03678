"""Where the time of a run went: workers, waits, the critical path; and two runs side by side."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.types import TypeExecution
from dotflow_otel.analysis.tree import RESTORED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dotflow_otel.analysis.tree import Attempt, RunView, TaskView


# What a segment of the critical path is.
STEP: Final = "step"
RETRY: Final = "retry"
QUEUE: Final = "queue"
BACKOFF: Final = "backoff"
BETWEEN: Final = "between"

# Nanoseconds by which what ends may lie behind what that lets begin: two clocks measured them.
_SLACK: Final = 5_000_000


class Segment(NamedTuple):
    """A piece of the critical path.

    Attributes:
        kind: `step`: the last attempt of a task; `retry`: one that was followed by another;
            `queue`: waiting for a worker; `backoff`: waiting between two attempts; `between`:
            what none of the tasks explains.
        started: Nanoseconds since the epoch.
        ended: Likewise.
        task: The task that it is of, or waits for; None: none does.
    """

    kind: str
    started: int
    ended: int
    task: TaskView | None

    @property
    def duration(self) -> float:
        """Seconds."""
        return max(self.ended - self.started, 0) / 1e9


class TimeSpent(NamedTuple):
    """Seconds, by what they were spent on.

    Attributes:
        total: The sum of all.
        steps: Attempts that ended their tasks, or go on.
        retries: Attempts that were followed by another.
        queue: Waiting for workers.
        backoff: Waiting between attempts.
        between: Before, between and after tasks.
    """

    total: float
    steps: float = 0.0
    retries: float = 0.0
    queue: float = 0.0
    backoff: float = 0.0
    between: float = 0.0


class Concurrency(NamedTuple):
    """How many attempts of a run went on at the same time.

    Attributes:
        most: At most.
        average: On average, over the whole run.
    """

    most: int
    average: float


class Lane(NamedTuple):
    """What one process ran.

    Attributes:
        host: The machine.
        pid: The process; None: not known.
        attempts: What it ran, each with its task, in the order of their starts.
        busy: Seconds that it ran steps.
    """

    host: str
    pid: int | None
    attempts: Sequence[tuple[TaskView, Attempt]]
    busy: float


def critical_path(view: RunView) -> list[Segment]:
    """Return what the end of a run waited for, from its start to its end without a gap.

    From the task that ended last it goes back to what that one was waiting for: the task before
    it in its group, or in the run where tasks run one after another.
    """
    found: list[Segment] = []
    until = view.end
    before = _Before(view)
    task = before.last()
    while task is not None:
        for segment in reversed([*_segments(task, view)]):
            ended = min(segment.ended, until)
            if ended < until:
                found.append(Segment(BETWEEN, ended, until, None))
            until = min(segment.started, ended)
            if ended > until:
                found.append(Segment(segment.kind, until, ended, segment.task))
        task = before.before(task)
    if until > view.run.started:
        found.append(Segment(BETWEEN, view.run.started, until, None))
    found.reverse()
    return found


def _segments(task: TaskView, view: RunView) -> Iterator[Segment]:
    at, last = task.ready, len(task.attempts) - 1
    for number, attempt in enumerate(task.attempts):
        queued = max(attempt.started - int(attempt.queue * 1e9), at)
        if number:
            yield Segment(BACKOFF, at, queued, task)
        else:
            queued = at
        kind = QUEUE if attempt.queue else BETWEEN
        yield Segment(kind, queued, max(attempt.started, queued), task)
        at = max(attempt.ended or view.end, attempt.started)
        yield Segment(STEP if number == last else RETRY, attempt.started, at, task)


class _Before:
    """Finds the task that another one waited for."""

    def __init__(self, view: RunView) -> None:
        self._end = view.end
        self._start = view.run.started
        ran = [task for task in view.tasks if task.status != RESTORED]
        self._by_end = sorted(ran, key=self._ended)
        self._ends = [self._ended(task) for task in self._by_end]
        self._groups: dict[str, list[TaskView]] = {}
        for task in sorted(ran, key=attrgetter("place")):
            self._groups.setdefault(task.group, []).append(task)
        self._places = {
            task.span_id: place
            for tasks in self._groups.values()
            for place, task in enumerate(tasks)
        }
        self._is_parallel = view.run.mode == TypeExecution.PARALLEL

    def _ended(self, task: TaskView) -> int:
        return self._end if task.ended is None else task.ended

    def last(self) -> TaskView | None:
        return self._by_end[-1] if self._by_end else None

    def before(self, task: TaskView) -> TaskView | None:
        """Return the task whose end let this one begin; None: the start of the run did."""
        return self._in_group(task) if self._is_parallel else self._in_run(task)

    def _in_group(self, task: TaskView) -> TaskView | None:
        place = self._places[task.span_id]
        if not place:
            return None
        found = self._groups[task.group][place - 1]
        # Tasks of a single group all begin with the run.
        if self._ended(found) > task.ready + _SLACK or found.ready >= task.ready:
            return None
        return found

    def _in_run(self, task: TaskView) -> TaskView | None:
        place = bisect_right(self._ends, task.ready + _SLACK)
        while place:
            place -= 1
            found = self._by_end[place]
            if found.ready < task.ready:
                return found
        return None


def time_on_path(path: Sequence[Segment]) -> TimeSpent:
    """Return what the time of a run was spent on, along its critical path."""
    sums = dict.fromkeys((STEP, RETRY, QUEUE, BACKOFF, BETWEEN), 0.0)
    for segment in path:
        sums[segment.kind] += segment.duration
    return TimeSpent(sum(sums.values()), *sums.values())


def time_of_tasks(view: RunView) -> TimeSpent:
    """Return what the tasks of a run spent their time on, all of them added up."""
    steps = retries = queue = backoff = 0.0
    for task in view.tasks:
        if not task.attempts:
            continue
        retries += task.retried(view.end)
        steps += task.attempts[-1].duration(view.end)
        queue += task.queue
        backoff += task.backoff
    return TimeSpent(steps + retries + queue + backoff, steps, retries, queue, backoff)


def lanes(view: RunView) -> list[Lane]:
    """Return the processes that ran a run's attempts, in the order of their first one."""
    found: dict[tuple[str, int | None], list[tuple[TaskView, Attempt]]] = {}
    attempts = [(task, attempt) for task in view.tasks for attempt in task.attempts]
    for task, attempt in sorted(attempts, key=lambda each: each[1].started):
        found.setdefault((attempt.host, attempt.pid), []).append((task, attempt))
    return [
        Lane(host, pid, ran, sum(attempt.duration(view.end) for _, attempt in ran))
        for (host, pid), ran in found.items()
    ]


def concurrency(view: RunView) -> Concurrency:
    """Return how many attempts of a run went on at the same time."""
    attempts = [attempt for task in view.tasks for attempt in task.attempts]
    # Where one ends as another begins, they do not count as two.
    changes = [(attempt.ended or view.end, -1) for attempt in attempts]
    changes += [(attempt.started, 1) for attempt in attempts]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    busy = sum(attempt.duration(view.end) for attempt in attempts)
    return Concurrency(most, busy / view.duration if view.duration else 0.0)


class TaskChange(NamedTuple):
    """What tasks of one name and group took in two runs.

    Attributes:
        name: Their name.
        group: The name of their group.
        before: Seconds that they took in the first run, added up; None: none ran there.
        after: Likewise in the second.
        count_before: How many ran in the first run.
        count_after: How many ran in the second.
        status_before: The status of the one that ended last in the first run; None: as `before`.
        status_after: Likewise in the second.
        tries_before: How many attempts they had in the first run.
        tries_after: Likewise in the second.
    """

    name: str
    group: str
    before: float | None
    after: float | None
    count_before: int
    count_after: int
    status_before: str | None
    status_after: str | None
    tries_before: int
    tries_after: int

    @property
    def change(self) -> float:
        """Seconds that they took more in the second run."""
        return (self.after or 0.0) - (self.before or 0.0)

    @property
    def ratio(self) -> float | None:
        """The second run's seconds beside the first one's; None where there are none."""
        return self.after / self.before if self.before and self.after is not None else None


class Comparison(NamedTuple):
    """Two runs side by side.

    Attributes:
        before: The first.
        after: The second.
        tasks: Their tasks: first those that got slower, by most seconds, last those that got
            faster.
        time_before: What the first one's time was spent on, along its critical path.
        time_after: Likewise of the second.
    """

    before: RunView
    after: RunView
    tasks: Sequence[TaskChange]
    time_before: TimeSpent
    time_after: TimeSpent

    @property
    def change(self) -> float:
        """Seconds that the second run took more."""
        return self.after.duration - self.before.duration


def compare(before: RunView, after: RunView) -> Comparison:
    """Return two runs side by side. Tasks are the same where their names and groups are."""
    first, second = _by_name(before), _by_name(after)
    changes = [
        _change(key, first.get(key, ()), second.get(key, ()), before.end, after.end)
        for key in {**first, **second}
    ]
    changes.sort(key=lambda each: -each.change)
    times = (time_on_path(critical_path(view)) for view in (before, after))
    return Comparison(before, after, changes, *times)


def _by_name(view: RunView) -> Mapping[tuple[str, str], Sequence[TaskView]]:
    found: dict[tuple[str, str], list[TaskView]] = {}
    for task in view.tasks:
        if task.status != RESTORED:
            found.setdefault((task.name, task.group), []).append(task)
    return found


def _change(
    key: tuple[str, str],
    before: Sequence[TaskView],
    after: Sequence[TaskView],
    end_before: int,
    end_after: int,
) -> TaskChange:
    return TaskChange(
        *key,
        sum(task.duration(end_before) for task in before) if before else None,
        sum(task.duration(end_after) for task in after) if after else None,
        len(before),
        len(after),
        before[-1].status if before else None,
        after[-1].status if after else None,
        sum(task.tries for task in before),
        sum(task.tries for task in after),
    )
