"""How often a step is tried, how long an attempt may take, and how long to wait between."""

from __future__ import annotations

from threading import TIMEOUT_MAX
from typing import Final, NamedTuple

from dotflow.core.exception import InvalidOption

# 2 ** 32 times the first delay is past any wait that ends; it keeps floats finite.
_MAX_DOUBLINGS = 32

# A sleep ends at a time of the clock, which so has to reach farther than the sleep lasts.
_LONGEST_WAIT: Final = min(TIMEOUT_MAX, 100 * 365 * 86_400)


class RetryPolicy(NamedTuple):
    """The options of an action, checked.

    Attributes:
        attempts: How many times at most, at least 1.
        timeout: Seconds for one attempt, 0 for no limit.
        delay: Seconds between attempts.
        backoff: Whether the delay doubles after each attempt.
    """

    attempts: int = 1
    timeout: float = 0
    delay: float = 1
    backoff: bool = False

    @classmethod
    def checked(
        cls, *, retry: int, timeout: float, retry_delay: float, backoff: bool
    ) -> RetryPolicy:
        """Make a policy of an action's options.

        Raises:
            InvalidOption: A number is negative or none, or more than the clock can take, or
                `backoff` is no bool.
        """
        if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
            raise InvalidOption("retry", retry, "give a whole number of attempts, 0 or more")
        _check_seconds("timeout", timeout)
        _check_seconds("retry_delay", retry_delay)
        if not isinstance(backoff, bool):
            raise InvalidOption("backoff", backoff, "give True or False")
        return cls(max(1, retry), timeout, retry_delay, backoff)

    def delay_after(self, attempt: int) -> float:
        """Return the seconds to wait after that attempt (from 1) failed."""
        delay = self.delay
        if self.backoff:
            delay *= float(2 ** min(attempt - 1, _MAX_DOUBLINGS))
        return min(delay, _LONGEST_WAIT)


def _check_seconds(option: str, value: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and value >= 0):
        raise InvalidOption(option, value, "give a number of seconds, 0 or more")
    if value > TIMEOUT_MAX:
        hint = f"the clock can take {TIMEOUT_MAX:.0f} seconds at most"
        raise InvalidOption(option, value, hint)
