"""When a cron expression comes next, also where the clock is put forward or back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

# For how long after a change of the clock its effects last: longer than any zone is put forward
# or back, in seconds.
_EFFECT: Final = 4 * 3600

# Just before a time, so that this one is found as well.
_MOMENT: Final = 0.001


def next_tick(cron: str, now: float, zone: tzinfo | None = None) -> float | None:
    """Return the next time that matches, or None if there is none.

    Where the clock is put forward, what would come in the hour that is missing comes that much
    later: a tick at 02:30 at 03:30. If the expression has that time as well, there is one tick.

    Where the clock is put back, the hour that comes twice has ticks twice only if the expression
    names no hour (`*` or `*/n` in that field), so that what comes each minute or hour goes on.
    One that names hours has each tick once, the first time.

    Args:
        cron: Five fields, or six: the sixth is the second.
        now: Seconds since the epoch.
        zone: The time zone; None: local time.

    Returns:
        Seconds since the epoch, later than `now`.

    Raises:
        ValueError: `cron` is no cron expression.
        ModuleNotFoundError: croniter is not installed.
    """
    return min(_ticks(cron, now, zone), default=None)


class _Change(NamedTuple):
    """A change of the clock.

    Attributes:
        at: When it is.
        before: What was added to the time in UTC, in seconds.
        after: What is added from then on.
    """

    at: float
    before: float
    after: float


def _ticks(cron: str, now: float, zone: tzinfo | None) -> Iterator[float]:
    """Return a few ticks, the next one among them."""
    offset = _offset(now, zone)
    after = now + offset
    recent = _change_between(now - _EFFECT, now, zone)
    if recent is not None:
        yield from _in_missing(cron, now + recent.before, recent)
        after = max(after, _begin(cron, recent))
    since = now
    while (shown := _following(cron, after)) is not None:
        change = _change_between(since, shown - offset, zone)
        if change is None:
            yield shown - offset
            return
        yield from _in_missing(cron, change.at + change.before - _MOMENT, change)
        since, after, offset = change.at, _begin(cron, change), change.after


def _in_missing(cron: str, after: float, change: _Change) -> Iterator[float]:
    # What a clock would show that was not put forward; later than it was, none is missing.
    shown = _following(cron, after)
    if shown is not None and shown < change.at + change.after:
        yield shown - change.before


def _begin(cron: str, change: _Change) -> float:
    """Return what the clock shows before the first tick that counts after a change."""
    once = change.after < change.before and _names_hours(cron)
    return change.at + (change.before if once else change.after) - _MOMENT


def _names_hours(cron: str) -> bool:
    from croniter import croniter  # noqa: PLC0415 - an extra

    return not str(croniter(cron).expressions[1]).startswith("*")


def _following(cron: str, after: float) -> float | None:
    """Return what a clock shows at the next tick, given what it shows, as if in UTC."""
    from croniter import CroniterBadDateError, croniter  # noqa: PLC0415 - an extra

    try:
        return float(croniter(cron, after).get_next(float))
    except CroniterBadDateError:
        return None


def _change_between(begin: float, end: float, zone: tzinfo | None) -> _Change | None:
    """Return the first change that is found after one time, up to another."""
    before, after = _offset(begin, zone), _offset(end, zone)
    if before == after:
        return None
    low, high = int(begin), int(end) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return _Change(high, before, _offset(high, zone))


def _offset(time: float, zone: tzinfo | None) -> float:
    offset = datetime.fromtimestamp(time, UTC).astimezone(zone).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
