"""When a cron expression comes next, in a time zone and across its clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo


def next_tick(cron: str, now: float, zone: tzinfo | None = None) -> float | None:
    """Return the next time that matches, or None if there is none.

    Where the clock goes back an hour, a schedule by the minute or hour goes on in the second
    one, and one by the day does not come again. Where it goes forward, what would come in
    the missing hour comes after it.

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


def _ticks(cron: str, now: float, zone: tzinfo | None) -> Iterator[float]:
    from croniter import CroniterBadDateError, croniter  # noqa: PLC0415 - an extra

    # Croniter is asked about naive times, to which no clock change happens.
    try:
        shown = croniter(cron, _naive(now, zone)).get_next(datetime).replace(tzinfo=zone)
    except CroniterBadDateError:
        return
    first = shown.timestamp()
    # The clock shows that time twice, and the first of them has passed.
    yield first if first > now else shown.replace(fold=1).timestamp()
    # Before the clock goes back, the time that now seems next is shown as another one.
    offset = timezone(datetime.fromtimestamp(now, UTC).astimezone(zone).utcoffset() or timedelta())
    steady = shown.replace(tzinfo=offset).timestamp()
    if steady < first and croniter.match(cron, _naive(steady, zone)):
        yield steady


def _naive(time: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(time, zone).replace(tzinfo=None)
