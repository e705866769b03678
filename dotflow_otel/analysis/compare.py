"""Two runs side by side: which tasks got slower, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dotflow_otel.analysis.timing import TimeSpent, critical_path, time_on_path
from dotflow_otel.analysis.tree import RESTORED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow_otel.analysis.tree import RunView, TaskView


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
