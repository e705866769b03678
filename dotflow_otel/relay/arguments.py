"""What a log record was given, on its way from a worker: as it was, where it can travel."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.user_objects import guarded, whole_repr_of
from dotflow.workers.pickling import load_or_none
from dotflow_otel.plain import to_plain as plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Deeper, and after so many, a container is pickled as a whole, or told by its text.
_DEPTH: Final = 8
_MOST: Final = 1000

# Larger ones, a table of data say, are told by their text, in bytes.
_LARGEST: Final = 1 << 16

_SIMPLE: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_CONTAINERS: Final = frozenset({list, tuple, dict})


class Odd(NamedTuple):
    """An object that is not made of plain values.

    Attributes:
        data: It, pickled; None where it cannot travel, or is large.
        text: Its text.
        shown: Its representation, where it cannot travel.
    """

    data: bytes | None
    text: str
    shown: str

    @classmethod
    def of(cls, value: object) -> Odd:
        """Make one of an object."""
        data, text = _pickled(value), str(plain(value, 0))
        return cls(data, text, text if data is not None else whole_repr_of(value))

    def restored(self, stand_in: Callable[[str, str], Any]) -> Any:
        """Return the object; where it cannot be had here, what is made of its two texts."""
        found = load_or_none(self.data)
        return stand_in(self.text, self.shown) if found is None else found


class Shown:
    """Stands for an object that cannot travel: it formats as that did.

    Args:
        text: The object's text.
        shown: Its representation.
    """

    __slots__ = ("_shown", "_text")

    def __init__(self, text: str, shown: str) -> None:
        self._text = text
        self._shown = shown

    @staticmethod
    def text_of(text: str, _shown: str) -> str:
        """Return the text alone: for those who are not to format it."""
        return text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._shown


def packed(value: Any, depth: int = _DEPTH) -> Any:
    """Return a copy that travels: containers are gone into, what is not plain is `Odd`."""
    kind = type(value)
    if type(kind) is not type:  # a metaclass may have any idea of being in a set
        return Odd.of(value)
    if kind in _SIMPLE:
        return value
    if kind in _CONTAINERS and depth > 0 and len(value) <= _MOST:
        if kind is dict:
            return {packed(key, 1): packed(each, depth - 1) for key, each in value.items()}
        return kind(packed(each, depth - 1) for each in value)
    return Odd.of(value)


def is_simple(value: object) -> bool:
    """Return whether a value travels as it is."""
    kind = type(value)
    return type(kind) is type and kind in _SIMPLE


def unpacked(value: Any, stand_in: Callable[[str, str], Any] = Shown) -> Any:
    """Return what `packed` was given.

    Args:
        value: What that returned.
        stand_in: Makes what stands for an object that cannot be had here of its two texts.
    """
    kind = type(value)
    if kind is Odd:
        return value.restored(stand_in)
    if kind is dict:
        return {key: unpacked(each, stand_in) for key, each in _with_keys(value)}
    if kind in _CONTAINERS:
        return kind(unpacked(each, stand_in) for each in value)
    return value


def _with_keys(packed_dict: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return ((unpacked(key), each) for key, each in packed_dict.items())


class _TooLarge(Exception):
    """What is pickled is too large to travel with a log record."""


class _Bounded:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._left = _LARGEST

    def write(self, piece: Any) -> int:
        data = memoryview(piece)
        self._left -= data.nbytes
        if self._left < 0:
            raise _TooLarge
        self.pieces.append(bytes(data))
        return data.nbytes


def _pickled(value: object) -> bytes | None:
    file = _Bounded()
    _, error = guarded(lambda: pickle.Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value))
    return None if error is not None else b"".join(file.pieces)
