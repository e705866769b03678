"""A scheduler that calls a workflow by a cron expression, whatever clocks and earlier runs do."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime, timedelta, timezone
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.abc.scheduler import Scheduler
from dotflow.core.arguments import (
    check_callable,
    check_choice,
    check_seconds,
    check_text,
    strict_arguments,
)
from dotflow.core.exception import InvalidOption, ModuleNotFound, WrongMoment
from dotflow.core.timing import TimedQueue, monotonic
from dotflow.core.types import TypeOverlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo
    from zoneinfo import ZoneInfo


def next_tick(cron: str, now: float, zone: tzinfo | None = None) -> float | None:
    """Return the next time that matches, or None if there is none.

    Where the clock goes back an hour, a schedule by the minute or hour goes on in the second
    one, and one by the day does not come again. Where it goes forward, what would come in
    the missing hour comes after it.

    Args:
        cron: Five fields, or six: the sixth is the second.
        now: Seconds since the epoch.
        zone: The time zone; None: local time.

    Returns:
        Seconds since the epoch, later than `now`.

    Raises:
        ValueError: `cron` is no cron expression.
        ModuleNotFoundError: croniter is not installed.
    """
    return min(_ticks(cron, now, zone), default=None)


def _ticks(cron: str, now: float, zone: tzinfo | None) -> Iterator[float]:
    from croniter import CroniterBadDateError, croniter  # noqa: PLC0415 - an extra

    # Croniter is asked about naive times, to which no clock change happens.
    try:
        shown = croniter(cron, _naive(now, zone)).get_next(datetime).replace(tzinfo=zone)
    except CroniterBadDateError:
        return
    first = shown.timestamp()
    # The clock shows that time twice, and the first of them has passed.
    yield first if first > now else shown.replace(fold=1).timestamp()
    # Before the clock goes back, the time that now seems next is shown as another one.
    offset = timezone(datetime.fromtimestamp(now, UTC).astimezone(zone).utcoffset() or timedelta())
    steady = shown.replace(tzinfo=offset).timestamp()
    if steady < first and croniter.match(cron, _naive(steady, zone)):
        yield steady


def _naive(time: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(time, zone).replace(tzinfo=None)


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


# The longest wait in one go, in seconds: a clock that was set is noticed after it.
SLICE: Final = 1.0


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
                self._wake.get(min(left, SLICE))
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
