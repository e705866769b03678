"""Contract section 15: SchedulerCron."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("croniter")

from dotflow.providers import SchedulerCron

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_SECOND = "* * * * * *"


def test_attributes() -> None:
    """cron, overlap and running are attributes; overlap is skip unless given."""
    scheduler = SchedulerCron("*/5 * * * *")
    assert (scheduler.cron, scheduler.overlap, scheduler.running) == ("*/5 * * * *", "skip", False)
    assert SchedulerCron(cron="* * * * *", overlap="queue").overlap == "queue"


@pytest.mark.parametrize("cron", ["nonsense", "", "61 * * * *", "* * *"])
def test_bad_cron_is_refused(cron: str) -> None:
    """A bad expression raises ValueError that names it, at construction."""
    with pytest.raises(ValueError, match="cron") as caught:
        SchedulerCron(cron)
    assert cron in str(caught.value)


def test_bad_overlap_is_refused() -> None:
    """A bad overlap raises ValueError that names it."""
    with pytest.raises(ValueError, match="sometimes"):
        SchedulerCron("* * * * *", overlap="sometimes")


def test_it_blocks_and_calls_until_it_is_stopped() -> None:
    """The call of start blocks and calls the workflow in a thread; stop ends it soon."""
    calls: list[tuple[dict[str, Any], int]] = []
    scheduler = SchedulerCron(EVERY_SECOND)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    during: list[Any] = []
    stopped: list[float] = []

    def job(**kwargs: Any) -> None:
        calls.append((kwargs, threading.get_ident()))
        during.append(
            (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), scheduler.running)
        )
        threading.Thread(target=stop).start()

    def stop() -> None:
        stopped.append(time.monotonic())
        scheduler.stop()

    scheduler.start(workflow=job, mode="parallel", resume=True)
    assert time.monotonic() - stopped[0] < 10
    assert calls[0][0] == {"mode": "parallel", "resume": True}
    assert calls[0][1] != threading.get_ident()
    assert during[0][2] is True
    assert during[0][0] != before[0]
    assert during[0][1] != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert scheduler.running is False


def _schedule(
    overlap: str,
    job: Callable[[SchedulerCron], None],
    wait: Callable[[], object],
    cron: str = EVERY_SECOND,
) -> SchedulerCron:
    scheduler = SchedulerCron(cron, overlap=overlap)
    thread = threading.Thread(target=scheduler.start, kwargs={"workflow": lambda: job(scheduler)})
    thread.start()
    try:
        wait()
    finally:
        scheduler.stop()
        thread.join(5)
    assert not thread.is_alive()
    return scheduler


def test_failing_run_does_not_stop_the_schedule(records: list[Any]) -> None:
    """A run that fails is logged with its error, and the next tick comes."""
    calls: list[int] = []
    twice = threading.Event()

    def job(_: SchedulerCron) -> None:
        calls.append(1)
        if len(calls) == 2:
            twice.set()
        raise RuntimeError("run broke")

    _schedule("skip", job, lambda: twice.wait(20))
    assert len(calls) >= 2
    logged = [record for record in records if record.exc_info]
    assert {str(record.exc_info[1]) for record in logged} == {"run broke"}


def test_skip_drops_ticks_while_one_runs() -> None:
    """With skip one run at a time: ticks that come meanwhile are dropped."""
    running, most, calls = [0], [0], [0]
    done = threading.Event()

    def job(_: SchedulerCron) -> None:
        calls[0] += 1
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(2.1)
        running[0] -= 1
        done.set()

    # A busy machine has almost two seconds to stop before the tick after the dropped one.
    _schedule("skip", job, lambda: done.wait(20), cron="* * * * * */2")
    assert most == [1]
    assert calls[0] == 1


def test_stop_from_a_signal(script: Any) -> None:
    """SIGTERM to a program in start() ends the schedule; the program goes on after it."""
    done = script("""
        import os, signal, threading, time
        from dotflow.providers import SchedulerCron

        def terminate():
            while signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGTERM)

        scheduler = SchedulerCron("0 0 1 1 *")
        threading.Thread(target=terminate).start()
        scheduler.start(workflow=lambda: None)
        print("went on", scheduler.running)
    """)
    assert done.stdout.split() == ["went", "on", "False"], done.stderr
