"""Texts of users cannot make lines of their own in a log, nor give a terminal orders."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.printable import printable, printable_lines
from dotflow.providers import LogDefault
from dotflow_otel import LogStructlog

if TYPE_CHECKING:
    from pathlib import Path

    from dotflow.abc.log import Log

FORGED = "2026-01-01 00:00:00,000 - INFO [dotflow.log]: forged"
BREAKS = ("\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
ORDERS = "\x1b[31m\x1b]0;title\x07\x9b2J\x00\x08\u202e\u2066"
HOSTILE = ORDERS + "".join(f"{each}{FORGED}" for each in BREAKS)


class Shown:
    """An object whose `repr` is hostile."""

    def __repr__(self) -> str:
        return HOSTILE


@action
def fail() -> None:
    """Fail with a hostile message."""
    raise ValueError(HOSTILE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain ä 漢 🙂", "plain ä 漢 🙂"),
        ("a\nb", "a b"),
        ("a\tb", "a\\tb"),
        ("\x1b[1m", "\\x1b[1m"),
        ("a\u2028b\x85", "a\\u2028b\\x85"),
        ("\u202eabc", "\\u202eabc"),
        ("\udc80", "\\udc80"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    """A line break becomes a space, anything else that cannot be printed its escape."""
    assert printable(text) == expected


def test_several_lines() -> None:
    """A traceback stays as it is, but for what it has of an order or of a log's line."""
    ordinary = 'Traceback (most recent call last):\n  File "x", line 1\n\tindented\nKeyError: 1\n'
    assert printable_lines(ordinary) == ordinary
    assert printable_lines(f"ValueError: a\n{FORGED}\n\x1b[1m٣") == (
        f"ValueError: a\n  {FORGED}\n\\x1b[1m٣"
    )
    assert printable_lines("٣ and\r3") == "  ٣ and\\r3"


@pytest.mark.parametrize("format_", ["simple", "json"])
@pytest.mark.parametrize(("kind", "changes"), [(LogDefault, 3), (LogStructlog, 4)])
def test_no_log_can_be_forged(kind: type[Any], changes: int, format_: str, tmp_path: Path) -> None:
    """Whatever names, messages and fields hold, each line of a log is one of its own."""
    path = tmp_path / "flow.log"
    log: Log = kind(output="file", path=path, format=format_, level="DEBUG")
    flow = DotFlow(Config(log=log))
    flow.task.add(fail, name=HOSTILE)
    flow.start()
    log.info(note=HOSTILE, **{HOSTILE: 1})
    log.error(note=Shown())
    text = path.read_bytes().decode()
    assert [each for each in text if not each.isprintable() and each != "\n"] == []
    lines = text.splitlines()
    if format_ == "json":
        assert all(type(json.loads(line)) is dict for line in lines)
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    begun = [line for line in lines if re.match(r"\{|\d{4}-", line)]
    # One for each change of the task's status or event of the run, and the two of the test.
    assert len(begun) == changes + 2
