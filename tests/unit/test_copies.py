"""Copies of what an attempt is given."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from copy import deepcopy
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dotflow.core.context import Context, copy_of, is_immutable, own_context

if TYPE_CHECKING:
    from collections.abc import Callable


class Refusing:
    """A value that refuses to be copied, by an error of its own."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse."""
        raise OSError("not this one")


def _rows() -> Any:
    yield 1


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 1.5, 2j, "text", b"bytes", (), (1, "a", None), object()],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_are_not_copied(value: object) -> None:
    """What nobody can change is the object itself."""
    assert is_immutable(value)
    assert copy_of(value) is value


@pytest.mark.parametrize(
    "value",
    [[1, [2]], {"a": {"b": [1]}}, {1, 2}, (1, [2]), bytearray(b"a"), date(2026, 1, 2)],
    ids=repr,
)
def test_other_values_are_copied(value: object) -> None:
    """A copy is equal, of the same type, and another object."""
    copied = copy_of(value)
    assert copied == value
    assert type(copied) is type(value)
    assert copied is not value


def test_a_copy_is_deep_and_keeps_what_is_one() -> None:
    """Nothing in the copy is of the original; what was one object there is one here."""
    shared = [1]
    value = {"a": shared, "b": [shared]}
    value["self"] = value
    copied = copy_of(value)
    assert copied["a"] is copied["b"][0] is not shared
    assert copied["self"] is copied


def test_what_does_not_pickle_is_copied_all_the_same() -> None:
    """Instances of local classes and what holds a lambda are copied; functions are not."""

    class Local:
        def __init__(self) -> None:
            self.rows = [1]

    made = defaultdict(lambda: 0, a=[1])
    value = {"object": Local(), "counts": made}
    copied = copy_of(value)
    assert type(copied["object"]) is Local
    assert copied["object"].rows == [1]
    assert copied["object"].rows is not value["object"].rows
    assert copied["counts"] == made
    assert copied["counts"]["a"] is not made["a"]
    assert copied["counts"].default_factory is made.default_factory


@pytest.mark.parametrize(
    "make",
    [threading.Lock, _rows, lambda: sqlite3.connect(":memory:"), Refusing, lambda: threading],
    ids=["lock", "generator", "connection", "refusing", "module"],
)
def test_what_cannot_be_copied_is_handed_on(make: Callable[[], Any]) -> None:
    """It is the object itself, also among what is copied."""
    value = make()
    assert copy_of(value) is value
    rows = [1, 2]
    holding = {"value": value, "rows": rows, "more": (rows, [value]), value: {"again": value}}
    copied = copy_of(holding)
    assert copied["value"] is copied["more"][1][0] is copied[value]["again"] is value
    assert copied["rows"] == [1, 2]
    assert copied["rows"] is copied["more"][0] is not rows
    if isinstance(value, sqlite3.Connection):
        value.close()


def test_an_object_is_copied_whole_or_not_at_all() -> None:
    """An instance that holds what cannot be copied is itself handed on: a pool, say."""

    class Pool:
        def __init__(self) -> None:
            self.lock, self.free = threading.Lock(), [1]

    pool = Pool()
    copied = copy_of([pool, [1]])
    assert copied[0] is pool
    assert copied[1] == [1]


class Named(NamedTuple):
    """A record, as a tuple."""

    lock: Any
    rows: list[int]


@dataclasses.dataclass
class Record:
    """A record."""

    lock: Any
    rows: list[int]


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    """A record without a dictionary."""

    lock: Any
    rows: list[int]


class Model:
    """A record, as a library makes one."""

    __pydantic_fields__ = ("lock", "rows")

    def __init__(self, lock: Any, rows: list[int]) -> None:
        self.lock, self.rows = lock, rows

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return Model(**deepcopy(vars(self), memo))


RECORDS = [Named, Record, Slotted, Model, SimpleNamespace]


@pytest.mark.parametrize("kind", RECORDS)
def test_records_are_copied_around_what_cannot_be(kind: Any) -> None:
    """What says of itself that it is a record is copied as a container is."""
    lock = threading.Lock()
    value = [kind(lock=lock, rows=[1])]
    [copied] = copy_of(value)
    assert type(copied) is kind
    assert copied is not value[0]
    assert copied.lock is lock
    assert copied.rows == [1]
    assert copied.rows is not value[0].rows


