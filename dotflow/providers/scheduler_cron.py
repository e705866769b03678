"""A scheduler that calls a workflow by a cron expression."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.scheduler import Scheduler
from dotflow.core.checks import check_callable, check_seconds, check_text
from dotflow.core.exception import InvalidOption, ModuleNotFound, WrongMoment
from dotflow.core.signatures import strict_arguments
from dotflow.core.types import TypeOverlap
from dotflow.providers.cron import next_tick
from dotflow.providers.overlap import Jobs, overlap_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger: Final = logging.getLogger("dotflow")

# The longest wait in one go, in seconds: a clock that was set is noticed after it.
_SLICE: Final = 1.0


class SchedulerCron(Scheduler):
    """Runs a workflow at each tick of a cron expression, in local time.

    Args:
        cron: Five fields, or six: the sixth is the second.
        overlap: What to do with a tick while a run is still going. `skip` drops it. `queue`
            keeps one, and runs it right after. `parallel` runs up to ten at once and drops
            what is beyond.

    Attributes:
        cron: As given.
        overlap: As given.
        running: Whether the schedule is on.

    Raises:
        InvalidOption: (a `ValueError`) `cron` is no cron expression or never comes, or
            `overlap` is none of these.
        ModuleNotFound: croniter is not installed.
    """

    @strict_arguments
    def __init__(self, cron: str, overlap: str = TypeOverlap.SKIP) -> None:
        _check_cron(cron)
        overlap_of(overlap)
        self.cron = cron
        self.overlap = overlap
        self.running = False
        self._jobs: Jobs | None = None
        self._now: Callable[[], float] = time.time
        self._wake: SimpleQueue[None] = SimpleQueue()

    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Call `workflow(**kwargs)` at each tick, in a thread; return when stopped.

        In the main thread SIGINT and SIGTERM stop the schedule: the runs that are going are
        waited for, and a second signal does what it did before. A run that fails is logged
        and does not stop the schedule. After it was stopped it can be started again.

        Raises:
            InvalidOption: `workflow` cannot be called.
            TypeError: It cannot be called with these arguments.
            WrongMoment: (a `RuntimeError`) The schedule is on already.
        """
        if self.running:
            raise WrongMoment("This schedule is on already: stop() it, or make another one.")
        _check_call(workflow, kwargs)
        jobs = self._jobs = Jobs(overlap_of(self.overlap), workflow, **kwargs)
        self._wake = SimpleQueue()
        self.running = True
        try:
            with _stopping_signals(self._end):
                self._tick(jobs)
        finally:
            self._end()
        jobs.join(None)

    def stop(self, timeout: float | None = None) -> None:
        """End the schedule and wait for the runs that are going; before `start` do nothing.

        Args:
            timeout: Seconds to wait for them in all; None: until they end.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        self._end()
        if self._jobs is not None:
            self._jobs.join(timeout)

    def _end(self) -> None:
        # A signal handler calls this at any moment, so it takes no lock: to put into a
        # `SimpleQueue` is allowed there, to set an `Event` is not.
        self.running = False
        if self._jobs is not None:
            self._jobs.close()
        self._wake.put(None)

    def _tick(self, jobs: Jobs) -> None:
        tick = self._now()
        # Where the clock was set back a little, no tick comes twice.
        while (following := next_tick(self.cron, max(tick, self._now()))) is not None:
            tick = following
            if not self._reaches(tick):
                return
            jobs.offer()
        _logger.warning("The schedule %r has no further tick and ends", self.cron)

    def _reaches(self, tick: float) -> bool:
        while self.running and (left := tick - self._now()) > 0:
            with suppress(Empty):
                self._wake.get(timeout=min(left, _SLICE))
        return self.running


def _check_cron(cron: str) -> None:
    check_text("cron", cron, "give a cron expression, as '*/5 * * * *'")
    try:
        comes = next_tick(cron, time.time()) is not None
    except ModuleNotFoundError:
        raise ModuleNotFound("croniter", "dotflow[scheduler]") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidOption("cron", cron, f"it is no cron expression: {error}") from error
    if not comes:
        raise InvalidOption("cron", cron, "no time ever matches it")


def _check_call(workflow: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    check_callable("workflow", workflow, "give what is to be called at each tick, as flow.start")
    from inspect import signature  # noqa: PLC0415 - slow to import

    try:
        expected = signature(workflow)
    except (ValueError, TypeError):  # not everything tells
        return
    try:
        expected.bind(**kwargs)
    except TypeError as error:
        raise TypeError(f"{workflow!r} cannot be called at each tick: {error}") from None


@contextmanager
def _stopping_signals(end: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda *_: end())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not set from Python, and cannot be set back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
