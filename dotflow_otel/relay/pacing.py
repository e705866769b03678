"""Paces what comes from workers where it goes into a queue that is not ours.

What a step records in this process fills the queue of a batch processor as it goes. What a worker
has recorded comes in batches: after a callback that took seconds, or at the end of a step that
records faster than it is fetched, thousands of items at once. So the batch processors of the SDK
that an application has set up get relayed items as they have room for them: the rest is kept beside
the queue, and a thread, which there is only while something is kept, fills it up. A part of the
queue stays free for what is recorded in this process, the run's own spans and events above all.

Nobody waits for that: not the run, which goes on, nor its end. A flush or the end of the processor
delivers what is kept first. Other processors get each item at once, as they would get it of a step
in this process.
"""

from __future__ import annotations

import logging
import sys
from _thread import allocate_lock, start_new_thread
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.process import call_in_forked_child
from dotflow.core.timing import monotonic
from dotflow_otel._process import LOGS, TRACES, drop_counter
from dotflow_otel.relay.intake import Intake, is_relaying

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

_logger: Final = logging.getLogger("dotflow_otel")

# So many places of a queue stay free of relayed items, but no more than a quarter of it.
_FREE: Final = 256

# How often a queue is filled up, in seconds.
_PAUSE: Final = 0.05

# How long the end of a processor may take to deliver what is kept, in seconds, as long as a slow
# collector takes some of it; and how long it waits for one that takes nothing.
_AT_THE_END: Final = 10.0
SILENCE: Final = 5.0

# After so many looks at a queue that stays full it is flushed: it may have room for no batch, and
# so be exported when the delay is over.
FULL: Final = 20

# How deep a batch processor may be inside of what wraps it.
_DEPTH: Final = 3

_OURS: Final = "dotflow_otel"


def pace_spans(tracer: object) -> None:
    """Pace relayed spans where a tracer of the SDK hands them to batch processors."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - with the SDK

    _pace(getattr(tracer, "span_processor", None), BatchSpanProcessor, ("on_end",), TRACES)


def pace_logs() -> None:
    """Pace relayed log records where the application hands them to batch processors."""
    # Where nobody has imported them, nobody has set any up.
    api, sdk = sys.modules.get("opentelemetry._logs"), sys.modules.get("opentelemetry.sdk._logs")
    export = sys.modules.get("opentelemetry.sdk._logs.export")
    kind = getattr(export, "BatchLogRecordProcessor", None)
    if api is None or sdk is None or kind is None:
        return
    loggers = [logging.root, *logging.root.manager.loggerDict.copy().values()]
    handlers = [each for logger in loggers for each in getattr(logger, "handlers", ())]
    providers = [getattr(handler, "_logger_provider", None) for handler in handlers]
    for each in {id(each): each for each in (api.get_logger_provider(), *providers)}.values():
        processor = getattr(each, "_multi_log_record_processor", None)
        _pace(processor, kind, ("on_emit", "emit"), LOGS)


def _pace(processor: Any, kind: type, entries: tuple[str, ...], signal: str) -> None:
    try:
        for each in _found(processor, kind, _DEPTH):
            _pace_one(each, entries, signal)
    except Exception:  # what wraps them may have fields of any kind
        _logger.debug("the batch processors of %s could not be found", signal, exc_info=True)


def _found(value: Any, kind: type, depth: int) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _found(each, kind, depth)
    elif isinstance(value, kind):
        yield value
    elif depth and hasattr(type(value), "force_flush") and _is_foreign(value):
        for each in list(getattr(value, "__dict__", {}).values()):
            yield from _found(each, kind, depth - 1)


def _is_foreign(value: object) -> bool:
    return type(value).__module__.partition(".")[0] != _OURS


def _pace_one(processor: Any, entries: tuple[str, ...], signal: str) -> None:
    queue, fields = _queue_of(processor), vars(processor)
    used = [name for name in entries if hasattr(processor, name)]
    is_paced = isinstance(getattr(fields.get(used[0]), "__self__", None), Paced)
    if queue is not None and not is_paced:
        paced = Paced(processor, used[0], queue, signal)
        fields.update(dict.fromkeys(used, paced.take))
        fields.update(force_flush=paced.force_flush, shutdown=paced.shutdown)


def _queue_of(processor: Any) -> deque[Any] | None:
    """Return the queue of a batch processor, which has no public name and had several others."""
    inner = getattr(processor, "_batch_processor", processor)
    for name in ("_queue", "queue"):
        found: deque[Any] | None = getattr(inner, name, None)
        if getattr(found, "maxlen", None):
            return found
    return None


class Paced:
    """Stands before a batch processor's methods, and gives it what is relayed as it has room.

    Args:
        processor: The processor.
        entry: The name of the method that takes an item.
        queue: The processor's queue, which is bounded.
        signal: `traces` or `logs`.
    """

    def __init__(self, processor: Any, entry: str, queue: deque[Any], signal: str) -> None:
        self._put: Callable[[Any], object] = getattr(processor, entry)
        self._flush: Callable[..., object] = processor.force_flush
        self._shut_down: Callable[..., object] = processor.shutdown
        self._room = _Room(queue, signal)
        self._intake = Intake(self._room, self._put)
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        # A forked child has none of its parent's threads.
        self._has_thread = False
        # One that a finalizer that logs can take again.
        self._lock = RLock()

    def take(self, item: Any) -> None:
        """Queue an item, or keep it beside the queue where it is relayed and there is no room."""
        kept, room = self._intake.keeps, self._room.has_place
        if (room and not kept) or not is_relaying() or not _is_exported(item):
            self._put(item)
            return
        self._intake.take(item, own=False)
        if self._intake.keeps and not self._has_thread:
            self._start_thread()

    def _start_thread(self) -> None:
        with self._lock:
            if self._has_thread:
                return
            self._has_thread = True
        try:
            start_new_thread(self._fill_up, ())
        except RuntimeError:  # there are no more: what is kept waits for the next item, or a flush
            self._has_thread = False

    def _fill_up(self) -> None:
        pause, looks, seen = _pauses(), 0, -1
        while True:
            pause(timeout=_PAUSE)
            self._intake.refill()
            looks, seen = (looks + 1 if self._room.left == seen else 0), self._room.left
            if looks >= FULL:
                looks = 0
                with suppress(Exception):
                    self._flush()
            with self._lock:
                if self._room.is_closed or not self._intake.keeps:
                    self._has_thread = False
                    return

    def force_flush(self, *args: Any, **kwargs: Any) -> Any:
        """Export what is queued or kept, as the processor's own method does."""
        if not self._intake.keeps:
            return self._flush(*args, **kwargs)
        timeout = next(iter((*args, *kwargs.values())), None)
        return self._intake.flush(self._flush, 30_000 if timeout is None else timeout)

    def shutdown(self, *args: Any, **kwargs: Any) -> Any:
        """Export what is queued or kept, and end."""
        self._wait_for_kept()
        self._room.close()
        return self._shut_down(*args, **kwargs)

    def _wait_for_kept(self) -> None:
        # A flush of the SDK's may take for ever: its thread exports what is queued, while it can.
        pause, seen = _pauses(), -1
        began = last = monotonic()
        while self._intake.keeps:
            self._intake.refill()
            now, left = monotonic(), self._room.left
            if left != seen:
                seen, last = left, now
            if now >= began + _AT_THE_END or now >= last + SILENCE:
                return
            pause(timeout=_PAUSE)


def _pauses() -> Callable[..., object]:
    # A lock that nobody releases: it waits by a clock that no program can set.
    never = allocate_lock()
    never.acquire()
    return never.acquire


def _is_exported(item: Any) -> bool:
    # Of spans the batch processor takes the sampled ones alone; log records have no such field.
    context = getattr(item, "context", None)
    flags = getattr(context, "trace_flags", None)
    return flags is None or bool(flags.sampled)


class _Room:
    """The room in a queue that somebody else fills and empties.

    Attributes:
        is_closed: Whether nothing more is queued.
    """

    def __init__(self, queue: deque[Any], signal: str) -> None:
        self._queue = queue
        self._most: Final = queue.maxlen or 0
        self._limit: Final = self._most - min(_FREE, self._most // 4)
        self._signal = signal
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        self._lock = RLock()
        self._kept = 0
        self.is_closed = False

    def admit(self, *, matters: bool = False, own: bool = False) -> bool:  # noqa: ARG002
        # What this process records goes the way that it always goes.
        return True

    def try_to_admit(self, *, matters: bool = False, own: bool = False) -> bool:  # noqa: ARG002
        return len(self._queue) < self._most

    @property
    def has_place(self) -> bool:
        """Whether a relayed item may be queued."""
        return len(self._queue) < self._limit

    def keep(self, most: int) -> bool:
        with self._lock:
            if self._kept < most and not self.is_closed:
                self._kept += 1
                return True
        drop_counter.add(self._signal, 1)
        return False

    def admit_kept(self) -> bool:
        with self._lock:
            if self._kept and self.has_place and not self.is_closed:
                self._kept -= 1
                return True
        return False

    def put_back(self) -> None:
        with self._lock:
            self._kept += 1

    @property
    def left(self) -> int:
        """How many items are queued or kept."""
        return self._kept + len(self._queue)

    def close(self) -> None:
        """Count what is kept as dropped: from now on nothing is delivered."""
        with self._lock:
            left, self._kept, self.is_closed = self._kept, 0, True
        drop_counter.add(self._signal, left)
