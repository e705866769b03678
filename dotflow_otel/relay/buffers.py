"""Buffers of what attempts record in one process, whoever runs there at the same time.

A worker of ours runs one attempt at a time, for one application. A worker of others runs
several in threads, of several runs, and of several applications. So each attempt has a buffer of
its own, which its outcome takes along. What comes later than that waits for the next outcome of
the same application, and never meets another's.
"""

from __future__ import annotations

import pickle
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from dotflow.core.process import fork_safe_lock
from dotflow.workers.performing import running_attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import RLock

    from dotflow_otel._process import Process
    from dotflow_otel.spans.record import SpanRecord


_Item = TypeVar("_Item")

# A step that logs or opens spans without end must not fill the memory, nor keep the run busy
# with reading what comes back. A log record counts as about 5 kB: a burst of 10,000 fits.
MOST: Final = 100_000
MOST_BYTES: Final = 1 << 26

# What an item takes besides its texts, about.
_FRAME: Final = 64


class Drained(NamedTuple, Generic[_Item]):
    """What came since the last time.

    Attributes:
        items: In order.
        dropped: How many there was no room for.
    """

    items: tuple[_Item, ...]
    dropped: int


_NOTHING: Final[Drained[Any]] = Drained((), 0)


class BoundedBuffer(Generic[_Item]):
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

    def take(self) -> Drained[_Item]:
        """Return what came, and forget it."""
        if not (self._items or self._dropped):
            return _NOTHING
        with self._lock:
            items, dropped = self._items, self._dropped
            self._begin()
        return Drained(tuple(items), dropped)

    def take_some(self, most: int) -> Drained[_Item]:
        """Return the first items that came, at most so many, and forget these."""
        with self._lock:
            items, self._items = self._items[:most], self._items[most:]
            dropped, self._dropped = self._dropped, 0
        size = sum(map(size_of, items))
        with self._lock:
            self._bytes -= size
        return Drained(tuple(items), dropped)


