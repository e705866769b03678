"""Fingerprints of inputs: the same in every process, or an error that asks for one."""

from __future__ import annotations

import array
import json
import os
import subprocess
import sys
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from dotflow.core.context import Context
from dotflow.core.exception import UnstableInput
from dotflow.core.fingerprint import (
    FP_KEY_SUFFIX,
    fingerprint_of,
    fp_key,
    read_fingerprint,
    write_fingerprint,
)
from dotflow.providers.storage_default import StorageDefault


class Colour(Enum):
    """An enum."""

    RED = 1
    BLUE = 2


class Level(IntEnum):
    """An enum that JSON takes."""

    LOW = 1


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - what users have


@dataclass
class Order:
    """A dataclass of a user."""

    number: int
    tags: Any


class Described:
    """A class with a repr that tells all."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Described({self.text})"


class Holder:
    """A class whose repr shows a set."""

    def __init__(self, items: set[str]) -> None:
        self.items = items

    def __repr__(self) -> str:
        return f"Holder({self.items})"


class Broken:
    """A class whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError


class Numbered:
    """A class whose repr shows its address in a form of its own."""

    def __repr__(self) -> str:
        return f"<Numbered {id(self):x}>"


class Table:
    """Like a table of a data library: abbreviated, and no buffer."""

    def __array__(self) -> None: ...

    def __repr__(self) -> str:
        return "1 ... 9"


PLAIN = [
    [],
    [None, True, 1, 1.5, "x", "\ud800", float("inf")],
    [{"b": [1, (2, 3)], "a": {"c": None}}, None],
    [{2: "b", 1: "a"}, Pair(1, 2), Level.LOW, OrderedDict(z=1, a=2)],
    {"a": 1},
    "text",
]


@pytest.mark.parametrize("values", PLAIN)
def test_plain_json_is_hashed_as_it_is(values: Any) -> None:
    """What JSON takes has the SHA-256 of its key-sorted text, and nothing else."""
    expected = sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    assert fingerprint_of(values) == expected
    assert len(expected) == 64


def test_repr_stands_for_what_json_refuses() -> None:
    """An object with a repr of its own counts as that text."""
    assert fingerprint_of([Described("a")]) == fingerprint_of(["Described(a)"])
    assert fingerprint_of([1j]) == fingerprint_of(["1j"])


STABLE = """[
    {"b", "a", "c", ("x", 1), None}, frozenset("xyz"), {"k": {"p", "q"}},
    b"x", bytearray(b"y"), datetime(2024, 1, 2, 3, 4, 5, 6, timezone.utc), date(2024, 1, 2),
    time(1, 2), timedelta(1, 2, 3), Decimal("1.50"), UUID(int=5), Path("a") / "b", 2 + 1j,
    Order(1, {"x", "y"}), Colour.RED, {1: 2, "1": 3, None: 4, (1, 2): {"a", "b"}, b"k": 5},
    deque([1, {"z", "w"}]), SimpleNamespace(s={"m", "n"}), MappingProxyType({"s": {"m", "n"}}),
    Context(storage={"g", "h"}, task_id="t"), {"$type": {"a", "b"}}, array.array("i", [1, 2]),
    10 ** 700, Described("d"), len, Order, range(3),
]"""

STABLE_PROGRAM = f"""
import array, sys
from collections import deque
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from uuid import UUID
from dotflow.core.context import Context
from dotflow.core.fingerprint import fingerprint_of
Order = dataclass(type("Order", (), {{"__annotations__": {{"number": int, "tags": object}}}}))
Colour = Enum("Colour", "RED BLUE")
class Described:
    def __init__(self, text): self.text = text
    def __repr__(self): return f"Described({{self.text}})"
print(fingerprint_of({STABLE}))
"""


def test_same_in_every_process() -> None:
    """Processes with different hash seeds agree, though sets come in different orders."""
    found = set()
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, "-c", STABLE_PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


