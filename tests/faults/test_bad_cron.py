"""Cron expressions that are none, or nearly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from random_inputs import ODD_TEXTS, bounded

from dotflow.core.exception import InvalidOption
from dotflow.providers import SchedulerCron
from dotflow.providers.cron import next_tick

if TYPE_CHECKING:
    from figures import Figures

# What each field may be.
FIELDS = (
    ("*", "*/7", "0", "5-40/3", "1,2,59"),
    ("*", "*/2", "3", "22-2", "1-5"),
    ("*", "1", "L", "31", "1-7"),
    ("*", "2", "jan", "4,6,9,11", "1-12/5"),
    ("*", "mon-fri", "sun#1", "L5", "0", "7", "5#5", "?"),
    ("0", "*/10", "30"),
    ("2027", "2024-2099"),
)
# And what none may be, or another one.
ODD = (
    *("*/0", "0/0", "*/*", "-1", "60", "99", "1e3", "1.5", "5-1", "1-2-3", "1//2", "-", ",", "/"),
    *("9" * 30, "1-99999999", "*/99999999", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}"),
    *("H", "H(0-5)/2", "R", "R(1-3)", "W", "15W", "L-3", "#", "5#3", "@daily", "@reboot", "lundi"),
)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Return an expression some of whose fields or letters are others."""
    lengths = draw(st.sampled_from([5, 5, 5, 6, 7]))
    fields = [draw(st.sampled_from(choices)) for choices in FIELDS[:lengths]]
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        number = (
            f"{draw(st.integers(-1, 70))}{draw(st.sampled_from('-/,'))}{draw(st.integers(0, 70))}"
        )
        other = draw(st.sampled_from(ODD) | st.just(number) | st.sampled_from(ODD_TEXTS))
        fields[draw(st.integers(0, lengths - 1))] = other
    text = draw(st.sampled_from([" ", " ", " ", "  ", "\t", "\n", ""])).join(fields)
    if draw(st.booleans()):
        return text
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.text(max_size=2)) + text[place + draw(st.integers(0, 2)) :]


def test_cron(figures: Figures) -> None:
    """An expression is refused by an error that names it, or it has a next time each time."""

    @bounded(800)
    @given(cron=expressions(), now=st.floats(0, 4e9), zone=st.sampled_from(["UTC", "Europe/Paris"]))
    def trial(cron: str, now: float, zone: str) -> None:
        try:
            SchedulerCron(cron, timezone=zone)
        except InvalidOption as error:
            message = str(error)
        else:
            tick = next_tick(cron, time.time(), ZoneInfo(zone))
            assert tick is not None
            assert tick > time.time() - 1
            later = next_tick(cron, now, ZoneInfo(zone))
            assert later is None or later > now
            return
        figures.add("bad inputs tried", 1)
        assert message.startswith(f"cron={repr(cron)[:100]}")
        assert len(message) < 1_000

    trial()
