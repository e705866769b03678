"""`SchedulerCron`: when it ticks, what overlaps, how it stops."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from log_records import own_records

from dotflow.abc.scheduler import Scheduler, Tick
from dotflow.core.exception import ModuleNotFound
from dotflow.core.types import TypeOverlap
from dotflow.providers import scheduler_cron
from dotflow.providers.cron import next_tick
from dotflow.providers.scheduled_runs import Jobs, overlap_of
from dotflow.providers.scheduler_cron import SchedulerCron

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 10.0
TICK = Tick(1.0)


def at(text: str) -> float:
    """Seconds since the epoch of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def new_york() -> Iterator[None]:
    """Local time is that of New York: 4 or 5 hours behind UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "EST5EDT,M3.2.0,M11.1.0"
    time.tzset()
    yield
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


TICKS = pytest.mark.parametrize(
    ("cron", "now", "following"),
    [
        ("*/5 * * * *", "2026-07-01T10:02:30", "2026-07-01T10:05:00"),
        ("*/5 * * * *", "2026-07-01T10:05:00", "2026-07-01T10:10:00"),
        ("* * * * * */10", "2026-07-01T10:02:31.5", "2026-07-01T10:02:40"),
        ("* * * * * *", "2026-07-01T10:02:31.5", "2026-07-01T10:02:32"),
        # Local time, not UTC.
        ("0 12 * * *", "2026-07-01T10:00:00", "2026-07-01T16:00:00"),
        # The clock goes back on 2026-11-01: 06:00 UTC is 01:00 for the second time.
        ("* * * * *", "2026-11-01T05:59:00", "2026-11-01T06:00:00"),
        ("* * * * *", "2026-11-01T06:10:00", "2026-11-01T06:11:00"),
        ("15 * * * *", "2026-11-01T05:15:00", "2026-11-01T06:15:00"),
        ("30 1 * * *", "2026-11-01T05:30:00", "2026-11-02T06:30:00"),
        ("0 2 * * *", "2026-11-01T05:30:00", "2026-11-01T07:00:00"),
        ("0 12 * * *", "2026-10-31T20:00:00", "2026-11-01T17:00:00"),
        # It goes forward on 2026-03-08: 02:30 does not exist, 07:00 UTC is 03:00.
        ("* * * * *", "2026-03-08T06:59:00", "2026-03-08T07:00:00"),
        ("30 2 * * *", "2026-03-08T06:00:00", "2026-03-08T07:30:00"),
        ("30 2 * * *", "2026-03-08T07:30:00", "2026-03-09T06:30:00"),
        ("0 12 * * *", "2026-03-07T20:00:00", "2026-03-08T16:00:00"),
    ],
)


@pytest.mark.usefixtures("new_york")
@TICKS
def test_next_tick(cron: str, now: str, following: str) -> None:
    """Ticks are in local time, later than now, and right where the clock changes."""
    assert next_tick(cron, at(now)) == at(following)


@TICKS
def test_next_tick_in_a_time_zone(cron: str, now: str, following: str) -> None:
    """Ticks are in the zone that is given, whatever the local time, with the same care."""
    assert next_tick(cron, at(now), ZoneInfo("America/New_York")) == at(following)


def test_next_tick_may_not_come() -> None:
    """There is none where nothing ever matches."""
    assert next_tick("0 0 31 2 *", at("2026-01-01T00:00:00")) is None


@pytest.mark.parametrize(
    "cron", ["", "nope", "* * * *", "61 * * * *", "* * * * * * * *", "0 0 31 2 *", None, 5]
)
def test_bad_cron(cron: Any) -> None:
    """What is no cron expression, or never comes, raises ValueError with the value in it."""
    with pytest.raises(ValueError, match="cron=") as caught:
        SchedulerCron(cron)
    assert repr(cron) in str(caught.value)


def test_bad_overlap() -> None:
    """An unknown overlap raises ValueError that names it and the known ones."""
    with pytest.raises(ValueError, match=r"overlap='pile'.*skip, queue, parallel"):
        SchedulerCron("* * * * *", overlap="pile")


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", 5])
def test_bad_timezone(zone: Any) -> None:
    """A time zone that is not there raises ValueError that names it."""
    with pytest.raises(ValueError, match="is not valid: give the name of a time zone") as caught:
        SchedulerCron("* * * * *", timezone=zone)
    assert f"timezone={zone!r}" in str(caught.value)


def test_timezone_of_a_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule ticks by the clock of its time zone."""
    set_clock(monkeypatch, lambda: at("2026-07-01T00:00:00"))
    scheduler = SchedulerCron("0 6 * * *", timezone="Asia/Tokyo")
    assert scheduler.timezone == "Asia/Tokyo"
    assert scheduler.next_tick() == at("2026-07-01T21:00:00")


