"""Runs that are interrupted twice or more leave nothing to wait for, wherever it happens.

`test_interrupted_again.py` runs this file in an interpreter of its own.
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest
from interrupting import InterruptingResult, Interrupts, flow_on
from waiting import wait_for

from dotflow import action
from dotflow.workers.usage import worker_usage

if TYPE_CHECKING:
    from dotflow.providers import ExecutorLocal

# An interrupt may come while a generator is finalized, and Python reports it as nobody's.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@action
def one() -> int:
    """Return a number."""
    return 1


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
