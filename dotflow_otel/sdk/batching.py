"""How the items of a pipeline are batched and exported, and what becomes of each.

One is queued, on its way, delivered or dropped. An export's own log records are not exported.
"""

from __future__ import annotations

import logging
import logging.config
from functools import wraps
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.process import call_in_forked_child
from dotflow_otel._process import drop_counter
from dotflow_otel.logs import events
from dotflow_otel.sdk.exports import is_exporting
from dotflow_otel.sdk.variables import setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow_otel._process import DropCounter


_logger: Final = logging.getLogger("dotflow_otel")


class Batching(NamedTuple):
    """The settings of a batch processor.

    Attributes:
        queue: How many items may be queued.
        batch: How many are exported at once, at most.
        delay: How long items wait to be exported, in milliseconds.
        timeout: How long an export may take, in milliseconds.
    """

    queue: int
    batch: int
    delay: int
    timeout: int

    @classmethod
    def of(cls, prefix: str, delay: int) -> Batching:
        """Read the variables of a processor.

        Args:
            prefix: `OTEL_BSP` (spans) or `OTEL_BLRP` (log records).
            delay: The default of the delay, in milliseconds.
        """
        queue = setting(f"{prefix}_MAX_QUEUE_SIZE", 2048)
        batch = setting(f"{prefix}_MAX_EXPORT_BATCH_SIZE", min(512, queue))
        if batch > queue:
            _logger.warning(
                "%s_MAX_EXPORT_BATCH_SIZE=%d is more than fits in the queue of %d: that counts",
                prefix,
                batch,
                queue,
            )
            batch = queue
        return cls(
            queue,
            batch,
            setting(f"{prefix}_SCHEDULE_DELAY", delay),
            setting(f"{prefix}_EXPORT_TIMEOUT", 30_000),
        )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the SDK's batch processors, with room for the reserves."""
        return {
            "max_queue_size": self.queue + OWN + RESERVE,
            "schedule_delay_millis": self.delay,
            "max_export_batch_size": self.batch,
            "export_timeout_millis": self.timeout,
        }


# So many items that matter more than others fit in where the queue is full.
RESERVE: Final = 64

# So many items of this project's own fit in where others have filled the queue.
OWN: Final = 256


