"""Values that storages of documents keep, each with its type, and values that they refuse."""

from __future__ import annotations

import enum
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

WORKFLOW_ID = "8a6e0804-2bd0-4672-b79d-d97027f9071a"


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in every part and type; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    # Of these the repr is no measure: any order of a set, too many digits of an int.
    return one == other if isinstance(one, set | frozenset | int) else repr(one) == repr(other)


class Zoneless(tzinfo):
    """A time zone of somebody's own."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        """Return none."""
        return timedelta(0)

    def dst(self, _: datetime | None) -> None:
        """Return none."""

    def tzname(self, _: datetime | None) -> str:
        """Return a name."""
        return "nowhere"


class Number(enum.IntEnum):
    """JSON would make it an int."""

    ONE = 1


VALUES: list[Any] = [
    None,
    True,
    0,
    -(10**5000),
    1.5,
    -0.0,
    float("nan"),
    float("inf"),
    float("-inf"),
    "text \ud83d\ude00 é \n",
    "\ud800",
    ["\ud83d" + "\ude00", {"\ud83d" + "\ude00": 1}],
    [1, 2],
    [],
    {},
    {"b": 1, "a": {"x": [None]}},
    {1: "int", "1": "text", None: 0, (1, 2): "tuple", 1.5: "x", b"k": {2: 3}},
    {"$type": "tuple", "value": [1]},
    {"$type": {"$type": 1}},
    {"\ud800": 1},
    (1, (2, [3, ()])),
    {1, "a", None, (1, 2), frozenset({b"x"})},
    set(),
    frozenset(),
    b"\x00\xff",
    b"",
    bytearray(b"ab"),
    complex(float("inf"), -0.0),
    datetime(2024, 1, 2, 3, 4, 5, 6),
    datetime(2024, 10, 27, 2, 30, fold=1),
    datetime(2024, 1, 2, tzinfo=UTC),
    datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-5, microseconds=1))),
    datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=2), "CEST")),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris")),
    date(1, 1, 1),
    time(1, 2, 3, 4),
    time(1, fold=1, tzinfo=UTC),
    timedelta(-1, 2, 3),
    Decimal("1.50"),
    Decimal("sNaN12"),
    Decimal("-Infinity"),
    UUID(WORKFLOW_ID),
    Path("a") / ".." / "b",
    Path("\udcff"),
]

REFUSED = [
    (object(), "builtins.object"),
    ([{"x": (len,)}], "builtins.builtin_function_or_method"),
    (Number.ONE, "Number"),
    (OrderedDict(a=1), "collections.OrderedDict"),
    (PurePosixPath("a"), "PurePosixPath"),
    ({Number.ONE: 1}, "Number"),
    (datetime(2024, 1, 2, tzinfo=Zoneless()), "Zoneless"),
    (SimpleNamespace(a=1), "types.SimpleNamespace"),
]
