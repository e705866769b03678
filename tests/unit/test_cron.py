"""When a cron expression comes next where the clock is put forward or back, by a slow reckoning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter

from dotflow.providers.cron import next_tick

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

# The day before each change, as UTC: forward and back.
CHANGES = [
    ("Europe/Berlin", "2026-03-28T12:00"),  # 02:00 is 03:00 on the 29th
    ("Europe/Berlin", "2026-10-24T12:00"),  # 03:00 is 02:00 on the 25th
    ("America/New_York", "2026-03-07T18:00"),  # 02:00 is 03:00 on the 8th
    ("America/New_York", "2026-10-31T18:00"),  # 02:00 is 01:00 on the 1st
    ("Australia/Lord_Howe", "2026-10-03T06:00"),  # half an hour forward
    ("Australia/Lord_Howe", "2026-04-04T06:00"),  # and back
    ("America/Havana", "2026-03-07T18:00"),  # midnight is missing
    ("America/Havana", "2026-10-31T18:00"),  # and comes twice
    ("Asia/Tokyo", "2026-03-28T12:00"),  # never
]
CRONS = [
    "*/7 * * * *",
    "0 * * * *",
    "15,45 */2 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "*/20 2 * * *",
    "10,50 1-3 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "15 1,2,13 * * *",
    "0 2 29 3 *",
]


def at(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(cron: str, begin: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Return the ticks up to an end, each found from the one before it."""
    tick = next_tick(cron, begin.timestamp(), zone)
    while tick is not None and tick <= end.timestamp():
        yield datetime.fromtimestamp(tick, UTC)
        tick = next_tick(cron, tick, zone)


def reckoned(cron: str, begin: datetime, end: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the same by a look at each minute, and at each that the clock does not show."""
    names_hours = not cron.split()[1].startswith("*")
    matching = shown_ticks(cron, begin - DAY, end + DAY)
    found: set[datetime] = set()
    time, shown = begin, begin.astimezone(zone).replace(tzinfo=None)
    while time < end:
        expected = shown + MINUTE
        time += MINUTE
        local = time.astimezone(zone)
        shown = local.replace(tzinfo=None, fold=0)
        if shown in matching and not (local.fold and names_hours):
            found.add(time)
        late = time
        while expected < shown:
            if expected in matching:
                found.add(late)
            late, expected = late + MINUTE, expected + MINUTE
    return sorted(each for each in found if each <= end)


def shown_ticks(cron: str, begin: datetime, end: datetime) -> set[datetime]:
    """Return what a clock that nobody changes shows at the ticks."""
    times = croniter(cron, begin.replace(tzinfo=None))
    found: set[datetime] = set()
    while (tick := times.get_next(datetime)) < end.replace(tzinfo=None):
        found.add(tick)
    return found


@pytest.mark.parametrize("cron", CRONS)
@pytest.mark.parametrize(("zone", "begin"), CHANGES)
def test_ticks_around_a_change(cron: str, zone: str, begin: str) -> None:
    """From tick to tick over two days: what is missing comes later, what names hours once."""
    start = at(begin)
    end, place = start + timedelta(days=2), ZoneInfo(zone)
    assert list(ticks(cron, start, end, place)) == reckoned(cron, start, end, place)


@pytest.mark.parametrize("cron", CRONS)
@pytest.mark.parametrize(("zone", "begin"), CHANGES)
def test_ticks_do_not_depend_on_when_it_was_asked(cron: str, zone: str, begin: str) -> None:
    """A schedule that starts in between, as after a restart, ticks at the same times."""
    start = at(begin)
    end, place = start + timedelta(days=2), ZoneInfo(zone)
    expected = reckoned(cron, start, end, place)
    for minutes in range(7, 60 * 36, 37):
        now = start + timedelta(minutes=minutes)
        following = next_tick(cron, now.timestamp(), place)
        later = [each for each in expected if each > now]
        if later:
            assert following == later[0].timestamp()
        else:
            assert following is not None
            assert following > end.timestamp()


@pytest.mark.parametrize(
    ("zone", "cron", "now", "expected"),
    [
        # Put forward: 02:30 is missing, and comes at 03:30 by the new clock.
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29T01:30", "03-30T00:30"]),
        ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["03-08T07:30", "03-09T06:30"]),
        # Put back: what names the hour has one tick, what does not goes on.
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25T00:30", "10-26T01:30"]),
        ("Europe/Berlin", "30 * * * *", "2026-10-25T00:00", ["10-25T00:30", "10-25T01:30"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01T05:30", "11-02T06:30"]),
        ("America/New_York", "30 * * * *", "2026-11-01T05:00", ["11-01T05:30", "11-01T06:30"]),
        # A restart in the second of the two hours has no tick that was before it.
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T01:10", ["10-26T01:30", "10-27T01:30"]),
    ],
)
def test_examples(zone: str, cron: str, now: str, expected: list[str]) -> None:
    """The cases that the documentation tells, in UTC."""
    first = next_tick(cron, at(now).timestamp(), ZoneInfo(zone))
    assert first is not None
    second = next_tick(cron, first, ZoneInfo(zone))
    assert [first, second] == [at(f"2026-{each}").timestamp() for each in expected]


def test_aliases_and_seconds() -> None:
    """`@hourly` names no hour; a sixth field is the second, also over a change."""
    berlin = ZoneInfo("Europe/Berlin")
    end = at("2026-10-25T02:00")
    hourly = ticks("@hourly", at("2026-10-24T23:30"), end, berlin)
    assert [each.hour for each in hourly] == [0, 1, 2]
    seconds = ticks("59 * * * * 50", at("2026-10-24T23:30"), end, berlin)
    assert [f"{each:%H:%M:%S}" for each in seconds] == ["23:59:50", "00:59:50", "01:59:50"]
