"""The options of an action: what the clock can take of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dotflow import action
from dotflow.core.action import RetryPolicy
from dotflow.core.exception import InvalidOption

LONGEST = threading.TIMEOUT_MAX


def refused(**options: Any) -> str:
    """Return why the decorator refuses an option."""
    with pytest.raises(InvalidOption) as raised:
        action(**options)
    return str(raised.value)


@pytest.mark.parametrize("option", ["timeout", "retry_delay"])
@pytest.mark.parametrize("seconds", [LONGEST * 1.01, 1e300, float("inf"), 10**40])
def test_more_than_the_clock_can_take(option: str, seconds: float) -> None:
    """It is refused as the decorator is applied, with the most that there may be."""
    expected = (
        f"{option}={seconds!r} is not valid: the clock can take {LONGEST:.0f} seconds at most."
    )
    assert refused(**{option: seconds}) == expected


@pytest.mark.parametrize("option", ["timeout", "retry_delay"])
@pytest.mark.parametrize("seconds", [0, 0.5, 30 * 86_400, LONGEST])
def test_what_the_clock_can_take(option: str, seconds: float) -> None:
    """It is kept as it is."""
    assert getattr(action(**{option: seconds}), option) == seconds


@pytest.mark.parametrize("delay", [1, 1_000, LONGEST])
@pytest.mark.parametrize("backoff", [False, True])
def test_no_wait_is_longer(delay: float, backoff: bool) -> None:
    """However often the delay doubles, a thread can sleep so long."""
    policy = RetryPolicy.checked(retry=10_000, timeout=0, retry_delay=delay, backoff=backoff)
    assert policy.delay_after(1) == min(delay, 100 * 365 * 86_400)
    assert policy.delay_after(9_999) <= 100 * 365 * 86_400
