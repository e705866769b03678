"""A run that is interrupted while a provider is told something: its ledger still balances."""

from __future__ import annotations

import contextlib
import sys
from itertools import count
from typing import Any

import pytest
from interrupting import Interrupts

from dotflow import Config, DotFlow, action
from dotflow.testing import Recording


@action
def ok() -> int:
    """Succeed."""
    return 1


@action(retry=2, retry_delay=0)
def fails() -> None:
    """Fail, twice."""
    raise ValueError("no")


class Interrupting:
    """Raises KeyboardInterrupt at some of the calls of a hook."""

    def __init__(self, hook: Any, at: set[int]) -> None:
        self.hook = hook
        self.at = at
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        self.hook(*args, **kwargs)
        if self.calls in self.at:
            raise KeyboardInterrupt


def counts(recording: Recording) -> dict[str, int]:
    """Return how often each hook of the metrics was called."""
    hooks = [hook.removeprefix("metrics.") for hook in recording.hooks if "metrics." in hook]
    return {hook: hooks.count(hook) for hook in hooks}


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
@pytest.mark.parametrize("slot", ["notify", "log"])
@pytest.mark.parametrize("at", range(1, 9))
def test_the_ledger_balances(mode: str, slot: str, at: int) -> None:
    """Wherever Ctrl-C falls among the notifications and lines, what started has ended."""
    recording = Recording()
    config = Config(**recording.providers)
    flow = DotFlow(config=config)
    flow.task.add([ok, fails, ok])
    provider = getattr(config, slot)
    hook = "hook_status_task" if slot == "notify" else "info"
    interrupting = Interrupting(getattr(provider, hook), {at})
    setattr(provider, hook, interrupting)
    with contextlib.suppress(KeyboardInterrupt):
        flow.start(mode=mode, keep_going=True)
    told = counts(recording)
    ended = told.get("task_completed", 0) + told.get("task_failed", 0)
    assert told.get("task_started", 0) == ended
    assert ended + told.get("task_skipped", 0) == 3
    runs = told.get("workflow_completed", 0) + told.get("workflow_failed", 0)
    assert (told["workflow_started"], runs) == (1, 1)
    if interrupting.calls >= at:
        assert told.get("workflow_failed") == 1


def test_interrupted_again_at_the_end() -> None:
    """A second Ctrl-C, while the skipped tasks are told of, still lets the run end."""
    recording = Recording()
    config = Config(**recording.providers)
    skipped = Interrupting(config.metrics.task_skipped, {1, 2})
    config.metrics.task_skipped = skipped  # type: ignore[method-assign]
    flow = DotFlow(config=config)

    @action
    def interrupted() -> None:
        raise KeyboardInterrupt

    flow.task.add([interrupted, ok, ok, ok])
    with pytest.raises(KeyboardInterrupt):
        flow.start()
    assert skipped.calls == 3
    told = counts(recording)
    assert (told["task_skipped"], told["workflow_failed"]) == (3, 1)


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 does not tell every step")
@pytest.mark.parametrize("mode", ["sequential", "sequential_group"])
def test_interrupted_between_the_calls(mode: str) -> None:
    """Wherever a run itself is interrupted, a run that has begun ends, and another may begin."""
    for place in count():
        recording = Recording()
        flow = DotFlow(config=Config(**recording.providers))
        flow.task.add(ok)
        flow.task.add(ok, group_name="other")
        interrupts = Interrupts([place], modules=("dotflow.core.workflow",))
        interrupts.within(lambda flow=flow, mode=mode: flow.start(mode=mode))  # type: ignore[misc]
        if not interrupts.came:
            break
        told = counts(recording)
        ended = told.get("workflow_completed", 0) + told.get("workflow_failed", 0)
        assert told.get("workflow_started", 0) == ended, place
        assert flow.start(mode=mode) is not None
    assert place


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 does not tell every step")
@pytest.mark.parametrize("gap", range(6))
def test_interrupted_twice_between_the_calls(gap: int) -> None:
    """A second Ctrl-C a few moments after the first one takes no end from a run either."""
    for place in count():
        recording, ends = Recording(), [0]

        def note(tasks: object, ends: list[int] = ends) -> None:
            ends[0] += 1

        flow = DotFlow(config=Config(**recording.providers))
        flow.task.add([ok, ok])
        interrupts = Interrupts([place, gap], modules=("dotflow.core.workflow",))
        interrupts.within(
            lambda flow=flow, note=note: flow.start(on_success=note, on_failure=note)  # type: ignore[misc]
        )
        if not interrupts.came:
            break
        told = counts(recording)
        ended = told.get("workflow_completed", 0) + told.get("workflow_failed", 0)
        assert told.get("workflow_started", 0) == ended, place
        assert flow.start().is_running is False, place
