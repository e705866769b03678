"""Classes that travel by value are made again as what they had become."""

from __future__ import annotations

import enum
import functools
import gc
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NewType, ParamSpec, TypeVar, TypeVarTuple

import pytest

from dotflow.workers.pickling import dump_or_none, load_or_none

if TYPE_CHECKING:
    from collections.abc import Callable


def made_again(make: Callable[[], Any]) -> Any:
    """Return what `make` returns, read back when the original is gone."""
    data = dump_or_none(make(), by_name=False)
    assert data is not None
    gc.collect()  # what is still there would be taken in place of a new one
    return load_or_none(data)


def with_metaclass() -> Any:
    """Return an object of a class whose metaclass takes a keyword."""

    class Meta(type):
        def __new__(cls, name: str, bases: Any, own: Any, *, label: str) -> Meta:
            own["label"] = label
            return super().__new__(cls, name, bases, own)

        def __init__(cls, name: str, bases: Any, own: Any, *, label: str) -> None:
            super().__init__(name, bases, own)

    class Made(metaclass=Meta, label="metaclass"):
        pass

    return Made()


def with_hook() -> Any:
    """Return an object of a class below one whose hook takes a keyword."""

    class Base:
        def __init_subclass__(cls, *, label: str) -> None:
            cls.label = label  # type: ignore[attr-defined]

    class Made(Base, label="hook"):
        pass

    return Made()


def with_slots() -> Any:
    """Return an object of a class with slots."""

    class Made:
        __slots__ = ("label",)

        def __init__(self) -> None:
            self.label = "slots"

    return Made()


def with_abstract_base() -> Any:
    """Return an object below an abstract class, where another is registered."""

    class Base(ABC):
        @property
        @abstractmethod
        def label(self) -> str: ...

    class Made(Base):
        @property
        def label(self) -> str:
            return "abstract" if issubclass(int, Base) else "lost"

    Base.register(int)
    return Made()


def with_fields() -> Any:
    """Return a record."""

    @dataclass(frozen=True)
    class Made:
        label: str = "record"

    return Made()


def with_names() -> Any:
    """Return a named tuple."""

    class Made(NamedTuple):
        label: str = "names"

    return Made()


def with_cache() -> Any:
    """Return an object with a property that is kept."""

    class Made:
        @functools.cached_property
        def label(self) -> str:
            return "cached"

        @functools.lru_cache(4)  # noqa: B019 - that it travels is the point
        def kept(self) -> str:
            return self.label

    made = Made()
    assert made.kept() == "cached"
    return made


def with_members() -> Any:
    """Return a member of an enumeration whose members have more than a value."""

    class Made(enum.Enum):
        ONE = 1

        def __init__(self, number: int) -> None:
            self.label = f"member {number}"

    return Made.ONE


@pytest.mark.parametrize(
    ("make", "label"),
    [
        (with_metaclass, "metaclass"),
        (with_hook, "hook"),
        (with_slots, "slots"),
        (with_abstract_base, "abstract"),
        (with_fields, "record"),
        (with_names, "names"),
        (with_cache, "cached"),
        (with_members, "member 1"),
    ],
)
def test_made_again(make: Callable[[], Any], label: str) -> None:
    """An object comes back with a class that has all that the original had."""
    found = made_again(make)
    assert type(found).__name__ == "Made"
    assert found.label == label


@pytest.mark.parametrize(
    "value",
    [
        TypeVar("Item", bound=int, covariant=True),
        ParamSpec("Given"),
        TypeVarTuple("Shape"),
        NewType("Price", int),
    ],
    ids=["TypeVar", "ParamSpec", "TypeVarTuple", "NewType"],
)
def test_what_typing_makes(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the main module are made again, for there they are not found by name."""
    monkeypatch.setattr(value, "__module__", "__main__")
    found = load_or_none(dump_or_none(value, by_name=False))
    assert type(found) is type(value)
    assert found.__name__ == value.__name__
    for option in ("__bound__", "__covariant__", "__supertype__"):
        assert getattr(found, option, None) == getattr(value, option, None)
