"""What becomes of an attempt that is late or whose worker is gone: without any process."""

from __future__ import annotations

from typing import Any

import pytest

from dotflow import action
from dotflow.core import limit
from dotflow.core.attempt import Attempt
from dotflow.core.failure import TIMEOUT, WORKER_LOST
from dotflow.workers import verdict
from dotflow.workers.verdict import Moments


@action
def step() -> None:
    """Do nothing."""


@action
async def coroutine() -> None:
    """Do nothing."""


def attempt_of(timeout: float = 0, step: Any = step) -> Attempt:
    """Make an attempt with a limit."""
    return Attempt(step, "name", "id", None, None, timeout)


WORKER = "12 was killed by SIGKILL"


def test_what_ends_a_late_attempt() -> None:
    """The coroutine's own clean-up ends before its worker is killed, which ends itself last."""
    assert 0 < limit.CLEAN_UP < limit.OWNER_GRACE < limit.WORKER_GRACE


@pytest.mark.parametrize(
    ("moments", "running_since", "started"),
    [
        (Moments(), None, None),
        (Moments(1.0), None, 1.0),
        (Moments(1.0, 2.0), 2.0, 2.0),
        (Moments(1.0, 2.0, 3.0), None, 2.0),
    ],
)
def test_how_far_it_got(moments: Moments, running_since: Any, started: Any) -> None:
    """It runs from when its step began until its outcome is ready; before, it has arrived."""
    assert (moments.running_since, moments.started) == (running_since, started)


def test_when_a_worker_is_killed() -> None:
    """When the step has run for its limit; a coroutine's when it had time for its clean-up."""
    running = Moments(1.0, 2.0)
    assert verdict.due(attempt_of(5), running, 3.0) == 7.0
    assert verdict.due(attempt_of(5, coroutine), running, 3.0) == 7.0 + limit.OWNER_GRACE
    # What has not begun, or has ended, is looked at again.
    assert verdict.due(attempt_of(5), Moments(1.0), 30.0) == 35.0
    assert verdict.due(attempt_of(5), Moments(1.0, 2.0, 3.0), 30.0) == 35.0


def test_an_outcome_that_comes_late() -> None:
    """It counts as late where it lasted longer than its limit; a coroutine's says so itself."""
    assert verdict.is_late(attempt_of(5), 5.1)
    assert not verdict.is_late(attempt_of(5), 5)
    assert not verdict.is_late(attempt_of(5, coroutine), 5.1)
    assert not verdict.is_late(attempt_of(), 1e9)


def test_how_it_fails_by_being_late() -> None:
    """By a TimeoutError that names the step and the limit."""
    failure = verdict.timed_out(attempt_of(1.5))
    assert failure.kind == TIMEOUT
    assert isinstance(failure.exception, TimeoutError)
    assert str(failure.exception) == "name did not end within its timeout of 1.5 s"


def lost(moments: Moments, losses: int = 0, timeout: float = 0, now: float = 9.0) -> Any:
    """Return what becomes of an attempt whose worker is gone."""
    return verdict.lost(attempt_of(timeout), moments, losses, now, WORKER, " (why)")


def test_a_worker_that_never_had_it() -> None:
    """The attempt is none yet, and is sent to another one, so many times."""
    assert [lost(Moments(), losses) for losses in range(5)] == [None] * 5
    failure = lost(Moments(), 5)
    assert failure.kind == WORKER_LOST
    assert str(failure.exception) == (
        "the worker process 12 was killed by SIGKILL before it began name (why)"
    )


@pytest.mark.parametrize("moments", [Moments(1.0), Moments(1.0, 2.0), Moments(1.0, 2.0, 3.0)])
def test_a_worker_that_had_it(moments: Moments) -> None:
    """The attempt has failed: to run it again is a retry's affair."""
    failure = lost(moments)
    assert failure.kind == WORKER_LOST
    assert str(failure.exception) == (
        "the worker process 12 was killed by SIGKILL while it ran name"
    )


def test_a_worker_that_ended_itself() -> None:
    """One whose owner was too busy ends itself when its attempt is late: that is a timeout."""
    running = Moments(1.0, 2.0)
    assert lost(running, timeout=7, now=9.0).kind == TIMEOUT
    assert lost(running, timeout=7, now=8.9).kind == WORKER_LOST
    assert lost(Moments(1.0, 2.0, 3.0), timeout=1).kind == WORKER_LOST
