"""The locks that a module or an object has, whatever they are called."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS: Final = (type(threading.RLock()), threading.Condition)


def locks_of(holder: Any) -> list[Any]:
    """Return the locks that a module or an object has itself; plain ones do not count."""
    return [each for each in vars(holder).values() if isinstance(each, _KINDS)]


@contextmanager
def holding(holder: Any) -> Iterator[None]:
    """Hold all of them."""
    locks = locks_of(holder)
    assert locks
    with ExitStack() as stack:
        for each in locks:
            stack.enter_context(each)
        yield
