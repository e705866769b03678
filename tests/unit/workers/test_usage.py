"""How many workers live and are busy: what the runs that share them are notified of."""

from __future__ import annotations

from dotflow.workers.usage import WorkerUsage


class Listener:
    """Writes down what it is notified of."""

    def __init__(self, *, listens: bool = True) -> None:
        self.listens = listens
        self.heard: list[tuple[int, int]] = []

    def hear(self, live: int, busy: int) -> None:
        self.heard.append((live, busy))


class Process:
    """A process with workers, and the runs that use them."""

    def __init__(self, live: int = 4) -> None:
        self.live = live
        self.usage = WorkerUsage()

    def notify(self) -> None:
        self.usage.notify(lambda: self.live)

    def end_workers(self) -> None:
        self.live = 0
        self.notify()


class Run:
    """A run that uses workers, and writes down what it is notified of."""

    def __init__(self, process: Process, listener: Listener | None = None) -> None:
        self.process = process
        self.running: set[int] = set()
        self.user = process.usage.register(self.running)
        self.listener = listener or Listener()
        if self.listener.listens:
            process.usage.listen(self.user, self.listener.hear)

    @property
    def heard(self) -> list[tuple[int, int]]:
        return self.listener.heard

    def begin(self, attempt: int) -> None:
        """Have one more attempt running."""
        self.running.add(attempt)
        self.process.notify()

    def end(self, attempt: int) -> None:
        """Have one attempt less running."""
        self.running.remove(attempt)
        self.process.notify()

    def leave(self) -> None:
        """End."""
        self.process.usage.release(self.user)
        self.process.notify()


def test_each_run_is_notified_of_all() -> None:
    """What one run has running, another hears of as well; nobody hears the same twice."""
    process = Process()
    first, second = Run(process), Run(process)
    first.begin(1)
    second.begin(2)
    process.notify()
    first.end(1)
    assert first.heard == second.heard == [(4, 1), (4, 2), (4, 1)]


def test_a_run_that_has_ended_is_notified_until_no_worker_lives() -> None:
    """The last that it hears is that none lives; then it is forgotten."""
    process = Process()
    first, second = Run(process), Run(process)
    first.begin(1)
    second.begin(2)
    first.end(1)
    first.leave()
    second.end(2)
    second.leave()
    assert first.heard == second.heard == [(4, 1), (4, 2), (4, 1), (4, 0)]
    process.end_workers()
    assert first.heard[-1] == second.heard[-1] == (0, 0)
    process.live = 2
    third = Run(process)
    third.begin(3)
    assert first.heard[-1] == second.heard[-1] == (0, 0)
    assert third.heard == [(2, 1)]


def test_one_listener_of_many_runs_is_kept_once() -> None:
    """A service runs one workflow after another on the same providers."""
    process, listener = Process(), Listener()
    for number in range(100):
        run = Run(process, listener)
        run.begin(number)
        run.end(number)
        run.leave()
    process.end_workers()
    assert listener.heard == [*[(4, 1), (4, 0)] * 100, (0, 0)]


def test_one_listener_of_two_runs_at_once_is_notified_once() -> None:
    """It hears of each change one time, to the end of the last run and of the workers."""
    process, listener = Process(), Listener()
    first, second = Run(process, listener), Run(process, listener)
    first.begin(1)
    second.begin(2)
    first.end(1)
    first.leave()
    second.end(2)
    second.leave()
    process.end_workers()
    assert listener.heard == [(4, 1), (4, 2), (4, 1), (4, 0), (0, 0)]


def test_only_so_many_that_have_ended_are_kept() -> None:
    """Those that ended last, and each run that goes on."""
    process = Process()
    lasting = Run(process)
    lasting.begin(0)
    ended = [Run(process) for _ in range(100)]
    for run in ended:
        run.leave()
    lasting.end(0)
    process.end_workers()
    assert lasting.heard == [(4, 1), (4, 0), (0, 0)]
    assert [run.heard[-1:] == [(0, 0)] for run in ended] == [False] * 68 + [True] * 32


def test_a_run_that_notifies_nobody() -> None:
    """What it has running counts for the others."""
    process = Process()
    silent, other = Run(process, Listener(listens=False)), Run(process)
    silent.begin(1)
    silent.end(1)
    silent.leave()
    assert (silent.heard, other.heard) == ([], [(4, 1), (4, 0)])


def test_what_is_heard_last_is_so() -> None:
    """A change that comes while a run is being notified is heard right after that."""
    process = Process()

    class Slow(Listener):
        def hear(self, live: int, busy: int) -> None:
            # As if another run's thread had news in the middle of this.
            if busy:
                run.running.clear()
                process.notify()
            super().hear(live, busy)

    run = Run(process, Slow())
    run.begin(1)
    assert run.heard == [(4, 1), (4, 0)]


def test_a_forked_child_begins_with_none() -> None:
    """No run of its parent's goes on there."""
    process = Process()
    run = Run(process)
    run.begin(1)
    process.usage.reset()
    process.end_workers()
    assert run.heard == [(4, 1)]
    assert process.usage.busy() == 0
