"""Things of which a process has one, made when they are first asked for."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Thing = TypeVar("_Thing")


def once(make: Callable[[], _Thing]) -> Callable[[], _Thing]:
    """Return to all callers the same thing, also those who ask first at the same time.

    `functools.cache` gives each of these one of its own. No lock is held, so that nobody
    waits and a forked child finds none taken: two may be made, and one of them is let go.

    Args:
        make: Makes it, with no other effect.
    """
    made: dict[None, _Thing] = {}

    @wraps(make)
    def give() -> _Thing:
        # To set a default is one step.
        return made[None] if made else made.setdefault(None, make())

    return give
