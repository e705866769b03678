"""The time of spans: that of day when a run began, and from then on by a clock that nobody sets."""

from __future__ import annotations

from time import time_ns
from typing import Final

from dotflow.core.timing import monotonic_ns

# The two clocks are read that closely together, in nanoseconds, or again, so many times.
_CLOSE: Final = 20_000
_TRIES: Final = 3


class SpanClock:
    """The time of day as if nobody set it, from now on.

    Were the time of day itself asked for at each end, a span would have a negative duration
    whose machine's clock was set back meanwhile, and backends refuse it.

    Attributes:
        to_wall: What is added to the monotonic clock, in nanoseconds.
    """

    __slots__ = ("to_wall",)

    def __init__(self) -> None:
        for _ in range(_TRIES):
            before, wall, after = monotonic_ns(), time_ns(), monotonic_ns()
            if after - before < _CLOSE:
                break
        self.to_wall = wall - (before + after) // 2

    def now(self) -> int:
        """Return the time, in nanoseconds since the epoch."""
        return self.to_wall + monotonic_ns()
