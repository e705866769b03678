"""Contract sections 0 and 11.1: what each mode promises."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action

if TYPE_CHECKING:
    from pathlib import Path

Run = Any
Recorder = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


@action
def seen(previous_context: Context) -> Any:
    """Return what came before."""
    return previous_context.storage


@action
def value(initial_context: Context) -> Any:
    """Return the initial context."""
    return initial_context.storage


def _statuses(flow: DotFlow) -> list[str]:
    return [task.status for task in flow.result_task()]


def test_previous_context_in_one_group(mode: str, quiet: Config, run: Run) -> None:
    """Each task sees the result of the one before; in parallel every task sees None."""
    flow = DotFlow(config=quiet)
    flow.task.add([seen, value, seen, seen], initial_context="v")
    run(flow, mode)
    expected = [None, "v", None, None] if mode == "parallel" else [None, "v", "v", "v"]
    assert flow.result_storage() == expected
    assert [task.previous_context.storage for task in flow.result_task()] == (
        [None] * 4 if mode == "parallel" else [None, None, "v", "v"]
    )


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
def test_previous_context_stays_within_its_group(mode: str, quiet: Config, run: Run) -> None:
    """With groups a task sees the one before in its group, and the first of a group None."""
    flow = DotFlow(config=quiet)
    flow.task.add(value, initial_context="va", group_name="a")
    flow.task.add(value, initial_context="vb", group_name="b")
    flow.task.add(seen, group_name="b")
    flow.task.add(seen, group_name="a")
    flow.task.add(seen, group_name="c")
    run(flow, mode)
    assert flow.result_storage() == ["va", "vb", "vb", "va", None]


def test_initial_context_is_per_task(mode: str, quiet: Config, run: Run) -> None:
    """Every task sees the initial context that it was added with."""
    flow = DotFlow(config=quiet)
    for number in range(3):
        flow.task.add(value, initial_context={"n": number})
    run(flow, mode)
    assert flow.result_storage() == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("mode", ["sequential", "sequential_group"])
def test_steps_run_in_the_calling_thread(mode: str, quiet: Config) -> None:
    """The sequential modes run steps in the thread that called start()."""

    @action
    def where() -> tuple[int, int]:
        return os.getpid(), threading.get_ident()

    flow = DotFlow(config=quiet)
    flow.task.add(where, group_name="a")
    flow.task.add(where, group_name="b")
    flow.start(mode=mode)
    assert flow.result_storage() == [(os.getpid(), threading.get_ident())] * 2


def test_background_runs_in_one_thread(quiet: Config, run: Run) -> None:
    """Background runs all tasks in one other thread of this process."""

    @action
    def where() -> tuple[int, int]:
        return os.getpid(), threading.get_ident()

    flow = DotFlow(config=quiet)
    flow.task.add([where, where])
    run(flow, "background")
    one, other = flow.result_storage()
    assert one == other
    assert one[0] == os.getpid()
    assert one[1] != threading.get_ident()


def test_parallel_runs_in_other_processes(quiet: Config, run: Run) -> None:
    """Parallel runs steps in processes that are not this one."""

    @action
    def where() -> int:
        return os.getpid()

    flow = DotFlow(config=quiet)
    flow.task.add([where, where])
    run(flow, "parallel")
    assert os.getpid() not in flow.result_storage()
    assert all(isinstance(pid, int) for pid in flow.result_storage())


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background"])
def test_groups_run_one_after_another(mode: str, quiet: Config, run: Run) -> None:
    """Groups run in order of first appearance, the tasks of each in order."""
    calls: list[object] = []

    @action
    def note(initial_context: Context) -> None:
        calls.append(initial_context.storage)

    flow = DotFlow(config=quiet)
    for label in ("b1", "a1", "b2", "c1", "a2"):
        flow.task.add(note, initial_context=label, group_name=label[0])
    run(flow, mode)
    assert calls == ["b1", "b2", "a1", "a2", "c1"]


def test_parallel_runs_groups_at_the_same_time(quiet: Config, run: Run, tmp_path: Path) -> None:
    """Two groups meet each other while they run: each waits for a sign of the other."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core: one worker")

    @action
    def meet(initial_context: Context) -> bool:
        mine, other = initial_context.storage
        (tmp_path / mine).touch()
        limit = time.monotonic() + 20
        while not (tmp_path / other).exists():
            if time.monotonic() > limit:
                return False
            time.sleep(0.005)
        return True

    flow = DotFlow(config=quiet)
    flow.task.add(meet, initial_context=("a", "b"), group_name="a")
    flow.task.add(seen, group_name="a")
    flow.task.add(meet, initial_context=("b", "a"), group_name="b")
    run(flow, "parallel")
    assert flow.result_storage() == [True, True, True]


def test_failure_ends_its_chain(mode: str, quiet: Config, run: Run) -> None:
    """Without keep_going a failed task ends its own chain, and touches no other."""
    flow = DotFlow(config=quiet)
    flow.task.add([ok, bad, ok, ok])
    run(flow, mode)
    assert _statuses(flow) == (
        ["Completed", "Failed", "Completed", "Completed"]
        if mode == "parallel"
        else ["Completed", "Failed", "Not started", "Not started"]
    )