DIFFERENT = [
    (b"a", b"b"),
    (b"a", bytearray(b"a")),
    ({1, 2}, {1, 3}),
    ({1, 2}, [1, 2, b""]),
    (Decimal("1.5"), Decimal("1.50")),
    (Path("a"), Path("b")),
    (date(2024, 1, 1), date(2024, 1, 2)),
    (time(1), time(1, fold=1)),
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1)),
    (timedelta(1), timedelta(2)),
    (UUID(int=1), UUID(int=2)),
    (Colour.RED, Colour.BLUE),
    (Order(1, None), Order(2, None)),
    ({1: "a", "b": 1}, {1: "a", "b": 2}),
    ({(1, 2): 1}, {(1, 3): 1}),
    (deque([1]), deque([2])),
    (array.array("i", range(5000)), array.array("i", [*range(4999), 0])),
    (Context(storage=1), Context(storage=2)),
    (10**700, 10**700 + 1),
    (Described("a"), Described("b")),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_differ(one: Any, other: Any) -> None:
    """A change that matters changes the fingerprint."""
    assert fingerprint_of([one]) != fingerprint_of([other])


def test_order_of_a_dict_is_no_difference() -> None:
    """Dicts of mixed keys are sorted as sets are."""
    one, other = {1: b"a", "b": 2, None: 3}, {None: 3, "b": 2, 1: b"a"}
    assert fingerprint_of([one]) == fingerprint_of([other])


def test_time_of_a_context_is_no_difference() -> None:
    """When a context was made is not part of what it holds."""
    one, other = Context(storage=b"a"), Context(storage=b"a")
    other.time = datetime(2000, 1, 1)
    assert fingerprint_of([one]) == fingerprint_of([other])


def test_shared_value_is_no_cycle() -> None:
    """The same list twice side by side is fine."""
    shared = [b"x"]
    assert fingerprint_of([shared, shared]) == fingerprint_of([[b"x"], [b"x"]])


UNSTABLE = [
    object(),
    lambda: None,
    Broken(),
    Numbered(),
    Holder({"a", "b"}),
    Table(),
    [SimpleNamespace(inner=object())],
    memoryview(b"x").__iter__(),
]


@pytest.mark.parametrize("value", UNSTABLE, ids=lambda value: type(value).__name__)
def test_no_stable_form_asks_for_a_fingerprint(value: Any) -> None:
    """An object known only by its address, or whose repr may vary, is an error that helps."""
    with pytest.raises(UnstableInput, match=r"fingerprint="):
        fingerprint_of([value])


def test_array_of_objects_is_refused() -> None:
    """A buffer of addresses says nothing of the objects."""
    import ctypes

    with pytest.raises(UnstableInput, match="py_object_Array_1"):
        fingerprint_of([(ctypes.py_object * 1)()])


def test_one_item_in_a_set_has_one_order() -> None:
    """A repr that shows a set of one item is stable."""
    assert fingerprint_of([Holder({"a"})]) == fingerprint_of(["Holder({'a'})"])


def test_value_that_contains_itself() -> None:
    """Lists, dicts and objects that contain themselves are refused, not followed for ever."""
    items: list[Any] = [b"x"]
    items.append(items)
    table: dict[Any, Any] = {}
    table["self"] = table
    order = Order(1, None)
    order.tags = [order]
    for value in (items, table, order):
        with pytest.raises(UnstableInput):
            fingerprint_of([value])


def test_too_deep() -> None:
    """Nesting beyond Python's own limit is an error of ours."""
    value: Any = b"x"
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnstableInput):
        fingerprint_of(value)


def test_key_ends_with_the_suffix() -> None:
    """The key is workflow id, dash, `_input_fp`."""
    assert fp_key("etl") == "etl-_input_fp"
    assert fp_key("etl").endswith(FP_KEY_SUFFIX)


def test_written_is_read() -> None:
    """A fingerprint is stored as text, and the last one counts."""
    storage = StorageDefault()
    assert read_fingerprint(storage, "etl") is None
    write_fingerprint(storage, "etl", "a")
    write_fingerprint(storage, "etl", "b")
    assert read_fingerprint(storage, "etl") == "b"
    assert storage.get("etl-_input_fp").storage == "b"


def test_other_than_text_is_none() -> None:
    """What is no text is no fingerprint."""
    storage = StorageDefault()
    storage.post(fp_key("etl"), Context(storage=["a"]))
    assert read_fingerprint(storage, "etl") is None


def test_import_is_light() -> None:
    """What every run imports brings in neither JSON nor the forms that few inputs need."""
    program = (
        "import sys, dotflow.core.fingerprint, dotflow.providers.storage_default\n"
        "print([name for name in ('json', 'decimal', 'dataclasses', 'dotflow.core.stable_form')"
        " if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
