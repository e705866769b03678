"""What waits in a worker for the next outcome: so much, and no more."""

from __future__ import annotations

from typing import Any, Final, Generic, NamedTuple, TypeVar

from dotflow.core.process import fork_safe_lock

_Item = TypeVar("_Item")

# A step that logs or opens spans without end must not fill the memory, nor keep the run busy
# with reading what comes back. A log record counts as about 5 kB: a burst of 10,000 fits.
MOST: Final = 100_000
MOST_BYTES: Final = 1 << 26

# What an item takes besides its texts, about.
_FRAME: Final = 64


class Taken(NamedTuple, Generic[_Item]):
    """What came since the last time.

    Attributes:
        items: In order.
        dropped: How many there was no room for.
    """

    items: tuple[_Item, ...]
    dropped: int


_NOTHING: Final[Taken[Any]] = Taken((), 0)


class Backlog(Generic[_Item]):
    """Keeps items until they are taken, and counts those that there is no room for.

    Args:
        most: How many it has room for.
        most_bytes: How large they may be together, about.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        # One that its owner can take again: a finalizer that logs may run in between.
        self._lock = fork_safe_lock()
        self._begin()

    def _begin(self) -> None:
        self._items: list[_Item] = []
        self._bytes = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: _Item) -> None:
        """Keep an item, or count it."""
        size = size_of(item)
        with self._lock:
            if len(self._items) < self._most and self._bytes + size <= self._most_bytes:
                self._items.append(item)
                self._bytes += size
            else:
                self._dropped += 1

    def take(self) -> Taken[_Item]:
        """Return what came, and forget it."""
        if not (self._items or self._dropped):
            return _NOTHING
        with self._lock:
            items, dropped = self._items, self._dropped
            self._begin()
        return Taken(tuple(items), dropped)

    def take_some(self, most: int) -> Taken[_Item]:
        """Return the first items that came, at most so many, and forget these."""
        with self._lock:
            items, self._items = self._items[:most], self._items[most:]
            dropped, self._dropped = self._dropped, 0
        size = sum(map(size_of, items))
        with self._lock:
            self._bytes -= size
        return Taken(tuple(items), dropped)


def size_of(value: Any) -> int:
    """Return about how many bytes a plain value takes."""
    if isinstance(value, (str, bytes)):
        return _FRAME + len(value)
    if isinstance(value, dict):
        return _FRAME + sum(size_of(key) + size_of(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return _FRAME + sum(map(size_of, value))
    return _FRAME
