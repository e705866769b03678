"""How many workers live and are busy, told to the runs that share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dotflow.workers.occupancy import Occupancy

if TYPE_CHECKING:
    import pytest


def four() -> int:
    """Tell that four workers live."""
    return 4


class Run:
    """A run that uses the pool, and writes down what it is told."""

    def __init__(self, occupancy: Occupancy) -> None:
        self.occupancy = occupancy
        self.jobs: set[int] = set()
        self.told: list[tuple[int, int]] = []
        self.user = occupancy.join(self.jobs)
        self.user.tell = self.hear

    def hear(self, live: int, busy: int) -> None:
        """Write down."""
        self.told.append((live, busy))

    def begin(self, job: int) -> None:
        """Have one more attempt running."""
        self.jobs.add(job)
        self.occupancy.publish(four)

    def end(self, job: int) -> None:
        """Have one attempt less running."""
        self.jobs.remove(job)
        self.occupancy.publish(four)

    def leave(self) -> None:
        """End."""
        self.user.has_left = True
        self.occupancy.publish(four)


def test_each_run_is_told_of_all() -> None:
    """What one run has running, another is told of as well; nobody is told the same twice."""
    occupancy = Occupancy()
    first, second = Run(occupancy), Run(occupancy)
    first.begin(1)
    second.begin(2)
    occupancy.publish(four)
    first.end(1)
    assert first.told == second.told == [(4, 1), (4, 2), (4, 1)]


def test_a_run_that_has_ended_is_told_until_nobody_is_busy() -> None:
    """The last that it is told is that none is busy; then it is let go."""
    occupancy = Occupancy()
    first, second = Run(occupancy), Run(occupancy)
    first.begin(1)
    second.begin(2)
    first.end(1)
    first.leave()
    assert first.told[-1] == (4, 1)
    second.end(2)
    assert first.told[-1] == (4, 0)
    told = list(first.told)
    second.begin(3)
    second.end(3)
    second.leave()
    assert first.told == told
    assert second.told[-2:] == [(4, 1), (4, 0)]
    assert occupancy._users == []


def test_where_some_are_always_busy() -> None:
    """Only so many of the runs that have ended are told on, and no run that goes on is let go."""
    occupancy = Occupancy()
    lasting = Run(occupancy)
    lasting.begin(0)
    ended = [Run(occupancy) for _ in range(100)]
    for run in ended:
        run.leave()
    assert len(occupancy._users) == 33
    lasting.end(0)
    assert [run.told[-1] for run in (lasting, *ended[-32:])] == [(4, 0)] * 33
    assert occupancy._users == [lasting.user]


def test_a_run_whose_workers_nobody_watches() -> None:
    """What it has running counts for the others."""
    occupancy = Occupancy()
    silent, other = Run(occupancy), Run(occupancy)
    silent.user.tell = None
    silent.begin(1)
    silent.end(1)
    silent.leave()
    assert (silent.told, other.told) == ([], [(4, 1), (4, 0)])


def test_what_is_told_last_is_so() -> None:
    """A change that comes while a run is being told is told right after that."""
    occupancy = Occupancy()
    run = Run(occupancy)

    def hear_slowly(live: int, busy: int) -> None:
        # As if another run's thread had news in the middle of this.
        if busy:
            run.jobs.clear()
            occupancy.publish(four)
        run.hear(live, busy)

    run.user.tell = hear_slowly
    run.begin(1)
    assert run.told == [(4, 1), (4, 0)]


def test_a_watcher() -> None:
    """A method that watches is told of all changes, before and after the runs, while it lives."""

    class Watching:
        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []

        def hear(self, live: int, busy: int) -> None:
            self.told.append((live, busy))

    occupancy = Occupancy()
    watching, gone = Watching(), Watching()
    for each in (watching, gone):
        occupancy.watch(each.hear)
    told = gone.told
    del gone, each
    run = Run(occupancy)
    run.begin(1)
    run.end(1)
    run.leave()
    occupancy.publish(lambda: 0)
    assert watching.told == [(4, 1), (4, 0), (0, 0)]
    assert run.told == [(4, 1), (4, 0)]
    assert told == []


def test_a_watcher_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; runs are told all the same."""

    class Broken:
        def hear(self, live: int, busy: int) -> None:
            raise KeyError(live, busy)

    occupancy, broken = Occupancy(), Broken()
    occupancy.watch(broken.hear)
    run = Run(occupancy)
    run.begin(1)
    assert run.told == [(4, 1)]
    assert "a watcher of workers raised" in caplog.text
