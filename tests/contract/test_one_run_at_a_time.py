"""A flow runs its tasks once at a time, whoever starts it and whenever."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.scheduler import Scheduler
from dotflow.core.exception import RunInProgress

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

Run = Any

MESSAGE = (
    "The workflow 'billing' is running: nothing else was started. Wait until it has ended "
    "(manager.thread.join() where it runs in the background), or make a DotFlow for each run."
)


class Gate:
    """A step that waits to be let through, and counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.entered = threading.Event()
        self.opened = threading.Event()

        @action
        def step() -> int:
            self.runs += 1
            self.entered.set()
            assert self.opened.wait(30)
            return self.runs

        self.step = step


@pytest.fixture
def gate() -> Gate:
    """Return a closed gate."""
    return Gate()


@pytest.fixture
def flow(quiet: Config, gate: Gate) -> DotFlow:
    """Return a flow whose one step waits at the gate."""
    made = DotFlow(quiet, name="billing")
    made.task.add(gate.step)
    return made


@action
def ok() -> str:
    """Succeed."""
    return "ok"


def test_calls_at_the_same_time(flow: DotFlow, gate: Gate) -> None:
    """Of several calls at once one runs the tasks, and the others get an error that says so."""
    first = threading.Thread(target=flow.start)
    first.start()
    assert gate.entered.wait(30)
    for _ in range(2):
        with pytest.raises(RunInProgress) as refused:
            flow.start()
        assert str(refused.value) == MESSAGE
    gate.opened.set()
    first.join(30)
    assert (gate.runs, flow.result_storage()) == (1, [1])


def test_many_threads_that_begin_together(quiet: Config) -> None:
    """However the calls interleave, each queue runs once."""
    for _ in range(50):
        runs: list[int] = []

        @action
        def step(runs: list[int] = runs) -> None:
            runs.append(1)

        flow = DotFlow(quiet)
        flow.task.add(step)
        together = threading.Barrier(4)
        errors: list[BaseException] = []

        def call(
            flow: DotFlow = flow,
            together: threading.Barrier = together,
            errors: list[BaseException] = errors,
        ) -> None:
            together.wait(30)
            try:
                flow.start()
            except RunInProgress as error:
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert runs == [1]
        assert len(errors) <= 3


def test_again_in_the_background(
    flow: DotFlow, gate: Gate, records: list[logging.LogRecord]
) -> None:
    """While an unchanged queue runs in the background, its Manager is returned, with a warning."""
    manager = flow.start(mode="background")
    assert gate.entered.wait(30)
    assert flow.start(mode="background") is manager
    assert [record.levelname for record in records] == ["WARNING"]
    gate.opened.set()
    manager.thread.join(30)
    assert gate.runs == 1


def test_what_is_added_meanwhile(flow: DotFlow, gate: Gate) -> None:
    """A queue that grew while it runs is not started: the running task is not begun again."""
    manager = flow.start(mode="background")
    assert gate.entered.wait(30)
    flow.task.add(ok)
    with pytest.raises(RunInProgress):
        flow.start()
    gate.opened.set()
    manager.thread.join(30)
    assert (gate.runs, flow.result_storage()) == (1, [1, None])
    flow.start()
    assert (gate.runs, flow.result_storage()) == (2, [2, "ok"])


def test_from_a_step_of_its_own(quiet: Config, in_process_mode: str, run: Run) -> None:
    """A step that starts its own flow fails with that error, and the run ends."""
    flow = DotFlow(quiet, name="billing")

    @action
    def again() -> None:
        flow.task.add(ok)
        flow.start()

    flow.task.add(again)
    run(flow, in_process_mode)
    [error] = flow.result_task()[0].errors
    assert (error.exception, error.message) == ("RunInProgress", MESSAGE)


def test_from_its_own_end(quiet: Config, mode: str, run: Run) -> None:
    """In `on_success` the run has ended: an unchanged queue returns its Manager, a new one runs."""
    flow = DotFlow(quiet, name="billing")
    managers: list[Any] = []

    def once_more(tasks: list[Any]) -> None:
        managers.append(flow.start())
        flow.task.clear()
        flow.task.add(ok)
        managers.append(flow.start())

    flow.task.add([ok, ok])
    first = run(flow, mode, on_success=once_more)
    assert managers[0] is first
    assert managers[1] is not first
    assert flow.result_storage() == ["ok"]


