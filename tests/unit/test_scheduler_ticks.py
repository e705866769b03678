"""`SchedulerCron`: ticks that are missed, late, spread, skipped, and who is notified of them."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from log_records import own_records

from dotflow import Config, DotFlow, action
from dotflow.abc.noop import is_noop
from dotflow.abc.scheduler import ScheduleObserver, Scheduler, Tick
from dotflow.core.exception import InvalidOption
from dotflow.providers import LogDefault, SchedulerCron, SchedulerDefault, scheduler_cron
from dotflow.providers.scheduled_runs import Jobs, overlap_of
from dotflow.testing import RecordingMetrics, RecordingTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 10.0
CRON = "* * * * *"


def at(text: str) -> float:
    """Seconds since the epoch of a time of the day of these tests."""
    return datetime.fromisoformat(f"2026-07-01T{text}").replace(tzinfo=UTC).timestamp()


class Watching(ScheduleObserver):
    """Keeps what it is notified of."""

    def __init__(self) -> None:
        self.fired: list[Tick] = []
        self.skipped: list[tuple[str, str]] = []
        self.inside: list[float] = []

    @contextmanager
    def tick_scope(self, tick: Tick) -> Iterator[None]:
        """Note that the run is inside."""
        self.inside.append(tick.due)
        yield

    def tick_fired(self, tick: Tick) -> None:
        """Keep it."""
        self.fired.append(tick)

    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """Keep it."""
        self.skipped.append((shown(tick.due), reason))


def shown(time: float) -> str:
    """Return the time of day."""
    return f"{datetime.fromtimestamp(time, UTC):%H:%M:%S}"


def looked_at(
    monkeypatch: pytest.MonkeyPatch, times: list[str], *, ends_after: int, **options: Any
) -> Watching:
    """Return what is noted by a schedule that looks at the clock at some times only.

    Args:
        monkeypatch: That of the test.
        times: What the clock shows from the start, one after another; then the last one.
        ends_after: How many runs end the schedule.
        **options: Those of the schedule.
    """
    watching = Watching()
    left = [at(each) for each in (times[0], *times)]  # it is looked at before the start, too
    lock = threading.Lock()

    def now() -> float:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(scheduler_cron, "time", SimpleNamespace(time=now))
    monkeypatch.setattr(scheduler_cron, "SLICE", 0.001)
    scheduler = SchedulerCron(CRON, **options)
    scheduler.observe(watching)
    ran = threading.Semaphore(0)
    thread = threading.Thread(target=scheduler.start, args=(ran.release,))
    thread.start()
    for _ in range(ends_after):
        if not ran.acquire(timeout=LONG):
            break  # what is noted tells
    scheduler.stop()
    thread.join(LONG)
    assert not thread.is_alive()
    return watching


SLEPT = ["10:00:30", "10:06:01"]


@pytest.mark.parametrize(
    ("times", "options", "fired", "missed"),
    [
        # In time, and a little late.
        (["10:00:30", "10:01:00"], {}, ["10:01:00"], []),
        (["10:00:30", "10:01:04"], {"catch_up": 0}, ["10:01:00"], []),
        # Nobody looked for five minutes: the last tick, by default.
        (SLEPT, {}, ["10:06:00"], [1, 2, 3, 4, 5]),
        (SLEPT, {"catch_up": 0}, ["10:06:00"], [1, 2, 3, 4, 5]),
        (SLEPT, {"catch_up": 3}, ["10:04:00", "10:05:00", "10:06:00"], [1, 2, 3]),
        (
            SLEPT,
            {"catch_up": 3, "overlap": "queue"},
            ["10:04:00", "10:05:00", "10:06:00"],
            [1, 2, 3],
        ),
        (SLEPT, {"catch_up": 1000}, [f"10:0{n}:00" for n in range(1, 7)], []),
        # The last one is late as well.
        ([SLEPT[0], "10:06:30"], {}, ["10:06:00"], [1, 2, 3, 4, 5]),
    ],
)
def test_ticks_that_nobody_looked_at(
    monkeypatch: pytest.MonkeyPatch,
    times: list[str],
    options: dict[str, Any],
    fired: list[str],
    missed: list[int],
) -> None:
    """Of those that came meanwhile the latest are run, one after another; the rest is skipped."""
    watching = looked_at(monkeypatch, times, ends_after=len(fired), **options)
    assert [shown(tick.due) for tick in watching.fired] == fired
    assert watching.inside == [tick.due for tick in watching.fired]
    assert watching.skipped == [(f"10:0{minute}:00", "missed") for minute in missed]


def test_nothing_is_caught_up_that_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `catch_up=0` a tick that is older than five seconds is skipped, and the next runs."""
    times = ["10:00:30", "10:02:30", "10:02:30", "10:02:30", "10:02:30", "10:02:30", "10:03:00"]
    watching = looked_at(monkeypatch, times, ends_after=1, catch_up=0)
    assert [shown(tick.due) for tick in watching.fired] == ["10:03:00"]
    assert watching.skipped == [("10:01:00", "missed"), ("10:02:00", "missed")]