def size_of(value: Any) -> int:
    """Return about how many bytes a plain value takes."""
    if isinstance(value, (str, bytes)):
        return _FRAME + len(value)
    if isinstance(value, dict):
        return _FRAME + sum(size_of(key) + size_of(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return _FRAME + sum(map(size_of, value))
    return _FRAME


# Applications whose runs have ended will never ask for what is late.
_OWNERS: Final = 64

# How many items are fetched at a time while an attempt goes on.
_SOME: Final = 1000


class AttemptBuffer(Generic[_Item]):
    """What one attempt records. Only `BufferRegistry` puts something in.

    Args:
        owner: Tells the process that owns the run.
        run: Tells the run from others of that process.

    Attributes:
        is_open: Whether the attempt's outcome has yet to take it.
        kept: What is in it, if anything.
        on_put: Called with how much is in it whenever that grows; None: nobody asks.
    """

    __slots__ = ("is_open", "kept", "on_put", "owner", "run")

    def __init__(
        self, owner: Process, run: int, on_put: Callable[[int], object] | None = None
    ) -> None:
        self.owner = owner
        self.run = run
        self.on_put = on_put
        self.is_open = True
        self.kept: BoundedBuffer[_Item] | None = None


class Orphan(NamedTuple, Generic[_Item]):
    """What came after its attempt, or from nobody knows which one.

    Attributes:
        run: The run that it belongs to; None: any of its application.
        item: It.
    """

    run: int | None
    item: _Item


class BufferRegistry(Generic[_Item]):
    """All buffers of a process.

    Args:
        most: How many items each has room for.
        most_bytes: How large they may be together, about.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._room = most, most_bytes
        self._open: set[AttemptBuffer[_Item]] = set()
        self._orphans: dict[Process, BoundedBuffer[Orphan[_Item]]] = {}
        self._first_owner: Process | None = None
        self._is_shared = False
        # One that its owner can take again: a finalizer that logs may run in between.
        self._lock = fork_safe_lock()

    @property
    def lock(self) -> RLock:
        """Held while something is put or taken; for what must happen together with that."""
        return self._lock

    def open(self, buffer: AttemptBuffer[_Item]) -> None:
        """Begin with a buffer: its attempt starts."""
        self._open.add(buffer)
        if buffer.owner != self._first_owner:
            self._register(buffer.owner)

    def _register(self, owner: Process) -> None:
        with self._lock:
            if self._first_owner is None:
                self._first_owner = owner
            self._is_shared = owner != self._first_owner or self._is_shared

    @property
    def all_open(self) -> Sequence[AttemptBuffer[_Item]]:
        """All buffers that are open."""
        # The copy is made in one step; a walk is not, while other attempts begin and end.
        return tuple(self._open.copy())

    @property
    def only(self) -> AttemptBuffer[_Item] | None:
        """The only open buffer, where all there ever were are of the same application."""
        buffers = () if self._is_shared else self.all_open
        return buffers[0] if len(buffers) == 1 else None

    @property
    def only_owner(self) -> Process | None:
        """The only application that has had attempts here."""
        return None if self._is_shared else self._first_owner

    def put(self, buffer: AttemptBuffer[_Item] | None, item: _Item) -> bool:
        """Keep an item.

        Args:
            buffer: That of its attempt; None where nothing tells which one that is.
            item: It.

        Returns:
            Whether it is kept or counted: what may be another application's is neither.
        """
        with self._lock:
            if buffer is None:
                if running_attempts() > len(self._open):
                    return False  # it may be of one that nobody observes
                buffer = self.only
            if buffer is not None and buffer.is_open:
                if buffer.kept is None:
                    buffer.kept = BoundedBuffer(*self._room)
                buffer.kept.put(item)
                if buffer.on_put is not None:
                    buffer.on_put(len(buffer.kept))
                return True
            owner = self.only_owner if buffer is None else buffer.owner
            if owner is None:
                return False
            self._put_orphan(owner, Orphan(None if buffer is None else buffer.run, item))
            return True

    def put_orphan(self, owner: Process, item: _Item) -> None:
        """Keep an item of an application for its next outcome."""
        with self._lock:
            self._put_orphan(owner, Orphan(None, item))

    def _put_orphan(self, owner: Process, orphan: Orphan[_Item]) -> None:
        kept = self._orphans.get(owner)
        if kept is None:
            while len(self._orphans) >= _OWNERS:
                del self._orphans[next(iter(self._orphans))]
            kept = self._orphans[owner] = BoundedBuffer(*self._room)
        kept.put(orphan)

    def take_some(self, buffer: AttemptBuffer[_Item]) -> Drained[_Item] | None:
        """Return some of what is in an open buffer, if anything is."""
        kept = buffer.kept
        if kept is None:
            return None
        some = kept.take_some(_SOME)
        return some if some.items or some.dropped else None

    def close(
        self, buffer: AttemptBuffer[_Item]
    ) -> tuple[Drained[_Item], Drained[Orphan[_Item]]] | None:
        """Close a buffer; return what is in it and the orphans of its application, once.

        What is put into it from then on is an orphan.
        """
        with self._lock:
            buffer.is_open = False
            self._open.discard(buffer)
            kept, buffer.kept = buffer.kept, None
            orphans = self._orphans.pop(buffer.owner, None) if self._orphans else None
        return None if kept is orphans is None else (_all_of(kept), _all_of(orphans))


def _all_of(bounded: BoundedBuffer[_Item] | None) -> Drained[_Item]:
    return Drained((), 0) if bounded is None else bounded.take()


# Two moments in nanoseconds since the epoch.
_TIMES: Final = Struct("=qq")


class Returned(NamedTuple):
    """What returns with an outcome.

    Attributes:
        times: When the attempt's span began and ended, where the step added nothing to it.
        own: The attempt's span, where it did.
        below: The spans that the step opened and those of its methods.
        dropped: How many more there were than the worker had room for.
        others: Orphan spans of other runs of the same process, each with its run.
        is_theirs: Whether the attempt's span went to a provider that the worker's owner has set.
        begun: Spans that have begun and not ended, of an attempt that goes on; the end of its own
            is 0 then.
    """

    times: tuple[int, int] | None
    own: SpanRecord | None
    below: Sequence[SpanRecord]
    dropped: int
    others: Sequence[tuple[int, SpanRecord]] = ()
    is_theirs: bool = False
    begun: Sequence[SpanRecord] = ()

    def packed(self) -> bytes:
        """Return it as bytes, to be sent."""
        if self.times is not None and not (self.below or self.dropped or self.others or self.begun):
            return _TIMES.pack(*self.times)
        return pickle.dumps(tuple(self))

    @classmethod
    def unpacked(cls, sent: bytes) -> Returned:
        """Read what was sent."""
        if len(sent) == _TIMES.size:
            return cls(_TIMES.unpack(sent), None, (), 0)
        return cls(*pickle.loads(sent))  # noqa: S301 - from a worker, as the outcome itself
