"""Outcomes of other executors: whose they are, and when they came on the run's own clock."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.core.attempt import Attempt
from dotflow.providers import ExecutorFutures, executor_futures
from dotflow.testing import RecordingLog
from dotflow.workers.remote import Parcel, perform_packed

if TYPE_CHECKING:
    from dotflow.core.attempt import Outcome

_HOUR = 3600


@action
def one() -> int:
    """Return 1."""
    return 1


class ByHand(Executor):
    """An executor whose only future the test resolves."""

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        self.payload = b""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert fn is perform_packed
        (self.payload,) = args
        return self.future


class Clock:
    """The clocks of the run's machine: the wall's is 1,000 s ahead of the monotonic one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(executor_futures, "monotonic", lambda: self.now)
        monkeypatch.setattr(executor_futures, "monotonic_ns", lambda: int(self.now * 1e9))
        monkeypatch.setattr(executor_futures, "time_ns", lambda: int((self.now + 1000) * 1e9))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the run's machine."""
    return Clock(monkeypatch)


def outcome(clock: Clock, host: str, started: float, ended: float, to_wall: int) -> Outcome:
    """Return the outcome of an attempt that was submitted at 100 s and came back at 110 s."""
    executor = ByHand()
    session = ExecutorFutures(executor).session()
    clock.now = 100.0
    session.submit(7, Attempt(one, "one", "id", None, None, 0))
    value = perform_packed(executor.payload).value
    clock.now = 110.0
    executor.future.set_result(Parcel(value, None, started, ended, None, 42, host, to_wall))
    clock.now = 111.0
    ((ticket, found),) = session.wait(0)
    assert (ticket, found.value, found.failure) == (7, 1, None)
    assert (found.pid, found.host) == (42, host)
    return found


@pytest.mark.parametrize(
    ("started", "ended", "expected"),
    [
        (5000.0, 5004.0, (106.0, 110.0)),  # so late as it can be: what is left is the wait
        (-5004.0, -5000.0, (106.0, 110.0)),
        (5000.0, 5010.0, (100.0, 110.0)),
        (5000.0, 5090.0, (100.0, 110.0)),  # that clock runs too fast
        (5004.0, 5000.0, (110.0, 110.0)),  # or backwards
        (101.0, 103.0, (108.0, 110.0)),  # and if it looks right, that is by chance
    ],
)
def test_another_machine_tells_how_long_and_not_when(
    clock: Clock, started: float, ended: float, expected: tuple[float, float]
) -> None:
    """An attempt there lies between its being sent and its outcome, and lasts as it did."""
    found = outcome(clock, "elsewhere", started, ended, 0)
    assert (found.started, found.ended) == expected


@pytest.mark.parametrize("ahead", [0, _HOUR, -_HOUR])
@pytest.mark.parametrize("started", [5000.0, -5000.0])
def test_how_far_its_wall_clock_is_off(clock: Clock, started: float, ahead: int) -> None:
    """What its wall clock showed at the start becomes what ours showed then."""
    to_wall = int((1000 + 106 - started + ahead) * 1e9)
    found = outcome(clock, "elsewhere", started, started + 4, to_wall)
    assert found.shift == -ahead * 10**9
    shown = int(started * 1e9) + to_wall
    assert shown + found.shift == (1000 + 106) * 10**9


def test_this_machine_is_believed(clock: Clock) -> None:
    """On this machine the times are those that were taken."""
    found = outcome(clock, socket.gethostname(), 101.0, 103.0, 1000 * 10**9 + 1)
    assert (found.started, found.ended, found.shift) == (101.0, 103.0, 0)


def test_this_machine_with_another_time_of_day(clock: Clock) -> None:
    """A process of this machine may have been told another time of day, as by a test."""
    found = outcome(clock, socket.gethostname(), 101.0, 103.0, 4600 * 10**9)
    assert (found.started, found.ended, found.shift) == (101.0, 103.0, -_HOUR * 10**9)


@pytest.mark.parametrize(("started", "ended"), [(99.0, 103.0), (101.0, 111.0), (105.0, 104.0)])
def test_a_machine_of_the_same_name_is_not(clock: Clock, started: float, ended: float) -> None:
    """Times that cannot be ours are those of another machine, whatever its name."""
    found = outcome(clock, socket.gethostname(), started, ended, 0)
    lasted = max(0.0, ended - started)
    assert (found.started, found.ended) == (max(100.0, 110.0 - lasted), 110.0)
    assert found.shift != 0


def test_a_parcel_tells_of_its_process() -> None:
    """What comes back has the process, the host and the way from one clock to the other."""
    executor = ByHand()
    ExecutorFutures(executor).session().submit(1, Attempt(one, "one", "id", None, None, 0))
    parcel = perform_packed(executor.payload)
    assert (parcel.pid, parcel.host) == (os.getpid(), socket.gethostname())
    assert parcel.to_wall > 0


def test_an_interrupt_of_a_worker_is_a_failure_like_any_other() -> None:
    """Nobody pressed Ctrl-C here: the attempt has an error, and may be retried."""
    executor = ByHand()
    session = ExecutorFutures(executor).session()
    session.submit(7, Attempt(one, "one", "id", None, None, 0))
    executor.future.set_exception(KeyboardInterrupt())
    ((ticket, found),) = session.wait(0)
    assert ticket == 7
    assert found.failure is not None
    assert (found.failure.kind, found.failure.name) == ("error", "KeyboardInterrupt")


def test_an_interrupt_of_the_run_is_raised() -> None:
    """One that comes while an outcome is looked at ends the run, as it does at any other time."""

    class Interrupted(Future[Any]):
        def exception(self, timeout: float | None = None) -> BaseException | None:
            raise KeyboardInterrupt

        def result(self, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    executor = ByHand()
    executor.future = Interrupted()
    session = ExecutorFutures(executor).session()
    session.submit(7, Attempt(one, "one", "id", None, None, 0))
    executor.future.set_result(None)
    with pytest.raises(KeyboardInterrupt):
        session.wait(0)


INTERRUPTED = """
import threading
from concurrent.futures import ThreadPoolExecutor
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

pool = ThreadPoolExecutor(2)

@action
def step():
    return 1

def start(thread, start=threading.Thread.start):
    start(thread)
    if thread.name.startswith("ThreadPoolExecutor"):
        threading.Thread.start = start
        raise KeyboardInterrupt

threading.Thread.start = start
config = Config(executor=pool, log=RecordingLog())
flow = DotFlow(config=config)
flow.task.add(step)
try:
    flow.start(mode="parallel")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupted_while_a_thread_of_the_pool_starts() -> None:
    """The thread is one of the pool's all the same, and the interpreter exits."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


@pytest.mark.parametrize("timeout", [0, 60])
def test_coroutines_in_threads_are_cancelled(timeout: int) -> None:
    """When their run is interrupted: nobody waits for them, nor does the end of the pool."""
    begun, cancelled = threading.Event(), threading.Event()

    @action(timeout=timeout)
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def interrupt(task: object) -> None:
        assert begun.wait(30)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        flow = DotFlow(config=Config(executor=pool, log=RecordingLog()))
        flow.task.add(wait)
        flow.task.add(one, callback=interrupt)
        with pytest.raises(KeyboardInterrupt):
            flow.start(mode="parallel")
        assert cancelled.wait(30)