def test_a_clock_that_jumps_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a jump by a year a thousand ticks are looked at, the last one among them is run."""
    year = 365 * 24 * 3600.0
    times = iter([at("10:00:30"), at("10:00:30")])
    monkeypatch.setattr(
        scheduler_cron,
        "time",
        SimpleNamespace(time=lambda: next(times, at("10:00:30") + year)),
    )
    watching = Watching()
    scheduler = SchedulerCron(CRON)
    scheduler.observe(watching)
    scheduler.start(scheduler.stop)
    assert [tick.due for tick in watching.fired] == [at("10:00:00") + year]
    assert len(watching.skipped) == 1000


def test_delay_of_a_tick() -> None:
    """A tick is late whose run begins more than a second after it; it is never early."""
    tick = Tick(100.0)
    assert (tick.delay, tick.is_late) == (0.0, False)
    assert (tick._replace(began=101.0).delay, tick._replace(began=101.0).is_late) == (1.0, False)
    assert (tick._replace(began=101.5).delay, tick._replace(began=101.5).is_late) == (1.5, True)
    assert tick._replace(began=99.0).delay == 0.0


@pytest.mark.parametrize(("chance", "due"), [(0.0, "10:01:00"), (7.5, "10:01:07")])
def test_jitter(monkeypatch: pytest.MonkeyPatch, chance: float, due: str) -> None:
    """A tick comes later by chance, and is not late for that."""
    asked: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        asked.append((least, most))
        return chance

    monkeypatch.setattr(scheduler_cron, "uniform", uniform)
    watching = looked_at(monkeypatch, ["10:00:30", "10:01:08"], ends_after=1, jitter=10)
    assert asked[0] == (0.0, 10)
    assert shown(watching.fired[0].due) == due
    assert watching.skipped == []


def test_jitter_beyond_the_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick is put off to the next one at most, so that none is lost."""
    monkeypatch.setattr(scheduler_cron, "uniform", lambda _, most: most)
    times = ["10:00:30", "10:02:00", "10:02:00", "10:02:00", "10:02:00", "10:02:00", "10:03:00"]
    watching = looked_at(monkeypatch, times, ends_after=2, jitter=3600, overlap="queue")
    assert [shown(tick.due) for tick in watching.fired] == ["10:02:00", "10:03:00"]
    assert watching.skipped == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("jitter", -1),
        ("jitter", "5"),
        ("jitter", None),
        ("catch_up", -1),
        ("catch_up", 1001),
        ("catch_up", 1.5),
        ("catch_up", True),
        ("catch_up", None),
    ],
)
def test_wrong_numbers(option: str, value: Any) -> None:
    """What `jitter` and `catch_up` cannot be is an error that names it."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidOption, match=f"^{option}={value!r} is not valid: give a "):
        SchedulerCron(CRON, **options)


def held(overlap: str, **options: Any) -> tuple[Jobs, Watching, threading.Event]:
    """Return jobs whose runs go on until an event."""
    go, watching = threading.Event(), Watching()

    def run() -> None:
        assert go.wait(LONG)

    return Jobs(overlap_of(overlap), run, watching, **options), watching, go


def test_skipped_for_overlap() -> None:
    """A tick that finds no room is skipped, unless it is caught up and may wait."""
    jobs, watching, go = held("skip", caught_up=2)
    ticks = [Tick(at(f"10:0{minute}:00")) for minute in range(6)]
    assert jobs.offer(ticks[0])
    assert not jobs.offer(ticks[1])
    assert [jobs.offer(tick, catching_up=True) for tick in ticks[2:5]] == [True, True, False]
    assert watching.skipped == [("10:01:00", "overlap"), ("10:04:00", "overlap")]
    go.set()
    jobs.join(LONG)
    assert [shown(tick.due) for tick in watching.fired] == ["10:00:00", "10:02:00", "10:03:00"]


def test_skipped_at_the_end() -> None:
    """What waits when the schedule ends is skipped."""
    jobs, watching, go = held("queue")
    assert [jobs.offer(Tick(at(f"10:0{minute}:00"))) for minute in range(2)] == [True, True]
    jobs.close()
    go.set()
    jobs.join(LONG)
    assert watching.skipped == [("10:01:00", "stopped")]
    assert len(watching.fired) == 1


def test_skipped_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick for which the system has no thread is skipped."""
    jobs, watching, _ = held("skip")

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert not jobs.offer(Tick(at("10:00:00")))
    assert watching.skipped == [("10:00:00", "no_thread")]


