"""Runs that are interrupted twice or more, in quick succession, leave nothing to wait for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from interrupting import InterruptingResult, Interrupts
from waiting import wait_for

from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault
from dotflow.workers.usage import worker_usage

if TYPE_CHECKING:
    from collections.abc import Iterator

# An interrupt may come while a generator is finalized, and Python reports it as nobody's.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# Each round a run of two steps that sleep long is interrupted three times within 2 ms.
PROGRAM: Final = """
import faulthandler, os, random, signal, sys, threading, time
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault

faulthandler.dump_traceback_later(50, exit=True)
random.seed(int(sys.argv[1]))
executor = ExecutorLocal(workers=2)

@action
def short():
    return 1

@action
def long():
    time.sleep(60)

def flow(*steps):
    made = DotFlow(config=Config(log=LogDefault(output="file", path=os.devnull), executor=executor))
    made.task.add(list(steps))
    return made

def press(ended):
    time.sleep(random.random() * 0.05)
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(random.random() * 0.001)
    ended.set()

for number in range(10):
    ended = threading.Event()
    interrupted, caught = flow(short, long, short, long), False
    try:
        threading.Thread(target=press, args=(ended,)).start()
        interrupted.start(mode="parallel")
    except KeyboardInterrupt:
        pass
    while not caught:
        try:
            ended.wait()
            caught = True
        except KeyboardInterrupt:
            pass
    after = flow(short)
    after.start(mode="parallel")
    assert after.result_storage() == [1], number
    until = time.monotonic() + 10
    while executor.pool.counts()[1] and time.monotonic() < until:
        time.sleep(0.01)  # the end of an interrupted run may go on in a thread of its own
    assert executor.pool.counts()[1] == 0
print("ended")
"""


@action
def one() -> int:
    """Return a number."""
    return 1


@pytest.fixture
def executor() -> Iterator[ExecutorLocal]:
    """Return a single worker of this test's own."""
    made = ExecutorLocal(workers=1)
    yield made
    made.close()


def flow_on(executor: ExecutorLocal, *steps: Any) -> DotFlow:
    """Make a workflow that logs to nowhere."""
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(list(steps))
    return flow


def is_quiet(executor: ExecutorLocal) -> bool:
    """Return whether no worker is lent, and none counts as busy."""
    assert executor.pool is not None
    return executor.pool.counts()[1] == 0 and worker_usage.busy() == 0


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 does not tell every step")
@pytest.mark.parametrize("part", range(4))
def test_interrupted_while_it_ends(part: int, executor: ExecutorLocal) -> None:
    """Wherever a second and a third interrupt come, no worker stays lent; the next run gets one."""
    owner, chosen = os.getpid(), random.Random(part)  # noqa: S311 - to be repeatable

    @action
    def interrupting() -> InterruptingResult:
        return InterruptingResult(owner)

    # All places of the hand-over one after another, and some of what follows.
    seconds = [*range(part, 16, 4), chosen.randrange(16, 200)]
    for second in seconds:
        interrupts = Interrupts([second, chosen.randrange(20)], after_first=True)
        interrupts.within(lambda: flow_on(executor, interrupting, one).start(mode="parallel"))
        assert interrupts.came
        wait_for(lambda: is_quiet(executor), 10)
        flow = flow_on(executor, one)
        flow.start(mode="parallel")
        assert flow.result_storage() == [1], second


@pytest.mark.parametrize("part", range(2))
def test_interrupted_at_any_moment(part: int, executor: ExecutorLocal) -> None:
    """Three interrupts at moments of a whole run, drawn by lot: the next run ends."""
    chosen = random.Random(part)  # noqa: S311 - to be repeatable
    flow_on(executor, one).start(mode="parallel")
    for _ in range(10):
        gaps = [chosen.randrange(1_000), chosen.randrange(60), chosen.randrange(60)]
        interrupts = Interrupts(gaps)
        interrupts.within(lambda: flow_on(executor, one, one).start(mode="parallel"))
        wait_for(lambda: is_quiet(executor), 10)
        flow = flow_on(executor, one)
        flow.start(mode="parallel")
        assert flow.result_storage() == [1], gaps


@pytest.mark.parametrize("seed", [1, 2])
def test_a_key_that_bounces(seed: int) -> None:
    """Three signals within 2 ms, at any time of a run: the process runs the next one."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr
