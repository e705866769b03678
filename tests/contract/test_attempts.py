"""Contract section 6: retries, delays and timeouts, as a workflow runs them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action

if TYPE_CHECKING:
    from pathlib import Path

    from dotflow import Task

Run = Any


def _errors(task: Task) -> list[tuple[int | None, str, str]]:
    return [(error.attempt, error.exception, error.message) for error in task.errors]


def test_success_after_retries(mode: str, quiet: Config, run: Run, tmp_path: Path) -> None:
    """Each failed attempt counts and leaves its numbered error; success keeps them."""
    tally = tmp_path / "tally"

    @action(retry=3, retry_delay=0)
    def flaky() -> str:
        with tally.open("a") as file:
            file.write("x")
        if len(tally.read_text()) < 3:
            raise KeyError("k")
        return "ok"

    flow = DotFlow(config=quiet)
    flow.task.add(flaky)
    run(flow, mode)
    [task] = flow.result_task()
    assert (task.status, task.retry_count, task.current_context.storage) == ("Completed", 2, "ok")
    assert _errors(task) == [(1, "KeyError", "'k'"), (2, "KeyError", "'k'")]


def test_final_failure_has_no_attempt_number(mode: str, quiet: Config, run: Run) -> None:
    """After the last attempt the errors are those of the earlier ones and one with attempt None."""

    @action(retry=3, retry_delay=0)
    def bad() -> None:
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(bad)
    run(flow, mode)
    [task] = flow.result_task()
    assert (task.status, task.retry_count, task.current_context.storage) == ("Failed", 2, None)
    assert _errors(task) == [
        (1, "ValueError", "no"),
        (2, "ValueError", "no"),
        (None, "ValueError", "no"),
    ]
    assert 'raise ValueError("no")' in task.errors[-1].traceback


@pytest.mark.parametrize("retry", [0, 1])
def test_retry_of_zero_or_one_is_one_attempt(retry: int, quiet: Config) -> None:
    """retry=0 and retry=1 run the step once."""
    calls = []

    @action(retry=retry)
    def bad() -> None:
        calls.append(1)
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(bad)
    flow.start()
    assert calls == [1]
    assert _errors(flow.result_task()[0]) == [(None, "ValueError", "no")]
    assert flow.result_task()[0].retry_count == 0


def _gaps(quiet: Config, **options: Any) -> tuple[float, float, float]:
    moments: list[float] = []

    @action(retry=3, **options)
    def bad() -> None:
        moments.append(time.monotonic())
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(bad)
    flow.start()
    first, second, third = moments
    return second - first, third - second, float(flow.result_task()[0].duration or 0)


def test_retry_delay_is_waited_between_attempts(quiet: Config) -> None:
    """retry_delay seconds pass between attempts, the same each time; duration includes them."""
    gaps = [_gaps(quiet, retry_delay=0.06) for _ in range(5)]
    assert all(first >= 0.055 for first, _, _ in gaps)
    assert all(second >= 0.055 for _, second, _ in gaps)
    assert all(duration >= 0.11 for _, _, duration in gaps)
    # A busy machine takes longer over most of them.
    assert min(second for _, second, _ in gaps) < 0.11


def test_backoff_doubles_the_delay(quiet: Config) -> None:
    """With backoff the second delay is twice the first."""
    first, second, duration = _gaps(quiet, retry_delay=0.04, backoff=True)
    assert first >= 0.035
    assert second >= 0.075
    assert duration >= 0.115


def test_default_retry_delay_is_one_second() -> None:
    """Without retry_delay it is 1 second."""

    @action(retry=2)
    def step() -> None: ...

    assert step.retry_delay == 1


def test_no_delay_after_the_last_attempt(quiet: Config) -> None:
    """A failed last attempt is not followed by a delay."""

    @action(retry=1, retry_delay=30)
    def bad() -> None:
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(bad)
    begun = time.monotonic()
    flow.start()
    assert time.monotonic() - begun < 20


def test_timeout_fails_the_task(mode: str, quiet: Config, run: Run) -> None:
    """A step over its timeout ends Failed with the builtin TimeoutError that names the limit."""

    @action(timeout=0.15)
    def slow() -> None:
        time.sleep(30)

    flow = DotFlow(config=quiet)
    flow.task.add(slow)
    begun = time.monotonic()
    run(flow, mode)
    took = time.monotonic() - begun
    [task] = flow.result_task()
    assert task.status == "Failed"
    assert task.errors[-1].exception == "TimeoutError"
    assert "0.15" in task.errors[-1].message
    assert task.duration is not None
    assert 0.14 <= task.duration <= took < 20


def test_timeout_is_per_attempt_and_retried(
    mode: str, quiet: Config, run: Run, tmp_path: Path
) -> None:
    """An attempt that timed out is followed by another, as after any error."""
    tally = tmp_path / "tally"

    @action(retry=2, retry_delay=0, timeout=1)
    def slow_once() -> str:
        with tally.open("a") as file:
            file.write("x")
        if len(tally.read_text()) == 1:
            time.sleep(5)
        return "ok"

    flow = DotFlow(config=quiet)
    flow.task.add(slow_once)
    run(flow, mode)
    [task] = flow.result_task()
    assert (task.status, task.retry_count, task.current_context.storage) == ("Completed", 1, "ok")
    assert [(error.attempt, error.exception) for error in task.errors] == [(1, "TimeoutError")]


def test_own_timeout_error_is_retried(mode: str, quiet: Config, run: Run, tmp_path: Path) -> None:
    """A TimeoutError that the step itself raised is retried, and keeps its text."""
    tally = tmp_path / "tally"

    @action(retry=2, retry_delay=0)
    def step() -> str:
        with tally.open("a") as file:
            file.write("x")
        if len(tally.read_text()) == 1:
            raise TimeoutError("the database took too long")
        return "ok"

    flow = DotFlow(config=quiet)
    flow.task.add(step)
    run(flow, mode)
    [task] = flow.result_task()
    assert (task.status, task.retry_count) == ("Completed", 1)
    assert _errors(task) == [(1, "TimeoutError", "the database took too long")]


def test_timeout_cancels_a_coroutine(in_process_mode: str, quiet: Config, run: Run) -> None:
    """The coroutine of a timed-out async step is cancelled."""
    cancelled = threading.Event()

    @action(timeout=0.1)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    flow = DotFlow(config=quiet)
    flow.task.add(slow)
    run(flow, in_process_mode)
    assert cancelled.wait(20)
    [task] = flow.result_task()
    assert (task.status, task.errors[-1].exception) == ("Failed", "TimeoutError")


def test_timeout_of_zero_is_none(quiet: Config) -> None:
    """timeout=0 lets a step take its time."""

    @action(timeout=0)
    def slow() -> str:
        time.sleep(0.05)
        return "done"

    flow = DotFlow(config=quiet)
    flow.task.add(slow)
    flow.start()
    assert flow.result_storage() == ["done"]


@pytest.mark.parametrize(
    "text",
    [
        "initial_context is missing",
        "previous_context",
        "step() missing 1 required positional argument: 'self'",
        "step() got an unexpected keyword argument 'initial_context'",
    ],
)
@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_errors_are_not_judged_by_their_text(
    kind: type[Exception], text: str, mode: str, quiet: Config, run: Run
) -> None:
    """An error whose text speaks of contexts or self keeps type and text and is retried."""

    @action(retry=2, retry_delay=0)
    def bad() -> None:
        raise kind(text)

    flow = DotFlow(config=quiet)
    flow.task.add(bad)
    run(flow, mode)
    [task] = flow.result_task()
    assert _errors(task) == [(1, kind.__name__, text), (None, kind.__name__, text)]
    assert task.retry_count == 1


def test_one_decorator_on_several_functions(mode: str, quiet: Config, run: Run) -> None:
    """A configured decorator used twice gives steps with results of their own."""
    again = action(retry=2, retry_delay=0)

    @again
    def one() -> str:
        return "one"

    @again
    def two() -> str:
        return "two"

    flow = DotFlow(config=quiet)
    flow.task.add([one, two, one])
    run(flow, mode)
    assert flow.result_storage() == ["one", "two", "one"]
    assert [task.name for task in flow.task.queue] == ["one", "two", "one"]


def test_one_decorator_is_safe_in_threads(quiet: Config) -> None:
    """Steps of one decorator that run in many threads at once keep their values apart."""
    again = action(retry=2, retry_delay=0)
    barrier = threading.Barrier(4, timeout=20)

    def make(number: int) -> Any:
        @again
        def step() -> int:
            barrier.wait()
            return number

        return step

    flows = []
    for number in range(4):
        flow = DotFlow(config=quiet)
        flow.task.add(make(number))
        flows.append(flow)
    for flow in flows:
        flow.start(mode="background")
    for flow in flows:
        flow.start(mode="background").thread.join(10)
    assert [flow.result_storage() for flow in flows] == [[0], [1], [2], [3]]


@pytest.mark.parametrize("timeout", [0, 5])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_contextvars_reach_the_step(timeout: float, asynchronous: bool, quiet: Config) -> None:
    """A step sees the contextvars of the caller, with a timeout and without, sync and async."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    if asynchronous:

        @action(timeout=timeout)
        async def step() -> str:
            return variable.get("unset")
    else:

        @action(timeout=timeout)
        def step() -> str:
            return variable.get("unset")

    def start() -> list[Any]:
        variable.set("set")
        flow = DotFlow(config=quiet)
        flow.task.add(step)
        flow.start()
        return flow.result_storage()

    assert contextvars.copy_context().run(start) == ["set"]


def test_async_step_inside_a_running_loop(quiet: Config) -> None:
    """A flow started inside a running loop runs async steps, in the caller's contextvars."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    @action
    async def step() -> str:
        await asyncio.sleep(0)
        return variable.get("unset")

    async def main() -> list[Any]:
        variable.set("set")
        flow = DotFlow(config=quiet)
        flow.task.add(step)
        flow.start()
        return flow.result_storage()

    assert asyncio.run(main()) == ["set"]