def test_an_observer_is_for_one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later start without an observer notifies none."""
    clock = itertools.count(at("10:00:30"), 20)
    monkeypatch.setattr(scheduler_cron, "time", SimpleNamespace(time=clock.__next__))
    watching = Watching()
    scheduler = SchedulerCron(CRON)
    scheduler.observe(watching)
    for _ in range(2):
        scheduler.start(scheduler.stop)
    assert len(watching.fired) == 1


def test_schedulers_of_1x_are_not_observed() -> None:
    """A scheduler of a user's own need not know of observers."""
    started: list[object] = []

    class Mine(Scheduler):
        def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
            started.append(kwargs)
            workflow(**kwargs)

        def stop(self) -> None:
            """Do nothing."""

    assert is_noop(Mine().observe)
    assert is_noop(SchedulerDefault().observe)
    flow = DotFlow(Config(scheduler=Mine(), log=LogDefault(level="ERROR")))
    flow.schedule(mode="sequential")
    assert started == [{"mode": "sequential"}]


@action
def step() -> None:
    """Do nothing."""


class Tracer(RecordingTracer):
    """Keeps ticks, and raises at each."""

    ticks: list[Tick]

    def tick_scope(self, tick: Tick) -> None:  # type: ignore[override]
        """Keep it."""
        self.ticks.append(tick)
        raise ValueError("broken")


class Metrics(RecordingMetrics):
    """Keeps ticks, and raises at each."""

    ticks: list[Tick]

    def tick_fired(self, tick: Tick) -> None:
        """Keep it."""
        self.ticks.append(tick)
        raise ValueError("broken")


def test_providers_are_notified_and_guarded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`DotFlow.schedule` has tracer and metrics notified by the flow's name; errors stop no run."""
    clock = iter([at("10:00:30"), at("10:00:30")])
    now = SimpleNamespace(time=lambda: next(clock, at("10:01:00")))
    monkeypatch.setattr(scheduler_cron, "time", now)
    scheduler = SchedulerCron(CRON)
    tracer, metrics = Tracer([]), Metrics([])
    tracer.ticks, metrics.ticks = [], []
    log = LogDefault(level="ERROR")
    config = Config(tracer=tracer, metrics=metrics, scheduler=scheduler, log=log)
    flow = DotFlow(config, name="nightly")
    flow.task.add(step)
    flow.schedule(on_success=lambda **_: scheduler.stop())
    expected = Tick(at("10:01:00"), CRON, at("10:01:00"), "nightly")
    assert (tracer.ticks, metrics.ticks) == ([expected], [expected])
    messages = [record.message for record in own_records(caplog)]
    assert [message.split(" raised ")[0] for message in messages] == [
        "Metrics.tick_fired",
        "Tracer.tick_scope",
    ]