def test_failure_ends_its_group_only(mode: str, quiet: Config, run: Run) -> None:
    """With groups the failed task's group ends; the others run; skipped tasks have no error."""
    flow = DotFlow(config=quiet)
    for group in ("a", "b", "c"):
        flow.task.add(bad if group == "b" else ok, group_name=group)
        flow.task.add(ok, group_name=group)
    run(flow, mode)
    assert _statuses(flow) == [
        "Completed",
        "Completed",
        "Failed",
        "Not started",
        "Completed",
        "Completed",
    ]
    skipped = flow.result_task()[3]
    assert (skipped.errors, skipped.started_at, skipped.duration) == ([], None, None)


def test_keep_going(mode: str, quiet: Config, run: Run) -> None:
    """With keep_going the successor of a failed task runs, and sees an empty context."""
    flow = DotFlow(config=quiet)
    flow.task.add([value, bad, seen, seen], initial_context="v")
    run(flow, mode, keep_going=True)
    assert _statuses(flow) == ["Completed", "Failed", "Completed", "Completed"]
    assert flow.result_storage() == ["v", None, None, None]


def test_tasks_carry_all_of_their_outcome(
    mode: str, quiet: Config, run: Run, tmp_path: Path
) -> None:
    """After any mode tasks carry status, times, duration, errors, counts and contexts."""
    tally = tmp_path / "tally"

    @action(retry=2, retry_delay=0)
    def flaky(previous_context: Context) -> Any:
        with tally.open("a") as file:
            file.write("x")
        if len(tally.read_text()) == 1:
            raise KeyError("k")
        return previous_context.storage

    flow = DotFlow(config=quiet)
    flow.task.add(value, initial_context="va", group_name="a")
    flow.task.add(flaky, group_name="a")
    flow.task.add(bad, group_name="b")
    before = datetime.now()
    run(flow, mode)
    after = datetime.now()
    tasks: list[Any] = list(flow.result_task())
    first, second, third = tasks
    assert _statuses(flow) == ["Completed", "Completed", "Failed"]
    assert [task.retry_count for task in (first, second, third)] == [0, 1, 0]
    assert [len(task.errors) for task in (first, second, third)] == [0, 1, 1]
    assert (second.previous_context.storage, second.current_context.storage) == ("va", "va")
    assert second.current_context.task_id == second.task_id
    assert second.current_context.workflow_id == flow.workflow_id
    for task in (first, second, third):
        assert task.started_at.tzinfo is None
        assert before.timestamp() - 0.1 <= task.started_at.timestamp()
        assert task.started_at <= task.finished_at
        assert task.finished_at.timestamp() <= after.timestamp() + 0.1
        elapsed = (task.finished_at - task.started_at).total_seconds()
        assert task.duration == pytest.approx(elapsed, abs=0.05)
    assert first.finished_at.timestamp() <= second.started_at.timestamp() + 0.02


def test_globals_changed_in_a_worker_stay_there(quiet: Config, run: Run) -> None:
    """What a step changes outside of its result is not seen here after parallel."""
    calls: list[int] = []

    @action
    def step() -> int:
        calls.append(1)
        return len(calls)

    flow = DotFlow(config=quiet)
    flow.task.add([step, step])
    run(flow, "parallel")
    assert calls == []
    assert flow.result_storage() == [1, 1]


def test_async_and_sync_steps_mix(mode: str, quiet: Config, run: Run) -> None:
    """Async steps run among sync ones and hand their values on."""

    @action
    async def echo(previous_context: Context) -> Any:
        return previous_context.storage

    flow = DotFlow(config=quiet)
    flow.task.add(value, initial_context=5, group_name="a")
    flow.task.add([echo, seen, echo], group_name="a")
    flow.task.add(ok, group_name="b")
    run(flow, mode)
    assert flow.result_storage() == [5, 5, 5, 5, "ok"]


def test_mode_name_that_providers_see(recorder: Recorder, run: Run) -> None:
    """Sequential over several groups tells the mode as it ran: sequential_group."""
    flow = DotFlow(config=recorder.config())
    flow.task.add(ok, group_name="a")
    flow.task.add(ok, group_name="b")
    run(flow, "sequential")
    assert recorder.of("metrics.workflow_started")[0].seen["kwargs"] == {"mode": "sequential_group"}
    assert recorder.of("tracer.start_workflow")[0].seen["kwargs"]["mode"] == "sequential_group"


def test_callbacks_run_in_this_process(mode: str, quiet: Config, run: Run) -> None:
    """Task callbacks run in the process that owns the run, in every mode."""
    where: list[int] = []
    flow = DotFlow(config=quiet)
    flow.task.add([ok, bad], callback=lambda task: where.append(os.getpid()))
    run(flow, mode)
    assert where == [os.getpid(), os.getpid()]


def test_step_that_returns_a_context(mode: str, quiet: Config, run: Run) -> None:
    """A Context that a step returns is the task's context: value and ids stay its own."""

    @action
    def gives() -> Context:
        return Context(storage=1, task_id="own")

    flow = DotFlow(config=quiet)
    flow.task.add(gives)
    run(flow, mode)
    [context] = flow.result_context()
    assert (context.storage, context.task_id) == (1, "own")
