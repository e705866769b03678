"""Values that pickle wherever they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_PLAIN: Final = (str, int, float, bool, bytes, type(None))
_KINDS: Final[dict[type, Any]] = {str: str.__str__, int: int, float: float, bytes: bytes}


def plain(value: Any) -> Any:
    """Give a value that is made of plain ones: itself where it is, else its text."""
    if type(value) in _PLAIN:
        return value
    for kind, bare in _KINDS.items():
        if isinstance(value, kind):
            return bare(value)  # a member of an enumeration, say
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return tuple(plain(each) for each in value)
    return _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - of an object of the user's
        return f"<{type(value).__qualname__} without a text>"
