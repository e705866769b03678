"""When a cron expression comes next, in local time and across clock changes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def next_tick(cron: str, now: float) -> float | None:
    """Give the next time that matches, or None if there is none.

    Where the clock goes back an hour, a schedule by the minute or hour goes on in the second
    one, and one by the day does not come again. Where it goes forward, what would come in
    the missing hour comes after it.

    Args:
        cron: Five fields, or six: the sixth is the second.
        now: Seconds since the epoch.

    Returns:
        Seconds since the epoch, later than `now`.

    Raises:
        ValueError: `cron` is no cron expression.
        ModuleNotFoundError: croniter is not installed.
    """
    return min(_ticks(cron, now), default=None)


def _ticks(cron: str, now: float) -> Iterator[float]:
    from croniter import CroniterBadDateError, croniter  # noqa: PLC0415 - an extra

    # Croniter is asked about naive times, to which no clock change happens.
    local = datetime.fromtimestamp(now).astimezone()
    try:
        shown = croniter(cron, local.replace(tzinfo=None)).get_next(datetime)
    except CroniterBadDateError:
        return
    first = shown.timestamp()
    # The clock shows that time twice, and the first of them has passed.
    yield first if first > now else shown.replace(fold=1).timestamp()
    # Before the clock goes back, the time that now seems next is shown as another one.
    steady = shown.replace(tzinfo=local.tzinfo).timestamp()
    if steady < first and croniter.match(cron, datetime.fromtimestamp(steady)):
        yield steady
