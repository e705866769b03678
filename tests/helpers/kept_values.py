"""Values that storages of documents keep, each with its type, and values that they refuse."""

from __future__ import annotations

import enum
import re
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from dotflow import Context

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKFLOW_ID = "8a6e0804-2bd0-4672-b79d-d97027f9071a"


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in every part and type; NaN equals NaN."""
    return bool(_form(one) == _form(other))


def _form(value: Any) -> tuple[Any, ...]:
    """Return what two values have in common only where each part of them is equal, of one type."""
    kind = type(value)
    if kind in (list, tuple):
        return (kind, *map(_form, value))
    if kind is dict:
        return (kind, *((_form(key), _form(part)) for key, part in value.items()))
    if kind in (set, frozenset):
        return (kind, *sorted(map(_form, value), key=repr))
    if kind is Context:
        return kind, _form(value.storage), value.task_id, value.workflow_id, _form(value.time)
    # Of a long int the repr has too many digits; of a moment, equality knows neither zone nor fold.
    return kind, value if kind is int else repr(value)


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


class Colour(enum.Enum):
    """A member is no value of its own."""

    RED = "red"


class Number(enum.IntEnum):
    """JSON would make it an int."""

    ONE = 1


class Name(enum.StrEnum):
    """JSON would make it a text."""

    A = "a"


class Right(enum.IntFlag):
    """JSON would make it an int."""

    READ = 1


@dataclass
class Point:
    """A record."""

    x: int = 1


@dataclass(frozen=True, slots=True)
class Frozen:
    """A record without a dictionary, and hashable."""

    x: int = 1


class Pair(NamedTuple):
    """JSON would make it a list."""

    x: int = 1


Old = namedtuple("Old", "x y")  # noqa: PYI024 - as programs have them


class float64(float):  # noqa: N801 - its name in numpy
    """As numpy's, which is a float too."""

    __module__ = "numpy"


class int64:  # noqa: N801 - its name in numpy
    """As numpy's, which is no int but equals one."""

    __module__ = "numpy"

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return other == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class ndarray:  # noqa: N801 - its name in numpy
    """As numpy's: to compare two gives no truth, and it can be gone through."""

    __module__ = "numpy"

    def __iter__(self) -> Iterator[int]:
        return iter((1, 2))

    def __len__(self) -> int:
        return 2

    def __eq__(self, other: object) -> Any:
        return ndarray()

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth of an array is ambiguous")


class Model:
    """As a model of pydantic: with a dictionary, and a form for JSON."""

    def __init__(self) -> None:
        self.x = 1

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(vars(self).items())

    def model_dump(self) -> dict[str, int]:
        """Return its form."""
        return vars(self)


class Hostile:
    """Whatever is asked of it raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("no equality")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class Text(str):  # noqa: SLOT000
    """A text of somebody's own."""


class Day(date):
    """A date of somebody's own."""


class Moment(datetime):
    """As the moments of pandas are."""


class Money(Decimal):
    """A number of somebody's own."""


class Items(list[int]):
    """A list of somebody's own."""


