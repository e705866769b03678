"""A scheduler that calls a workflow by a cron expression."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager, suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.scheduler import Scheduler
from dotflow.core.checks import check_callable, check_seconds, check_text
from dotflow.core.exception import InvalidOption, ModuleNotFound, WrongMoment
from dotflow.core.signatures import strict_arguments
from dotflow.core.types import TypeOverlap
from dotflow.core.waiting import TimedQueue
from dotflow.providers.cron import next_tick
from dotflow.providers.overlap import Jobs, overlap_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from zoneinfo import ZoneInfo

_logger: Final = logging.getLogger("dotflow")

# The longest wait in one go, in seconds: a clock that was set is noticed after it.
_SLICE: Final = 1.0


class SchedulerCron(Scheduler):
    """Runs a workflow at each tick of a cron expression.

    Args:
        cron: Five fields, or six: the sixth is the second.
        overlap: What to do with a tick while a run is still going. `skip` drops it. `queue`
            keeps one, and runs it right after. `parallel` runs up to ten at once and drops
            what is beyond.
        timezone: The time zone that the expression is in, such as `Europe/Berlin`; None: local
            time.

    Attributes:
        cron: As given.
        overlap: As given.
        timezone: As given.
        zone: The same as an object.
        running: Whether the schedule is on.
        stopped_by: The signal that ended the schedule; None where none did.

    Raises:
        InvalidOption: (a `ValueError`) `cron` is no cron expression or never comes, `overlap`
            is none of these, or there is no such time zone.
        ModuleNotFound: croniter is not installed.
    """

    @strict_arguments
    def __init__(
        self, cron: str, overlap: str = TypeOverlap.SKIP, timezone: str | None = None
    ) -> None:
        self.zone = _zone(timezone)
        _check_cron(cron, self.zone)
        overlap_of(overlap)
        self.cron = cron
        self.overlap = overlap
        self.timezone = timezone
        self.running = False
        self.stopped_by: int | None = None
        self._jobs: Jobs | None = None
        self._now: Callable[[], float] = time.time
        self._wake: TimedQueue[None] = TimedQueue()

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
        self._wake = TimedQueue()
        self.running = True
        self.stopped_by = None
        try:
            with _stopping_signals(self._end_by):
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

    def next_tick(self) -> float | None:
        """Return when the next tick is, in seconds since the epoch, or None if there is none."""
        return next_tick(self.cron, self._now(), self.zone)

    def _end_by(self, number: int) -> None:
        self.stopped_by = number
        self._end()

    def _end(self) -> None:
        # A signal handler calls this at any moment, so it waits for no lock: to put into a
        # `TimedQueue` is allowed there, to set an `Event` is not.
        self.running = False
        if self._jobs is not None:
            self._jobs.close()
        self._wake.put(None)

    def _tick(self, jobs: Jobs) -> None:
        tick = self._now()
        # Where the clock was set back a little, no tick comes twice.
        while (following := self._after(tick)) is not None:
            tick = following
            if not self._reaches(tick):
                return
            jobs.offer()
        _logger.warning("The schedule %r has no further tick and ends", self.cron)

    def _after(self, tick: float) -> float | None:
        return next_tick(self.cron, max(tick, self._now()), self.zone)

    def _reaches(self, tick: float) -> bool:
        while self.running and (left := tick - self._now()) > 0:
            with suppress(Empty):
                self._wake.get(min(left, _SLICE))
        return self.running


def _zone(name: str | None) -> ZoneInfo | None:
    if name is None:
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - seldom needed

    try:
        return ZoneInfo(name)
    except (ValueError, TypeError, OSError, ModuleNotFoundError, KeyError) as error:
        expected = "give the name of a time zone that this machine knows, such as Europe/Berlin"
        raise InvalidOption("timezone", name, expected) from error


def _check_cron(cron: str, zone: ZoneInfo | None) -> None:
    check_text("cron", cron, "give a cron expression, as '*/5 * * * *'")
    try:
        comes = next_tick(cron, time.time(), zone) is not None
    except ModuleNotFoundError:
        raise ModuleNotFound("croniter", "dotflow[scheduler]") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidOption(
            "cron", cron, f"it is no cron expression: {str(error).rstrip('.')}"
        ) from error
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
def _stopping_signals(end: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda number, _: end(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not set from Python, and cannot be set back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
