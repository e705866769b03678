"""Puts what a worker on another machine has recorded on this process's clock.

The other clock tells how long, not when. So all that comes with an outcome is shifted by the
same time, and keeps its order and durations.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

from dotflow.core.timing import monotonic_ns

if TYPE_CHECKING:
    from dotflow.core.attempt import Outcome
    from dotflow_otel.relay.returned import Returned
    from dotflow_otel.spans.record import SpanRecord


def on_the_wall(outcome: Outcome) -> tuple[int, int]:
    """Return when an attempt started and ended, in nanoseconds since the epoch."""
    ahead = time_ns() - monotonic_ns()
    started = ahead + round(outcome.started * 1e9)
    return started, max(started, ahead + round(outcome.ended * 1e9))


def on_our_clock(returned: Returned, outcome: Outcome) -> Returned:
    """Shift all spans that came with an outcome; the attempt's own lies within its attempt."""
    shift, (first, last) = outcome.shift, on_the_wall(outcome)
    times, own = returned.times, returned.own
    if times is not None:
        times = _within(first, last, times[0] + shift, times[1] + shift)
    if own is not None:
        own = shifted(own, shift)
        started, ended = _within(first, last, own.started, own.ended)
        own = own._replace(started=started, ended=ended)
    return returned._replace(
        times=times,
        own=own,
        below=[shifted(each, shift) for each in returned.below],
        others=[(run, shifted(each, shift)) for run, each in returned.others],
    )


def shifted(span: SpanRecord, shift: int) -> SpanRecord:
    """Return a span as if it had been recorded so many nanoseconds later."""
    events = [each._replace(timestamp=each.timestamp + shift) for each in span.events]
    return span._replace(started=span.started + shift, ended=span.ended + shift, events=events)


def _within(first: int, last: int, started: int, ended: int) -> tuple[int, int]:
    # Where a clock was set anew meanwhile, or runs at another speed.
    started = min(max(started, first), last)
    return started, min(max(ended, started), last)
