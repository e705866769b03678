"""Makes a thing once in a process, also where several threads want it first."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Thing = TypeVar("_Thing")

# One for all, that its owner can take again: what makes one thing may want another.
_lock: Final = RLock()


class Once(Generic[_Thing]):
    """Gives the same thing to everybody, where `functools.cache` makes one for each of the first.

    Args:
        make: Makes it, when it is first wanted.
    """

    def __init__(self, make: Callable[[], _Thing]) -> None:
        self._make = make
        self._made: _Thing | None = None

    def __call__(self) -> _Thing:
        """Give it."""
        if self._made is None:
            with _lock:
                if self._made is None:
                    self._made = self._make()
        return self._made