def test_after_an_end_that_raised(quiet: Config) -> None:
    """A callback that raises at the end of a run has not undone it: nothing runs again."""
    runs: list[int] = []

    @action
    def step() -> None:
        runs.append(1)

    def broken(tasks: list[Any]) -> None:
        raise ConnectionError("the chat is down")

    flow = DotFlow(quiet)
    flow.task.add(step)
    with pytest.raises(ConnectionError):
        flow.start(on_success=broken)
    manager = flow.start(on_success=broken)
    assert (runs, manager.tasks) == ([1], flow.task.queue)


def test_after_an_interruption(quiet: Config) -> None:
    """A run that was interrupted is run again by the next call."""
    runs: list[int] = []

    @action
    def step() -> str:
        runs.append(1)
        if len(runs) == 1:
            raise KeyboardInterrupt
        return "done"

    flow = DotFlow(quiet)
    flow.task.add(step)
    with pytest.raises(KeyboardInterrupt):
        flow.start()
    flow.start()
    assert (len(runs), flow.result_storage()) == (2, ["done"])


def test_after_refused_options(quiet: Config) -> None:
    """A call with wrong options, or with input that changed, leaves the flow as it was."""
    flow = DotFlow(quiet)
    flow.task.add(ok)
    with pytest.raises(TypeError):
        flow.start(unknown=1)  # type: ignore[call-arg]
    flow.start()
    assert flow.result_storage() == ["ok"]
    with pytest.raises(TypeError):
        flow.start(unknown=1)  # type: ignore[call-arg]


class Ticks(Scheduler):
    """A scheduler that keeps what it is to call."""

    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Keep it."""
        self.tick: Callable[[], Any] = lambda: workflow(**kwargs)

    def stop(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("mode", ["sequential", "background"])
def test_a_tick_takes_as_long_as_its_run(
    mode: Any, quiet: Config, flow: DotFlow, gate: Gate
) -> None:
    """So that a scheduler's policy for overlapping ticks holds in every mode."""
    ticks = quiet.scheduler = Ticks()
    flow.schedule(mode=mode)
    thread = threading.Thread(target=ticks.tick)
    thread.start()
    assert gate.entered.wait(30)
    assert thread.is_alive()
    gate.opened.set()
    thread.join(30)
    assert (gate.runs, flow.result_storage()) == (1, [1])


def test_ticks_run_tasks_of_their_own(quiet: Config, flow: DotFlow, gate: Gate) -> None:
    """Ticks that overlap share no task; results are those of the last that was alone."""
    ticks = quiet.scheduler = Ticks()
    flow.schedule()
    queued = flow.task.queue[0]
    threads = [threading.Thread(target=ticks.tick) for _ in range(2)]
    for thread in threads:
        gate.entered.clear()
        thread.start()
        assert gate.entered.wait(30)
    [ticked] = flow.result_task()
    assert ticked is not queued
    assert (ticked.task_id, ticked.status) == (queued.task_id, "In progress")
    assert queued.status == "Not started"
    with pytest.raises(RunInProgress):
        flow.start()
    gate.opened.set()
    for thread in threads:
        thread.join(30)
    assert gate.runs == 2
    assert flow.result()["tasks"][0]["status"] == "Completed"
    assert queued.status == "Not started"
    flow.start()
    assert (queued.status, flow.result_storage(), gate.runs) == ("Completed", [3], 3)


def test_results_of_ticks_go_and_stay(quiet: Config) -> None:
    """The results of a tick leave the storage with its tasks, a later tick's do not."""
    ticks = quiet.scheduler = Ticks()
    counts = iter(range(10))
    flow = DotFlow(quiet)
    flow.task.add([action(lambda: next(counts)), ok])
    flow.schedule()
    storage = quiet.storage
    first = flow.start()
    managers = [ticks.tick() for _ in range(3)]
    keys = [storage.key(task) for task in flow.result_task()]
    assert [storage.get(key).storage for key in keys] == [3, "ok"]
    del first, managers
    assert [storage.get(key).storage for key in keys] == [3, "ok"]
    assert len(list(storage.list_keys(""))) == 2
    del flow, ticks.tick
    assert list(storage.list_keys("")) == []


def test_each_tick_gets_the_input_of_the_queue(quiet: Config) -> None:
    """What a tick does to its initial context is its own."""
    ticks = quiet.scheduler = Ticks()

    @action
    def take_all(initial_context: Context) -> list[int]:
        taken = list(initial_context.storage)
        initial_context.storage.clear()
        return taken

    flow = DotFlow(quiet)
    flow.task.add(take_all, initial_context=[1, 2, 3])
    flow.schedule()
    results = []
    for _ in range(2):
        ticks.tick()
        results += flow.result_storage()
    assert results == [[1, 2, 3], [1, 2, 3]]