def test_croniter_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without croniter, construction says what to install."""
    monkeypatch.setitem(sys.modules, "croniter", None)
    with pytest.raises(ModuleNotFound, match=r"'croniter'.*dotflow\[scheduler\]"):
        SchedulerCron("* * * * *")


def test_attributes() -> None:
    """`cron`, `overlap` and `running` are attributes; the overlap is `skip` unless given."""
    scheduler = SchedulerCron("0 6 * * *")
    assert isinstance(scheduler, Scheduler)
    assert (scheduler.cron, scheduler.overlap, scheduler.running) == ("0 6 * * *", "skip", False)
    assert SchedulerCron(cron="0 6 * * *", overlap=TypeOverlap.QUEUE).overlap == "queue"


def test_stop_before_start_does_nothing() -> None:
    """A schedule that is not on can be stopped."""
    scheduler = SchedulerCron("* * * * *")
    scheduler.stop()
    assert not scheduler.running


class Gate:
    """A workflow whose runs wait until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.ended = 0

    def __call__(self) -> None:
        self.begun.release()
        assert self.go.acquire(timeout=LONG)
        self.ended += 1

    def let_go(self, jobs: Jobs, runs: int) -> None:
        self.go.release(runs)
        jobs.join(LONG)


def test_skip_drops_a_tick_while_one_runs() -> None:
    """skip: a tick during a run is dropped, one after it is not."""
    gate = Gate()
    jobs = Jobs(overlap_of("skip"), gate)
    assert [jobs.offer(TICK), jobs.offer(TICK), jobs.offer(TICK)] == [True, False, False]
    gate.let_go(jobs, 1)
    assert gate.ended == 1
    assert jobs.offer(TICK)
    gate.let_go(jobs, 1)
    assert gate.ended == 2


def test_queue_keeps_one_tick() -> None:
    """queue: one tick waits for the run and is run right after it; more are dropped."""
    gate = Gate()
    jobs = Jobs(overlap_of("queue"), gate)
    assert [jobs.offer(TICK) for _ in range(4)] == [True, True, False, False]
    gate.go.release()
    for _ in range(2):
        assert gate.begun.acquire(timeout=LONG)
    assert gate.ended == 1
    assert jobs.offer(TICK)
    gate.let_go(jobs, 2)
    assert gate.ended == 3


def test_queue_forgets_its_tick_when_closed() -> None:
    """queue: after the end of the schedule no other run begins."""
    gate = Gate()
    jobs = Jobs(overlap_of("queue"), gate)
    assert [jobs.offer(TICK), jobs.offer(TICK)] == [True, True]
    jobs.close()
    gate.let_go(jobs, 2)
    assert gate.ended == 1


def test_parallel_runs_up_to_ten() -> None:
    """parallel: ten runs go at once, the eleventh tick is dropped."""
    gate = Gate()
    jobs = Jobs(overlap_of("parallel"), gate)
    assert [jobs.offer(TICK) for _ in range(12)] == [True] * 10 + [False] * 2
    for _ in range(10):
        assert gate.begun.acquire(timeout=LONG)
    gate.let_go(jobs, 10)
    assert gate.ended == 10


def test_join_is_bounded_and_spares_the_run_itself() -> None:
    """A join waits no longer than told, and a run that stops its own schedule does not hang."""
    gate = Gate()
    jobs = Jobs(overlap_of("skip"), gate)
    jobs.offer(TICK)
    begun = time.monotonic()
    jobs.join(0.02)
    assert 0.01 < time.monotonic() - begun < 5
    gate.let_go(jobs, 1)
    done = threading.Event()

    def workflow() -> None:
        inner.join(None)
        done.set()

    inner = Jobs(overlap_of("skip"), workflow)
    inner.offer(TICK)
    assert done.wait(LONG)


