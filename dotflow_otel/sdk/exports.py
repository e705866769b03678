"""What is known of an export while it goes on: that it does, and what the backend rejects."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# A variable of our own: the SDK marks its exports under a key that has no public name.
_export: Final[ContextVar[Export | None]] = ContextVar("dotflow_export", default=None)


class Export:
    """One export.

    Attributes:
        rejected: How many of its items the backend says that it does not take.
    """

    rejected = 0


@contextmanager
def exporting() -> Iterator[Export]:
    """Mark what is done inside as an export, and return it."""
    export = Export()
    token = _export.set(export)
    try:
        yield export
    finally:
        _export.reset(token)


def note_rejected(count: int) -> None:
    """Note that the backend rejects so many items of the export that this code runs in."""
    export = _export.get()
    if export is not None:
        export.rejected = count


def is_exporting() -> bool:
    """Return whether this code runs in an export."""
    return _export.get() is not None
