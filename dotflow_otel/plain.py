"""Values that pickle wherever they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})
_KINDS: Final[dict[type, Any]] = {str: str.__str__, int: int, float: float, bytes: bytes}

# Deeper, and after so many, a value is told by its text: it may have no end.
_DEPTH: Final = 8
_MOST: Final = 1000


def plain(value: Any, depth: int = _DEPTH) -> Any:
    """Give a value that is made of plain ones: itself where it is, else its text.

    Lists, tuples and dictionaries are gone into; other containers are told by their text.
    """
    if type(value) in _PLAIN:
        return value
    for kind, bare in _KINDS.items():
        if isinstance(value, kind):
            return bare(value)  # a member of an enumeration, say
    is_small = depth > 0 and isinstance(value, (list, tuple, Mapping)) and len(value) <= _MOST
    if not is_small:
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(key): plain(each, depth - 1) for key, each in value.items()}
    items = [plain(each, depth - 1) for each in value]
    return items if isinstance(value, list) else tuple(items)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - of an object of the user's
        return f"<{type(value).__qualname__} without a text>"


def printable(text: str) -> str:
    """Give a text that can be encoded: itself, or one in which what cannot is escaped.

    Names of files that are no UTF-8 have lone surrogates, for which backends refuse all
    that is sent along with them.
    """
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()
