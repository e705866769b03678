"""Tells whether code runs in an export, whose own log records must not be exported."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# A variable of our own: the SDK marks its exports under a key that has no public name.
_exports: Final[ContextVar[bool]] = ContextVar("dotflow_exports", default=False)


@contextmanager
def exporting() -> Iterator[None]:
    """Mark what is done inside as an export."""
    token = _exports.set(True)
    try:
        yield
    finally:
        _exports.reset(token)


def is_exporting() -> bool:
    """Tell whether this code runs in an export."""
    return _exports.get()