def test_no_thread_to_be_had(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A tick for which the system has no thread is logged, and the next one is tried."""
    ran = threading.Event()
    jobs = Jobs(overlap_of("skip"), ran.set)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        jobs.offer(TICK)
    assert [record.message for record in own_records(caplog)] == [
        "A scheduled run could not be started"
    ]
    jobs.offer(TICK)
    assert ran.wait(LONG)


def set_clock(monkeypatch: pytest.MonkeyPatch, now: Callable[[], float]) -> None:
    """Return schedules that are made from now on a clock."""
    monkeypatch.setattr(scheduler_cron, "time", SimpleNamespace(time=now))


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: str = "2026-07-01T10:00:30") -> None:
        # So the schedule looks at the clock all the time, instead of once a second.
        monkeypatch.setattr(scheduler_cron, "SLICE", 0.001)
        self.now = at(now)
        self._read = threading.Semaphore(0)

    def __call__(self) -> float:
        self._read.release()
        return self.now

    def set_forward(self, seconds: float) -> None:
        """Move on, once the schedule is waiting for the tick that comes next."""
        while self._read.acquire(blocking=False):
            pass
        for _ in range(4):
            assert self._read.acquire(timeout=LONG)
        self.now += seconds


def schedule(
    monkeypatch: pytest.MonkeyPatch, cron: str = "* * * * *", overlap: str = "skip", **options: Any
) -> tuple[SchedulerCron, Clock]:
    """A schedule with a clock of its own."""
    clock = Clock(monkeypatch)
    set_clock(monkeypatch, clock)
    return SchedulerCron(cron, overlap, **options), clock


def started(scheduler: SchedulerCron, workflow: Callable[..., Any], **kwargs: Any) -> Any:
    """The thread in which the schedule goes on."""
    thread = threading.Thread(target=scheduler.start, args=(workflow,), kwargs=kwargs)
    thread.start()
    return thread


def test_calls_the_workflow_at_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tick calls `workflow(**kwargs)` once, in a thread; what was slept through, once."""
    scheduler, clock = schedule(monkeypatch)
    calls: list[dict[str, Any]] = []
    called = threading.Semaphore(0)

    def workflow(**kwargs: Any) -> None:
        calls.append({**kwargs, "main": threading.current_thread() is threading.main_thread()})
        called.release()

    thread = started(scheduler, workflow, mode="sequential", resume=True)
    assert not called.acquire(timeout=0.02)
    clock.set_forward(30)
    assert called.acquire(timeout=LONG)
    assert not called.acquire(timeout=0.02)
    clock.set_forward(5 * 60)
    assert called.acquire(timeout=LONG)
    assert not called.acquire(timeout=0.02)
    # Set back a little: the same tick does not come again.
    clock.set_forward(-1)
    assert not called.acquire(timeout=0.02)
    assert scheduler.running
    scheduler.stop()
    thread.join(LONG)
    assert not thread.is_alive()
    assert not scheduler.running
    assert calls == [{"mode": "sequential", "resume": True, "main": False}] * 2


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_failing_run_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """A run that fails is logged with its traceback, and the next tick comes."""
    scheduler, clock = schedule(monkeypatch, overlap="queue")  # the second waits for the first
    called = threading.Semaphore(0)

    def workflow() -> None:
        called.release()
        raise error

    thread = started(scheduler, workflow)
    for _ in range(2):
        clock.set_forward(60)
        assert called.acquire(timeout=LONG)
    scheduler.stop()
    thread.join(LONG)
    assert [(r.name, r.levelno, r.message) for r in own_records(caplog)] == [
        ("dotflow", logging.ERROR, "A scheduled run failed")
    ] * 2
    assert own_records(caplog)[0].exc_info is not None
    assert own_records(caplog)[0].exc_info[1] is error


def test_stop_waits_for_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop(timeout)` waits that long for the run; `start` returns when it has ended."""
    scheduler, clock = schedule(monkeypatch)
    gate = Gate()
    thread = started(scheduler, gate)
    clock.set_forward(60)
    assert gate.begun.acquire(timeout=LONG)
    scheduler.stop(timeout=0.01)
    assert not scheduler.running
    assert thread.is_alive()
    gate.go.release()
    thread.join(LONG)
    assert (thread.is_alive(), gate.ended) == (False, 1)


def test_stops_at_once() -> None:
    """With the real clock and an hour to wait, the end comes at once; it can start again."""
    scheduler = SchedulerCron("0 0 1 1 *")
    for _ in range(2):
        thread = started(scheduler, pytest.fail)
        while not scheduler.running:
            time.sleep(0.001)
        with pytest.raises(RuntimeError, match="on already"):
            scheduler.start(pytest.fail)
        begun = time.monotonic()
        scheduler.stop()
        thread.join(LONG)
        assert time.monotonic() - begun < LONG
        assert not thread.is_alive()


def test_ends_when_no_tick_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A schedule that can tick no more says so and returns."""
    scheduler, _ = schedule(monkeypatch)
    monkeypatch.setattr(scheduler_cron, "next_tick", lambda *_: None)
    scheduler.start(pytest.fail)
    assert not scheduler.running
    assert "no further tick" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """In the main thread SIGINT and SIGTERM end the schedule, and are then as before."""
    set_clock(monkeypatch, itertools.count(at("2026-07-01T10:00:30"), 20).__next__)
    scheduler = SchedulerCron("* * * * *")
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    scheduler.start(lambda: os.kill(os.getpid(), number))
    assert not scheduler.running
    assert scheduler.stopped_by == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_handlers_that_python_did_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler set from C cannot be set back, so the default one is."""
    made: list[tuple[int, Any]] = []
    scheduler = SchedulerCron("* * * * *")
    monkeypatch.setattr(scheduler_cron, "next_tick", lambda *_: None)
    monkeypatch.setattr(
        scheduler_cron,
        "signal",
        SimpleNamespace(
            SIGINT=2, SIGTERM=15, SIG_DFL="default", signal=lambda *args: made.append(args)
        ),
    )
    scheduler.start(pytest.fail)
    assert made[2:] == [(2, "default"), (15, "default")]


def test_other_threads_leave_signals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the main thread no handler is installed."""
    scheduler, clock = schedule(monkeypatch)
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []
    called = threading.Event()

    def workflow() -> None:
        seen.append(signal.getsignal(signal.SIGINT))
        called.set()

    thread = started(scheduler, workflow)
    clock.set_forward(30)
    assert called.wait(LONG)
    scheduler.stop()
    thread.join(LONG)
    assert seen[0] is before
