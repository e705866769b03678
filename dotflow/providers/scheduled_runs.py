"""The runs of a schedule: in threads, within the bounds of a policy."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.abc.scheduler import NO_THREAD, OVERLAP, STOPPED, ScheduleObserver
from dotflow.core.arguments import check_choice
from dotflow.core.timing import monotonic
from dotflow.core.types import TypeOverlap

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.abc.scheduler import Tick

_logger: Final = logging.getLogger("dotflow")


class Overlap(NamedTuple):
    """How many runs may go at once, and how many more ticks may wait for them."""

    at_once: int
    waiting: int


_POLICIES: Final = {
    TypeOverlap.SKIP: Overlap(at_once=1, waiting=0),
    TypeOverlap.QUEUE: Overlap(at_once=1, waiting=1),
    TypeOverlap.PARALLEL: Overlap(at_once=10, waiting=0),
}


def overlap_of(name: str) -> Overlap:
    """Return the policy of that name.

    Raises:
        InvalidOption: There is none.
    """
    check_choice("overlap", name, _POLICIES)
    return _POLICIES[name]


class Jobs:
    """Runs a workflow in threads, within the bounds of a policy.

    Each run has a copy of the context in which this was made.

    Args:
        overlap: The policy.
        call: Runs the workflow.
        observer: Is notified of the ticks.
        caught_up: How many ticks that are caught up may wait, whatever the policy.
        now: Returns the time: seconds since the epoch.
    """

    def __init__(
        self,
        overlap: Overlap,
        call: Callable[[], Any],
        observer: ScheduleObserver | None = None,
        *,
        caught_up: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._overlap = overlap
        self._call = call
        self._observer = ScheduleObserver() if observer is None else observer
        self._caught_up = max(caught_up, overlap.waiting)
        self._now = now
        self._context = copy_context()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._waiting: deque[Tick] = deque()
        self._closed = False

    def offer(self, tick: Tick, *, catching_up: bool = False) -> bool:
        """Run the workflow, now or right after; return whether there was room for it.

        Args:
            tick: Why.
            catching_up: Whether it may wait as one of those that are caught up.
        """
        with self._lock:
            most = self._caught_up if catching_up else self._overlap.waiting
            reason = self._placed(tick, most)
        if reason is not None:
            self.skip(tick, reason)
        return reason is None

    def skip(self, tick: Tick, reason: str) -> None:
        """Note that a tick has no run."""
        if reason == OVERLAP:
            _logger.info("A tick is dropped: the runs before it are still going")
        self._observer.tick_skipped(tick, reason)

    def close(self) -> None:
        """Begin no other run. Takes no lock, for a signal handler calls it."""
        self._closed = True

    def join(self, timeout: float | None) -> None:
        """Wait for the runs that are going, at most `timeout` seconds in all if given."""
        end = None if timeout is None else monotonic() + timeout
        with self._lock:
            others = self._threads - {threading.current_thread()}
        for thread in others:
            thread.join(None if end is None else max(end - monotonic(), 0.0))

    def _placed(self, tick: Tick, most_waiting: int) -> str | None:
        """Run a tick or have it wait; return why there is no place for it, if there is none."""
        if len(self._threads) < self._overlap.at_once:
            return None if self._start(tick) else NO_THREAD
        if len(self._waiting) < most_waiting:
            self._waiting.append(tick)
            return None
        return OVERLAP

    def _start(self, tick: Tick) -> bool:
        thread = threading.Thread(target=self._work, args=(tick,), name="dotflow-schedule")
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # The system has no more threads; the next tick may find one.
            self._threads.discard(thread)
            _logger.exception("A scheduled run could not be started")
            return False
        return True

    def _work(self, tick: Tick) -> None:
        following: Tick | None = tick
        while following is not None:
            self._run(following._replace(began=self._now()))
            following = self._next()

    def _run(self, tick: Tick) -> None:
        try:
            self._context.copy().run(self._observed, tick)
        except BaseException:  # A thread has nobody to raise to; the next tick comes all the same.
            _logger.exception("A scheduled run failed")

    def _observed(self, tick: Tick) -> None:
        self._observer.tick_fired(tick)
        with self._observer.tick_scope(tick):
            self._call()

    def _next(self) -> Tick | None:
        with self._lock:
            if self._waiting and not self._closed:
                return self._waiting.popleft()
            self._threads.discard(threading.current_thread())
            left, self._waiting = self._waiting, deque()
        for tick in left:
            self.skip(tick, STOPPED)
        return None