@pytest.mark.parametrize(
    "make",
    [list, deque, OrderedDict, Counter, lambda each: defaultdict(lambda: 0, each)],
    ids=["list", "deque", "OrderedDict", "Counter", "defaultdict"],
)
def test_containers_are_copied_around_what_cannot_be(make: Any) -> None:
    """Those of the standard library are containers as lists are."""
    lock, inner = threading.Lock(), bytearray(b"a")
    value = {"in": make({lock: 1}), "inner": inner}
    copied = copy_of(value)
    assert type(copied["in"]) is type(value["in"])
    assert next(iter(copied["in"])) is lock
    assert copied["in"] is not value["in"]
    assert copied["inner"] == inner
    assert copied["inner"] is not inner


class OwnWay:
    """Copies itself with what it does not pickle."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnWay:
        return OwnWay(deepcopy(self.rows, memo))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def test_a_class_that_tells_how_it_is_copied() -> None:
    """It is copied that way, beside what it shares with others too."""
    rows = [1]
    value = {"own": OwnWay(rows), "rows": rows}
    copied = copy_of(value)
    assert copied["own"].rows == [1]
    assert copied["own"].rows is copied["rows"] is not rows


def test_classes_functions_and_generators_of_numbers_are_themselves() -> None:
    """Those of functions too, which pickling does not find."""

    class Own(random.Random):
        pass

    class Local:
        pass

    plain = random.Random(1)  # noqa: S311 - to be told from others
    value = [plain, Own(1), Local, lambda: 0, threading, [1]]
    copied = copy_of(value)
    same = [each is other for each, other in zip(copied, value, strict=True)]
    assert same == [True, True, True, True, True, False]


def test_a_metaclass_with_ideas_of_its_own() -> None:
    """What its class is equal to is not asked."""

    class Meta(type):
        def __hash__(cls) -> int:
            raise OSError("not this one")

    class Odd(metaclass=Meta):
        pass

    value = Odd()
    assert copy_of(value) is value
    assert own_context(Context(value)).storage is value


def test_too_deep_a_value_is_handed_on() -> None:
    """A value that is nested deeper than Python can follow is the object itself."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert copy_of(value) is value
    while value:  # not all at once
        value = value.pop()


def test_what_exits_is_handed_on() -> None:
    """A value that ends the program when it is copied, as a module may, is not copied."""

    class Exiting:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise SystemExit(1)

    value = [Exiting(), [1]]
    copied = copy_of(value)
    assert copied[0] is value[0]
    assert copied[1] is not value[1]


def test_an_object_that_interrupts() -> None:
    """An interrupt of the object's own is a refusal to be copied, as any error is."""

    class Interrupting:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise KeyboardInterrupt

    value = Interrupting()
    copied = copy_of([value, [1]])
    assert copied == [value, [1]]


def test_own_context() -> None:
    """A context's copy tells the same of it; what is set there is not set in the first."""
    assert own_context(None) is None
    context = Context([1], "task")
    own = own_context(context)
    assert own is not None
    assert (own.storage, own.task_id, own.time) == ([1], "task", context.time)
    own.storage.append(2)
    own.storage = None
    assert context.storage == [1]
    plain = own_context(Context("text"))
    assert plain is not None
    assert plain.storage == "text"


def test_the_contexts_of_a_class_step_are_copied() -> None:
    """Its result is a list of contexts: their values are copied, as far as they can be."""
    lock = threading.Lock()
    value = [Context([1], "first"), Context({"lock": lock, "rows": [2]}, "second")]
    first, second = copy_of(value)
    assert (first.storage, first.task_id) == ([1], "first")
    assert (second.storage, second.task_id) == ({"lock": lock, "rows": [2]}, "second")
    assert first.storage is not value[0].storage
    assert second.storage["rows"] is not value[1].storage["rows"]


def test_own_context_of_another_class() -> None:
    """A storage's own kind of context stays of that kind."""
    context = Special([1])
    own = own_context(context)
    assert type(own) is Special
    assert own is not context
    assert own.storage == [1]
    assert own.storage is not context.storage


class Special(Context):
    """A context of a storage's own kind."""
