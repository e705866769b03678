"""A scheduler that calls a workflow by a cron expression, whatever clocks and earlier runs do."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from queue import Empty
from random import uniform
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.scheduler import MISSED, ScheduleObserver, Scheduler, Tick
from dotflow.core.arguments import check_callable, check_seconds, check_text, strict_arguments
from dotflow.core.exception import InvalidOption, ModuleNotFound, WrongMoment
from dotflow.core.timing import TimedQueue
from dotflow.core.types import TypeOverlap
from dotflow.core.user_objects import repr_of
from dotflow.providers.cron import next_tick
from dotflow.providers.scheduled_runs import Jobs, overlap_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from zoneinfo import ZoneInfo

_logger: Final = logging.getLogger("dotflow")

# The longest wait in one go, in seconds: a clock that was set is noticed after it.
SLICE: Final = 1.0

# A tick that is no older than so many seconds when it is looked at came in time.
_IN_TIME: Final = 5.0

# How many missed ticks are looked at, at most.
_MOST_MISSED: Final = 1000


class SchedulerCron(Scheduler):
    """Runs a workflow at each tick of a cron expression.

    Where the clock is put forward, what would come in the hour that is missing comes as much
    later. Where it is put back, the hour that comes twice has ticks twice only if the expression
    names no hour (`*` or `*/n` in that field).

    Args:
        cron: Five fields, or six: the sixth is the second.
        overlap: What to do with a tick while a run is still going. `skip` drops it. `queue`
            keeps one, and runs it right after. `parallel` runs up to ten at once and drops
            what is beyond.
        timezone: The time zone that the expression is in, such as `Europe/Berlin`; None: local
            time.
        jitter: Seconds by which each tick comes later at most, by chance, so that not all schedules
            of many machines begin at once; never later than the next tick.
        catch_up: How many ticks are run of those that came due while the schedule could not look,
            because the machine slept, say, or the clock was set: the latest ones, 0 to 1,000. They
            may wait for one another, whatever `overlap` says. The others are skipped; with 0 also
            the last, if it is older than five seconds. Ticks before `start` are not caught up.

    Attributes:
        cron: As given.
        overlap: As given.
        timezone: As given.
        zone: The same as an object.
        jitter: As given.
        catch_up: As given.
        running: Whether the schedule is on.
        stopped_by: The signal that ended the schedule; None where none did.

    Raises:
        InvalidOption: (a `ValueError`) `cron` is no cron expression or never comes, `overlap`
            is none of these, there is no such time zone, or a number is none of those allowed.
        ModuleNotFound: croniter is not installed.
    """

    @strict_arguments
    def __init__(
        self,
        cron: str,
        overlap: str = TypeOverlap.SKIP,
        timezone: str | None = None,
        jitter: float = 0.0,
        catch_up: int = 1,
    ) -> None:
        self.zone = _zone(timezone)
        _check_cron(cron, self.zone)
        overlap_of(overlap)
        check_seconds("jitter", jitter, zero=True)
        _check_catch_up(catch_up)
        self.cron = cron
        self.overlap = overlap
        self.timezone = timezone
        self.jitter = jitter
        self.catch_up = catch_up
        self.running = False
        self.stopped_by: int | None = None
        self._jobs: Jobs | None = None
        self._observer = ScheduleObserver()
        self._now: Callable[[], float] = time.time
        self._wake: TimedQueue[None] = TimedQueue()

    def observe(self, observer: ScheduleObserver) -> None:
        """Notify an observer of the ticks of the next `start`."""
        self._observer = observer

    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Call `workflow(**kwargs)` at each tick, in a thread; return when stopped.

        In the main thread SIGINT and SIGTERM stop the schedule: no run begins any more, those
        that are going are waited for, and a second signal does what it did before. A run that
        fails is logged and does not stop the schedule. After it was stopped it can be started
        again.

        Raises:
            InvalidOption: `workflow` cannot be called.
            TypeError: It cannot be called with these arguments.
            WrongMoment: (a `RuntimeError`) The schedule is on already.
        """
        if self.running:
            raise WrongMoment("This schedule is on already: stop() it, or make another one.")
        _check_call(workflow, kwargs)
        observer, self._observer = self._observer, ScheduleObserver()
        call, policy = partial(workflow, **kwargs), overlap_of(self.overlap)
        jobs = Jobs(policy, call, observer, caught_up=self.catch_up, now=self._now)
        self._jobs = jobs
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
        # From tick to tick: where the clock was set back a little, none comes twice.
        while (following := self._after(tick)) is not None:
            due = self._due(following)
            if not self._reaches(due):
                return
            tick = self._offer(jobs, following, due)
        _logger.warning("The schedule %r has no further tick and ends", self.cron)

    def _after(self, tick: float) -> float | None:
        return next_tick(self.cron, tick, self.zone)

    def _due(self, tick: float) -> float:
        if not self.jitter:
            return tick
        due = tick + uniform(0.0, self.jitter)  # noqa: S311 - no secret
        return min(due, self._after(tick) or due)

    def _offer(self, jobs: Jobs, tick: float, due: float) -> float:
        """Run a tick, or those of it and the later ones that are to be; return the last."""
        missed = self._missed_after(tick)
        if not missed and (self.catch_up or self._now() - due <= _IN_TIME):
            jobs.offer(Tick(due, self.cron))
            return tick
        came = [due, *missed]
        is_in_time = self._now() - came[-1] <= _IN_TIME
        runs = self.catch_up or int(is_in_time)
        first = max(len(came) - runs, 0)
        for each in came[:first]:
            jobs.skip(Tick(each, self.cron), MISSED)
        for each in came[first:]:
            jobs.offer(Tick(each, self.cron), catching_up=True)
        return came[-1]

    def _missed_after(self, tick: float) -> list[float]:
        """Return the ticks after one that are due as well, the last ones if there are many."""
        # As many are looked at as may be; of a jump of the clock by years, those at its end.
        found = list(islice(self._due_after(tick), _MOST_MISSED))
        if len(found) < _MOST_MISSED:
            return found
        since = self._now() - self.jitter - 1.01 * (found[-1] - found[0])
        return list(islice(self._due_after(max(since, tick)), 2 * _MOST_MISSED))[-_MOST_MISSED:]

    def _due_after(self, tick: float) -> Iterator[float]:
        until = self._now() - self.jitter
        while (following := self._after(tick)) is not None and following <= until:
            yield following
            tick = following

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


def _check_catch_up(value: object) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not 0 <= value <= _MOST_MISSED:  # type: ignore[operator] # it is a number
        raise InvalidOption("catch_up", value, f"give a whole number, 0 to {_MOST_MISSED}")


def _check_cron(cron: str, zone: ZoneInfo | None) -> None:
    check_text("cron", cron, "give a cron expression, as '*/5 * * * *'")
    try:
        comes = next_tick(cron, time.time(), zone) is not None
    except ModuleNotFoundError:
        raise ModuleNotFound("croniter", "dotflow[scheduler]") from None
    except (ValueError, TypeError, AttributeError) as error:
        # Shortened, for croniter repeats the expression.
        reason = repr_of(error, str).rstrip(".")
        raise InvalidOption("cron", cron, f"it is no cron expression: {reason}") from error
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
