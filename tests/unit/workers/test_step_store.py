"""The steps of a run as they travel: each pickled once, as long as there is room."""

from __future__ import annotations

import sys
from threading import Lock
from types import ModuleType
from typing import Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.core.attempt import Attempt
from dotflow.core.exception import PicklingFailed
from dotflow.providers import ExecutorLocal
from dotflow.workers.payload import KnownSteps, PickledStep, Room, StepStore


def attempt_of(step: Any) -> Attempt:
    """Make an attempt."""
    return Attempt(step, "name", "id", None, None, 0)


def holding(size: int) -> Any:
    """Make a step that holds so many bytes."""
    data = bytes(size)

    @action(retry=2, retry_delay=0)
    def step(calls: Any = []) -> int:  # noqa: B006 - counts
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("the first time")
        return len(data)

    return step


def test_a_step_is_pickled_once() -> None:
    """Another attempt of it gets the same; another step has another key."""
    store = StepStore()
    one, other = holding(1), holding(1)
    first = store.of(attempt_of(one))
    assert store.of(attempt_of(one)) is first
    assert store.of(attempt_of(other)).key != first.key


@pytest.mark.parametrize(("most", "most_bytes"), [(3, 1 << 30), (1_000, 35_000)])
def test_only_so_much_is_kept(most: int, most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is too much, it is kept alone; its key is not that of the first time."""
    monkeypatch.setattr("dotflow.workers.payload.MOST_STEPS", most)
    monkeypatch.setattr("dotflow.workers.payload.MOST_STEP_BYTES", most_bytes)
    store = StepStore()
    steps = [holding(10_000) for _ in range(4)]
    kept = [store.of(attempt_of(step)) for step in steps]
    assert store.of(attempt_of(steps[3])) is kept[3]
    again = store.of(attempt_of(steps[0]))
    assert (again.data, again.key > kept[3].key) == (kept[0].data, True)


@pytest.mark.parametrize("size", [0, 1, 1 << 40])
def test_one_of_any_size(size: int) -> None:
    """A single thing always has room; what comes after too large a one is alone."""
    room = Room()
    assert room.takes(size)
    assert room.takes(1) is (size < 1 << 30)
    assert room.takes(1)


def test_what_a_worker_knows() -> None:
    """It knows what it was given, until it must let go of that for more, or forgets."""
    known = KnownSteps()
    one, large = (PickledStep(holding(0), key, bytes(1)) for key in (1, 2))
    assert one not in known
    assert known.add(one)
    assert one in known
    large = large._replace(data=bytes((1 << 26) + 1))
    assert not known.add(large)
    assert (one in known, large in known) == (False, True)
    known.forget()
    assert large not in known


def test_modules_that_workers_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is looked for once, and known from its first step on."""
    from dotflow.workers import payload

    looked: list[str] = []
    monkeypatch.setitem(sys.modules, "only_here", ModuleType("only_here"))
    monkeypatch.setattr(
        payload, "is_found_elsewhere", lambda name: looked.append(name) or name != "only_here"
    )
    store = StepStore()
    steps = [holding(1) for _ in range(4)]
    for step in steps[2:]:
        step.func.__module__ = "only_here"
    for step in steps:
        store.of(attempt_of(step))
    assert looked == [__name__, "only_here"]
    assert [module.__name__ for module in store.modules] == ["only_here"]


def test_a_step_that_cannot_travel() -> None:
    """The error names the step, and nothing is kept: it is tried again."""
    store = StepStore()
    lock = Lock()

    @action
    def step() -> object:
        return lock

    for _ in range(2):
        with pytest.raises(PicklingFailed, match="step name cannot travel"):
            store.of(attempt_of(step))


@pytest.mark.parametrize("most", [1, 2])
def test_runs_with_more_steps_than_are_kept(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task gets its own step and keeps it for its retry."""
    monkeypatch.setattr("dotflow.workers.payload.MOST_STEPS", most)
    executor = ExecutorLocal(workers=1)
    flow = DotFlow(config=Config(executor=executor))
    steps = [holding(size) for size in range(1, 7)]
    flow.task.add([*steps, *steps])
    flow.start(mode="parallel")
    executor.close()
    assert flow.result_storage() == [1, 2, 3, 4, 5, 6] * 2
    assert {task.retry_count for task in flow.result_task()} == {1}
