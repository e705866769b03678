"""Texts that whoever gets them can take: strict JSON, encodable characters, a bounded length."""

from __future__ import annotations

from functools import cache
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.user_objects import guarded, name_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

# Deeper values are told by their text: they may have no end.
_DEPTH: Final = 50

# As the encoder writes them where they are keys.
_CONSTANTS: Final = {None: "null", True: "true", False: "false"}


def strict_json(fields: Mapping[str, Any]) -> str:
    """Return an object as JSON text that every parser reads, whatever its values are.

    What JSON has no form for is told by its text: objects, keys that are none, what contains
    itself, `NaN`, `Infinity` and `-Infinity`; half of a character is escaped.
    """
    text, _ = guarded(lambda: _encode()(fields))
    # A surrogate is half of a character where it is not one of a pair, as in most texts it is.
    if text is None or "\\ud" in text:
        text = _encode()(to_json(fields))
    return text


@cache
def _encode() -> Callable[[object], str]:
    # Here, because `import dotflow` does without it; once, because making one takes long.
    from json import JSONEncoder  # noqa: PLC0415

    return JSONEncoder(default=text_of, allow_nan=False).encode


def is_json(value: object) -> bool:
    """Return whether the usual encoder makes strict JSON of a value."""
    text, _ = guarded(lambda: _strictly()(value))
    return text is not None and "\\ud" not in text


@cache
def _strictly() -> Callable[[object], str]:
    from json import JSONEncoder  # noqa: PLC0415 - as above

    return JSONEncoder(allow_nan=False).encode


def to_json(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """Return a value that is made of what JSON has a form for: see `strict_json`.

    Args:
        value: Anything.
        inside: The ids of what it is inside of.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return printable(str.__str__(value))
    if issubclass(kind, float):
        return _to_number(float.__float__(value))
    if issubclass(kind, int):
        # Of a very long one Python refuses to make decimal digits.
        number = int.__int__(value)
        return number if guarded(lambda: str(number))[0] is not None else hex(number)
    if issubclass(kind, (list, tuple, dict)):
        return _container_to_json(value, inside)
    return printable(text_of(value))


def _container_to_json(value: Any, inside: tuple[int, ...]) -> Any:
    if id(value) in inside:
        return "{...}" if issubclass(type(value), dict) else "[...]"
    items = None
    if len(inside) < _DEPTH:
        items, _ = guarded(lambda: _items_to_json(value, (*inside, id(value))))
    return f"<{name_of(type(value))}>" if items is None else items


def _to_number(value: float) -> float | str:
    if isfinite(value):
        return value
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _items_to_json(value: Any, inside: tuple[int, ...]) -> Any:
    if issubclass(type(value), dict):
        return {_to_key(key): to_json(each, inside) for key, each in value.items()}
    return [to_json(each, inside) for each in value]


def _to_key(key: Any) -> str:
    if key is None or type(key) is bool:
        return _CONSTANTS[key]
    return printable(text_of(key))


def printable(text: str) -> str:
    """Return a text that can be encoded: itself, or one in which what cannot is escaped.

    Names of files that are no UTF-8 have lone surrogates, for which backends refuse all
    that is sent along with them.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def write_text(stream: TextIO, text: str) -> None:
    """Write a text to a stream, and what its encoding lacks escaped."""
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        escaped = text.encode(error.encoding, "backslashreplace")
        stream.write(escaped.decode(error.encoding))