class Fields(dict[str, int]):
    """A dictionary of somebody's own."""


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
    # Equal, and of other types: alone, as keys, and as parts of keys.
    [1, True, 1.0, Decimal(1), complex(1), 0, False, 0.0, -0.0, None, "", b"", (), [], {}, set()],
    [{1: "int"}, {True: "bool"}, {1.0: "float"}, {Decimal(1): "Decimal"}, {(1 + 0j): "complex"}],
    [{0: 0}, {False: 0}, {0.0: 0}, {-0.0: 0}, {None: 0}, {"": 0}, {b"": 0}, {(): 0}],
    [{(1,): 1}, {(True,): 1}, {(1.0,): 1}, {((1,), frozenset({True})): {1.0: [True]}}],
    [{1}, {True}, {1.0}, frozenset({frozenset({True}), frozenset({0})})],
    {"1": 1, 1: "1", "True": True, "None": None, None: "None", "1.0": 1.0},
    # Falsy values, each where it counts.
    *(False, 0.0, "", (), b""),
    bytearray(),
    timedelta(0),
    Decimal(0),
    [None],
    {None: None},
    # The ends of what there is.
    [2**53 + 1, 2**63, -(2**63) - 1, 2**1023, 2**1024, 2**1025, -(2**1024), 10**400],
    10**5000 + 7,
    {10**5000: -(10**640)},
    [5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1e16, 1e22, -5e-324],
    [float("nan"), {float("nan"): float("nan")}, {float("nan")}],
    [complex(float("nan"), float("-inf")), complex(-0.0, -0.0)],
    [timedelta.max, timedelta.min, timedelta.resolution, -timedelta.resolution],
    [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1, 1, 1, tzinfo=UTC)],
    [date.max, date.min, time.max, time.min],
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(0))),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "GMT")),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-23, minutes=-59), "\ud800")),
    [datetime(2024, 3, 31, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Paris")) for fold in (0, 1)],
    [datetime(2024, 1, 1, tzinfo=ZoneInfo(name)) for name in ("UTC", "Etc/GMT+12")],
    time(23, 59, 59, 999999, tzinfo=ZoneInfo("Asia/Kolkata")),
    [Decimal(text) for text in ("0E+10", "-0", "-0.00", "1E-999999", "9" * 60, "NaN", "-sNaN")],
    [UUID(int=0), UUID(int=2**128 - 1), {UUID(int=1): UUID(int=1)}],
    [Path(), Path("/"), Path("a b\n"), Path("~"), {Path("a"): {Path("b")}}],
    [*map(chr, range(128)), "\u2028\u2029", "\ufeff", "\uffff", "\U0010ffff", "é", "e\u0301"],
    ["\udc80", "\ud83d", "\ude00\ud83d", "a\ud800b", {"\udfff": "\udfff"}, {"\ud800": {"\ud800"}}],
    ["$type", {"$type": "$type"}, {"value": 1}, {"$type": "set", "value": [1], 2: 3}, "\\u0041"],
    [bytes(range(256)), bytearray(range(256)), {b"\x00": b"\xff"}, b"\r\n"],
    {("a", (1, (True, None))): {frozenset({(b"", "")}): [{(): ()}]}},
    [[[[[[[[[[[[[[[[[[[[(((((({"deep": [[[[{1}]]]]},),),),),),)]]]]]]]]]]]]]]]]]]]],
    [Context((1, {True}), "a", WORKFLOW_ID), Context(), Context(Context([None]), task_id=None)],
]

# Each with what the error calls it, and where in it the refused part is.
REFUSED: list[tuple[Any, str, str]] = [
    (object(), "builtins.object", ""),
    ([{"x": (len,)}], "builtins.builtin_function_or_method", "[0].values()[0][0]"),
    (Number.ONE, "Number", ""),
    (OrderedDict(a=1), "collections.OrderedDict", ""),
    (PurePosixPath("a"), "PurePosixPath", ""),
    ({Number.ONE: 1}, "Number", ".keys()[0]"),
    (datetime(2024, 1, 2, tzinfo=Zoneless()), "Zoneless", ""),
    (SimpleNamespace(a=1), "types.SimpleNamespace", ""),
    (Colour.RED, "kept_values.Colour", ""),
    ([1, Name.A], "kept_values.Name", "[1]"),
    ({"a": {"b": Right.READ}}, "kept_values.Right", ".values()[0].values()[0]"),
    (Point(), "kept_values.Point", ""),
    ([Point()], "kept_values.Point", "[0]"),
    ({"a": 1, Frozen(): 2}, "kept_values.Frozen", ".keys()[1]"),
    ({Frozen()}, "kept_values.Frozen", "{...}"),
    (Pair(), "kept_values.Pair", ""),
    ((1, (2, Pair())), "kept_values.Pair", "[1][1]"),
    (Old(1, 2), "kept_values.Old", ""),
    ({(1, Pair()): 1}, "kept_values.Pair", ".keys()[0][1]"),
    (float64(1.5), "numpy.float64", ""),
    ([1.5, float64(1.5)], "numpy.float64", "[1]"),
    ({"a": 1, "b": float64(1.5)}, "numpy.float64", ".values()[1]"),
    ({1: "a", float64(2): "b"}, "numpy.float64", ".keys()[1]"),
    (int64(1), "numpy.int64", ""),
    ({int64(1): 1}, "numpy.int64", ".keys()[0]"),
    ({int64(1)}, "numpy.int64", "{...}"),
    (ndarray(), "numpy.ndarray", ""),
    ({"a": [ndarray()]}, "numpy.ndarray", ".values()[0][0]"),
    (Model(), "kept_values.Model", ""),
    ([{"rows": [Model()]}], "kept_values.Model", "[0].values()[0][0]"),
    (Hostile(), "kept_values.Hostile", ""),
    ([[Hostile()]], "kept_values.Hostile", "[0][0]"),
    (Text("a"), "kept_values.Text", ""),
    ({Text("a"): 1}, "kept_values.Text", ".keys()[0]"),
    (Day(2024, 1, 2), "kept_values.Day", ""),
    (Moment(2024, 1, 2), "kept_values.Moment", ""),
    ([Money(1)], "kept_values.Money", "[0]"),
    (Items([1]), "kept_values.Items", ""),
    (Fields(a=1), "kept_values.Fields", ""),
    (defaultdict(int), "collections.defaultdict", ""),
    (Counter("a"), "collections.Counter", ""),
    (deque([1]), "collections.deque", ""),
    (array("d", [1.0]), "array.array", ""),
    (Fraction(1, 2), "fractions.Fraction", ""),
    (memoryview(b"a"), "builtins.memoryview", ""),
    (range(3), "builtins.range", ""),
    ((each for each in "ab"), "builtins.generator", ""),
    ({"a": 1}.keys(), "builtins.dict_keys", ""),
    (..., "builtins.ellipsis", ""),
    (slice(1), "builtins.slice", ""),
    (int, "builtins.type", ""),
    (enum, "builtins.module", ""),
    ([ValueError("a")], "builtins.ValueError", "[0]"),
    (re.compile("a"), "re.Pattern", ""),
    (ip_address("127.0.0.1"), "ipaddress.IPv4Address", ""),
    (MappingProxyType({}), "builtins.mappingproxy", ""),
    (timezone(timedelta(0)), "datetime.timezone", ""),
    (ZoneInfo("UTC"), "zoneinfo.ZoneInfo", ""),
    ([time(1, tzinfo=Zoneless())], "Zoneless", "[0]"),
    ((Context(Point()),), "kept_values.Point", "[0].storage"),
    ([Context({"a": (Pair(),)})], "kept_values.Pair", "[0].storage.values()[0][0]"),
]
