"""What happens to a tick while a run is still going."""

from __future__ import annotations

import logging
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.checks import check_choice
from dotflow.core.clock import monotonic
from dotflow.core.types import TypeOverlap

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """

    def __init__(self, overlap: Overlap, workflow: Callable[..., Any], **kwargs: Any) -> None:
        self._overlap = overlap
        self._workflow = workflow
        self._kwargs = kwargs
        self._context = copy_context()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._waiting = 0
        self._closed = False

    def offer(self) -> bool:
        """Run the workflow, now or right after; tell whether there was room for it."""
        with self._lock:
            if len(self._threads) < self._overlap.at_once:
                self._start()
            elif self._waiting < self._overlap.waiting:
                self._waiting += 1
            else:
                _logger.info("A tick is dropped: the runs before it are still going")
                return False
        return True

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

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="dotflow-schedule")
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # The system has no more threads; the next tick may find one.
            self._threads.discard(thread)
            _logger.exception("A scheduled run could not be started")

    def _work(self) -> None:
        self._run()
        while self._has_more():
            self._run()

    def _run(self) -> None:
        try:
            self._context.copy().run(self._workflow, **self._kwargs)
        except BaseException:  # A thread has nobody to raise to; the next tick comes all the same.
            _logger.exception("A scheduled run failed")

    def _has_more(self) -> bool:
        with self._lock:
            if self._waiting and not self._closed:
                self._waiting -= 1
                return True
            self._threads.discard(threading.current_thread())
            return False