class Account:
    """Follows the items of a batch processor from its queue to the exporter's answer.

    The SDK reports none of this. The queue is bounded here, so that every item that does not
    fit in is seen: the processor's own is never full.

    Args:
        signal: `traces`, `logs` or `metrics`.
        limit: How many items may be queued; metrics are not queued.
        drops: Where the dropped ones are counted.
    """

    def __init__(self, signal: str, limit: int = 0, drops: DropCounter = drop_counter) -> None:
        self._signal = signal
        self._limit = limit
        self._drops = drops
        self._begin()
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        # Again in a forked child: what is queued there, its parent delivers.
        # One that a signal handler or a finalizer that logs can take again.
        self._lock = RLock()
        self._queued = 0
        # Of the queued ones those of this project's own, and those that wait beside the queue.
        self._own = 0
        self._kept = 0
        self._on_their_way = 0
        self._closed = False
        self._abandoned = False

    def admit(self, *, matters: bool = False, own: bool = False) -> bool:
        """Queue one item; where there is no room for it, or no more, count it as dropped.

        Args:
            matters: Whether it may take the room that is kept for such.
            own: Whether it is of this project's own: as many as these fit in anyway.
        """
        admitted = self.try_to_admit(matters=matters, own=own)
        if not admitted:
            self._drops.add(self._signal, 1)
        return admitted

    def try_to_admit(self, *, matters: bool = False, own: bool = False) -> bool:
        """Queue one item where there is room for it: see `admit`."""
        with self._lock:
            room = self._limit + (RESERVE if matters else 0) - self._queued
            fits = room > 0 or (own and self._own < min(OWN, self._limit))
            if fits and not self._closed:
                self._queued += 1
                self._own += own
                return True
        return False

    def keep(self, most: int) -> bool:
        """Keep one item beside the queue, if fewer than so many are; else count it as dropped."""
        with self._lock:
            if self._kept < most and not self._closed:
                self._kept += 1
                return True
        self._drops.add(self._signal, 1)
        return False

    def admit_kept(self) -> bool:
        """Queue one of the items that are kept, if there is room; a part of that stays free."""
        with self._lock:
            fits = self._queued < self._limit - min(OWN, self._limit // 4)
            if fits and self._kept and not self._abandoned:
                self._queued += 1
                self._kept -= 1
                return True
        return False

    def put_back(self) -> None:
        """Keep again what `admit_kept` has queued."""
        with self._lock:
            self._queued -= 1
            self._kept += 1

    def send(self, count: int, *, queued: bool = True, own: int = 0) -> None:
        """Note that items are given to the exporter.

        Args:
            count: How many.
            queued: Whether they were queued before.
            own: How many of them are of this project's own.
        """
        with self._lock:
            if not self._abandoned:
                self._queued -= count if queued else 0
                self._own -= own
                self._on_their_way += count

    def answered(self, count: int, *, delivered: bool, rejected: int = 0) -> None:
        """Note what the exporter says of items that it was given.

        Args:
            count: How many.
            delivered: Whether they arrived.
            rejected: How many of those who arrived the backend says that it does not take.
        """
        with self._lock:
            if self._abandoned:
                return
            self._on_their_way -= count
        self._drops.add(self._signal, min(rejected, count) if delivered else count)

    def close(self) -> None:
        """Queue nothing any more."""
        self._closed = True

    def abandon(self) -> None:
        """Count as dropped what is neither delivered nor dropped; later answers do not count."""
        with self._lock:
            if self._abandoned:
                return
            self._abandoned = self._closed = True
            left = self._queued + self._kept + self._on_their_way
        self._drops.add(self._signal, left)


# Their records are about exports: to export those would never end.
_EXPORTING: Final = ("opentelemetry", "grpc")


class RootHandler(logging.Handler):
    """A handler that leaves what other handlers do as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a record."""
        self._show_last_resort(record)
        if is_exporting() or events.is_line() or record.name.split(".")[0] in _EXPORTING:
            return
        try:
            self.handle_record(record)
        except Exception:  # noqa: BLE001 - the way of the standard library
            self.handleError(record)

    def handle_record(self, record: logging.LogRecord) -> None:
        """Do with a record what the handler is for."""
        raise NotImplementedError

    def _show_last_resort(self, record: logging.LogRecord) -> None:
        # A program that has configured no logging sees its warnings on stderr as before, once.
        shown = logging.lastResort
        if shown is None or record.levelno < shown.level:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        own = []
        while logger is not None:
            own += [handler for handler in logger.handlers if isinstance(handler, RootHandler)]
            if any(not isinstance(handler, RootHandler) for handler in logger.handlers):
                return
            logger = logger.parent
        if own[:1] == [self]:
            shown.handle(record)


def add_to_root(handler: logging.Handler) -> None:
    """Put a handler on the root logger, to stay there.

    `logging.basicConfig` does nothing where there is a handler, and `dictConfig` and
    `fileConfig` take all of them away. So while one of these works, this one is away, and
    afterwards it is back. They are wrapped for that, in their modules, and so is what they call
    in turn: a program may have imported them by name before.
    """
    root = logging.root
    if type(root.handlers) is not _Handlers:
        root.handlers = _Handlers(root.handlers)
    root.addHandler(handler)
    for owner, name in _CONFIGURING:
        configure = getattr(owner, name, None)
        if configure is not None:
            setattr(owner, name, _without(handler, configure))


class _Handlers(list[logging.Handler]):
    """The root logger's handlers: all of them to who hands records to them, own ones not counted.

    `logging.warning` and its like configure logging where there are no handlers, as for a program
    that has not done so, and ask for their number.
    """

    def __len__(self) -> int:
        return sum(not isinstance(handler, RootHandler) for handler in self)


_CONFIGURING: Final[tuple[tuple[Any, str], ...]] = (
    (logging, "basicConfig"),
    (logging.config, "dictConfig"),
    (logging.config, "fileConfig"),
    (logging.config.DictConfigurator, "configure"),
    (logging.config, "_install_loggers"),
)


def _without(handler: logging.Handler, configure: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(configure)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        logging.root.removeHandler(handler)
        try:
            return configure(*args, **kwargs)
        finally:
            logging.root.addHandler(handler)

    return wrapper
