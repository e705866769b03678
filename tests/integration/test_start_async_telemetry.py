"""What the telemetry of an awaited run tells, also of one that was cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from observed import Observed, is_child
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from dotflow import DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable

MODES = ("sequential", "sequential_group", "background", "parallel")


@action
def load() -> int:
    """Return 1."""
    return 1


@action
async def sleeps() -> None:
    """Sleep longer than the test."""
    await asyncio.sleep(60)


@action
def blocks() -> None:
    """Sleep so that nothing can stop it, but not for ever."""
    time.sleep(2)


def flow_of(observed: Observed, *steps: Any) -> DotFlow:
    """Return a workflow of these steps, each in a group of its own."""
    flow = DotFlow(config=observed.config, name="billing")
    for number, step in enumerate(steps):
        flow.task.add(step, group_name=str(number))
    return flow


async def until(condition: Callable[[], object]) -> None:
    """Wait in the event loop for what happens outside of it."""
    while not condition():  # noqa: ASYNC110 - no event of the loop's tells
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("mode", MODES)
def test_the_current_span_is_the_parent(observed: Observed, mode: Any) -> None:
    """A request's span is above the run's, and the steps' spans are below, as with `start`."""

    async def main() -> None:
        with observed.provider.get_tracer("app").start_as_current_span("request"):
            manager = await flow_of(observed, load).start_async(mode=mode)
            assert trace.get_current_span().is_recording()
        if mode == "background":
            await asyncio.to_thread(manager.thread.join)

    asyncio.run(main())
    run = observed.ended("workflow billing")
    assert is_child(run, observed.ended("request"))
    assert observed.below(run) == ["task load"]
    observed.assert_balanced()


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
@pytest.mark.parametrize("step", [sleeps, blocks], ids=["coroutine", "blocks"])
def test_a_cancelled_run(observed: Observed, mode: Any, step: Any) -> None:
    """Spans have ended as errors before the cancellation is raised, and the counts balance."""

    async def main() -> None:
        flow = flow_of(observed, load, step)
        run = asyncio.create_task(flow.start_async(mode=mode))
        await until(lambda: [t.status for t in flow.result_task()] == ["Completed", "In progress"])
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        names = [span.name for span in observed.finished]
        assert names.pop() == "workflow billing"
        # Workers have a span for each attempt; here there is one only where a step may be retried.
        tasks = ["task load", f"task {step.name}"]
        assert names == (
            ["attempt", tasks[0], "attempt", tasks[1]] if mode == "parallel" else tasks
        )
        observed.assert_balanced()

    asyncio.run(main())
    span = observed.ended(f"task {step.name}")
    assert span.status.status_code is StatusCode.ERROR
    assert observed.ended("workflow billing").status.status_code is StatusCode.ERROR
    assert observed.metric("dotflow_workflow_failed_total", workflow="billing") == 1
    assert observed.metric("dotflow_task_failed_total", workflow="billing", task=step.name) == 1
    observed.tracer.check_nothing_is_left()
