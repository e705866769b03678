"""Users' objects that do not like to be looked at fail their own task at most, in every mode."""

from __future__ import annotations

import gc
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from collecting import nothing_collected
from odd_objects import (
    ERRORS,
    RESULTS,
    Halt,
    evaluated,
    odd,
    raise_it,
    raise_it_late,
    raising,
    return_it,
    return_it_late,
    sibling,
    take_it,
)

from dotflow import DotFlow, action
from dotflow.providers import ExecutorLocal
from dotflow_otel.testing import record_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow import Task
    from dotflow.core.action import Action
    from dotflow_otel.testing import RecordedTelemetry

MODES = ["sequential", "sequential_group", "background", "parallel", "threads"]


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    """Call no finalizers of other tests' objects in the middle of a deep recursion."""
    with nothing_collected():
        yield


@pytest.fixture(autouse=True)
def _nothing_evaluated() -> None:
    evaluated.clear()


@pytest.fixture
def telemetry() -> Iterator[RecordedTelemetry]:
    """Record what the runs tell of themselves."""
    with record_telemetry(global_tracer=False) as recorded:
        yield recorded


@pytest.fixture(params=MODES)
def run(request: pytest.FixtureRequest, telemetry: RecordedTelemetry) -> Iterator[Any]:
    """Run a flow in a mode, or by threads of a pool."""
    workers = ExecutorLocal(workers=2)
    with ThreadPoolExecutor(2) as threads, closing(workers):

        def start(flow_of: Any) -> DotFlow:
            executor = threads if request.param == "threads" else workers
            flow = DotFlow(config=telemetry.observe(executor=executor), name="odd")
            flow_of(flow)
            mode = "parallel" if request.param == "threads" else request.param
            manager = flow.start(mode=mode, keep_going=True)
            if mode == "background":
                manager.thread.join()
            return flow

        start.mode = request.param  # type: ignore[attr-defined]
        yield start


def _check_records(flow: DotFlow, telemetry: RecordedTelemetry) -> None:
    records = flow.result()
    assert json.loads(json.dumps(records))["tasks"] == records["tasks"]
    for task in flow.task.queue:
        assert json.loads(task.schema().model_dump_json())["task_id"] == task.task_id
        assert len(json.dumps(task.result(max=1_000))) <= 1_000
        assert repr(task.current_context).startswith("Context(storage=")
    telemetry.assert_balanced()
    wrong = ("dotflow_worker_lost", "dotflow_telemetry_errors", "dotflow_task_timed_out")
    counted = telemetry.metrics().items()
    assert [name for name, count in counted if count and name.startswith(wrong)] == []


def _told(task: Task) -> tuple[Any, ...]:
    (error,) = task.errors
    texts = error.exception, error.message, error.traceback
    assert [type(each) for each in texts] == [str] * 3
    assert task.failure is not None
    return task.status, task.failure.kind, error.exception, error.message


@pytest.mark.parametrize("step", [raise_it, raise_it_late])
def test_errors(step: Action, run: Any, telemetry: RecordedTelemetry) -> None:
    """Each fails its task with its own name and text; what is beside and after it runs."""

    def add(flow: DotFlow) -> None:
        for name in ERRORS:
            flow.task.add(step, initial_context=name)
            flow.task.add(sibling)

    flow = run(add)
    failed, fine = flow.task.queue[::2], flow.task.queue[1::2]
    told = {name: _told(task) for name, task in zip(ERRORS, failed, strict=True)}
    wanted = {
        name: ("Failed", "error", odd.name, told[name][3] if odd.message is None else odd.message)
        for name, odd in ERRORS.items()
    }
    if step.is_coroutine:  # of which Python itself makes another error
        told["stop iteration"] = wanted["stop iteration"]
    assert told == wanted
    assert all(f"in {step.name}" in task.errors[0].traceback for task in failed)
    assert [task.current_context.storage for task in fine] == ["fine"] * len(ERRORS)
    _check_records(flow, telemetry)


@pytest.mark.parametrize("step", [return_it, return_it_late])
def test_results(step: Action, run: Any, telemetry: RecordedTelemetry) -> None:
    """Each completes its task, unlooked at, or cannot travel; what is beside and after it runs.

    One that is an iterator is run, and what that raises fails its own task.
    """

    def add(flow: DotFlow) -> None:
        for name in RESULTS:
            flow.task.add(step, initial_context=name)
            flow.task.add(sibling)

    flow = run(add)
    tasks = dict(zip(RESULTS, flow.task.queue[::2], strict=True))
    away = run.mode == "parallel"
    assert evaluated == [] or away
    told = {name: task.failure.name if task.failure else "" for name, task in tasks.items()}
    assert told == {
        name: "PicklingFailed" if away and not odd.travels else odd.raises
        for name, odd in RESULTS.items()
    }
    for name, task in tasks.items():
        if not told[name]:
            assert (name, task.status) == (name, "Completed")
    fine = flow.task.queue[1::2]
    assert [task.current_context.storage for task in fine] == ["fine"] * len(RESULTS)
    _check_records(flow, telemetry)


def test_inputs(run: Any, telemetry: RecordedTelemetry) -> None:
    """Each reaches its step, unlooked at, or cannot travel; what is beside and after it runs."""
    given = {name: odd.make() for name, odd in RESULTS.items()}

    def add(flow: DotFlow) -> None:
        for value in given.values():
            flow.task.add(take_it, initial_context=value)
            flow.task.add(sibling)

    flow = run(add)
    assert evaluated == [] or run.mode == "parallel"
    for name, task in zip(given, flow.task.queue[::2], strict=True):
        travels = RESULTS[name].travels or run.mode != "parallel"
        told = task.failure.name if task.failure else ""
        assert (name, told) == (name, "" if travels else "PicklingFailed")
    fine = flow.task.queue[1::2]
    assert [task.current_context.storage for task in fine] == ["fine"] * len(RESULTS)
    _check_records(flow, telemetry)


@action
def dying() -> Any:
    """Return what raises at its end."""
    return odd(__del__=raising(Halt))


def test_an_end_that_raises(
    run: Any, telemetry: RecordedTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself tells of it, where it happens, and nobody else hears of it."""
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_type))

    def add(flow: DotFlow) -> None:
        flow.task.add([dying, sibling])

    flow = run(add)
    assert [task.status for task in flow.task.queue] == ["Completed"] * 2
    _check_records(flow, telemetry)
    flow.task.clear()
    flow.config.storage.delete_prefix("")
    del flow
    gc.collect()
    assert set(told) == {Halt}
