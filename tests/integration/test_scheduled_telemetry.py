"""A schedule's own telemetry: each tick a span above its run, and ticks counted by what became."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from dotflow import DotFlow, action
from dotflow.core.hooks import ScheduleHooks
from dotflow.providers import SchedulerCron, scheduler_cron
from dotflow_otel import record_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

LONG = 10.0
CRON = "* * * * *"
START = datetime(2026, 7, 1, 10, 0, 30, tzinfo=UTC).timestamp()


@action
def step() -> None:
    """Do nothing."""


def schedule(
    monkeypatch: pytest.MonkeyPatch, now: Callable[[], float] | None = None, **options: Any
) -> SchedulerCron:
    """Return a schedule on a clock; unless given, one that goes 20 seconds at each look."""
    now = itertools.count(START, 20).__next__ if now is None else now
    monkeypatch.setattr(scheduler_cron, "time", SimpleNamespace(time=now))
    return SchedulerCron(CRON, **options)


def test_a_tick_is_the_parent_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span of the run is the child of that of its tick, and this one of the caller's."""
    scheduler = schedule(monkeypatch)
    with record_telemetry() as telemetry:
        telemetry.config.scheduler = scheduler
        flow = DotFlow(telemetry.config, name="nightly")
        flow.task.add(step)
        with trace.get_tracer("mine").start_as_current_span("caller"):
            flow.schedule(on_success=lambda **_: scheduler.stop())
        telemetry.assert_balanced()
        (caller,) = telemetry.roots
        # On a machine that is busy the next tick comes before the run has ended, and is skipped.
        (tick,) = [each for each in caller.children if each.children]
        assert (caller.name, tick.name) == ("caller", "tick nightly")
        assert [each.name for each in tick.children] == ["workflow nightly"]
        attributes = dict(tick.attributes)
        assert attributes.pop("dotflow.tick.delay") > 1
        assert attributes == {
            "dotflow.workflow.name": "nightly",
            "dotflow.tick.schedule": CRON,
            "dotflow.tick.due": "2026-07-01T10:01:00+00:00",
        }
        assert not tick.failed
        assert telemetry.metric("dotflow_tick_fired_total", workflow="nightly") == 1
        assert telemetry.metric("dotflow_tick_late_total", workflow="nightly") == 1


def test_each_tick_begins_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a caller's span each tick is the root of a trace of its own."""
    scheduler = schedule(monkeypatch, overlap="queue")
    runs = itertools.count(1)
    with record_telemetry() as telemetry:
        telemetry.config.scheduler = scheduler
        flow = DotFlow(telemetry.config, name="nightly")
        flow.task.add(step)
        flow.schedule(on_success=lambda **_: next(runs) < 3 or scheduler.stop())
        ran = [root for root in telemetry.roots if root.children]
        assert [root.name for root in ran] == ["tick nightly"] * 3
        assert len({root.trace_id for root in ran}) == 3


def test_skipped_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that does not run is a short span that tells why, and is counted with its reason."""
    times = iter([START, START])
    scheduler = schedule(monkeypatch, lambda: next(times, START + 4 * 60))
    with record_telemetry() as telemetry:
        scheduler.observe(ScheduleHooks(telemetry.config, "nightly"))
        scheduler.start(scheduler.stop)
        skipped = [each for each in telemetry.roots if "dotflow.tick.skipped" in each.attributes]
        assert [(each.name, dict(each.attributes)) for each in skipped] == [
            (
                "tick nightly",
                {
                    "dotflow.workflow.name": "nightly",
                    "dotflow.tick.schedule": CRON,
                    "dotflow.tick.due": f"2026-07-01T10:0{minute}:00+00:00",
                    "dotflow.tick.skipped": "missed",
                },
            )
            for minute in (1, 2, 3)
        ]
        name = "dotflow_tick_skipped_total"
        assert telemetry.metric(name, workflow="nightly", reason="missed") == 3
        assert telemetry.metric("dotflow_tick_fired_total", workflow="nightly") == 1


def test_a_run_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the scheduled call raises is in the tick's span, which ends."""
    scheduler = schedule(monkeypatch)

    def fail() -> None:
        scheduler.stop()
        raise LookupError("no queue")

    with record_telemetry() as telemetry:
        scheduler.observe(ScheduleHooks(telemetry.config, "nightly"))
        scheduler.start(fail)
        tick = telemetry.span("tick nightly")
        assert (tick.failed, tick.error_type) == (True, "LookupError")


def test_sigterm_ends_a_tick_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGTERM the run that goes on ends as it would have, with all of its telemetry."""
    scheduler = schedule(monkeypatch, overlap="queue")

    @action
    def terminated() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            if not scheduler.running:
                break
            threading.Event().wait(0.01)
        return "done"

    with record_telemetry() as telemetry:
        telemetry.config.scheduler = scheduler
        flow = DotFlow(telemetry.config, name="nightly")
        flow.task.add([terminated, step])
        flow.schedule()
        assert scheduler.stopped_by == signal.SIGTERM
        assert flow.result_storage() == ["done", None]
        telemetry.assert_balanced()
        ran = [root for root in telemetry.roots if root.children]
        (run,) = ran[0].children
        assert (len(ran), run.failed) == (1, False)
        assert [task.name for task in run.children] == ["task terminated", "task step"]
