"""How often a step is tried, how long an attempt may take, and how long to wait between."""

from __future__ import annotations

import math
from typing import NamedTuple

from dotflow.core.exception import InvalidOption

# 2 ** 32 times the first delay is past any wait that ends; it keeps floats finite.
_MAX_DOUBLINGS = 32


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
            InvalidOption: A number is negative, or is none.
        """
        if not isinstance(retry, int) or retry < 0:
            raise InvalidOption("retry", retry, "give a whole number of attempts, 0 or more")
        _check_seconds("timeout", timeout)
        _check_seconds("retry_delay", retry_delay)
        return cls(max(1, retry), timeout, retry_delay, bool(backoff))

    def delay_after(self, attempt: int) -> float:
        """Give the seconds to wait after that attempt (from 1) failed."""
        if not self.backoff:
            return self.delay
        return self.delay * float(2 ** min(attempt - 1, _MAX_DOUBLINGS))


def _check_seconds(option: str, value: object) -> None:
    valid = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    if not valid:
        raise InvalidOption(option, value, "give a number of seconds, 0 or more")
