"""Trivial tasks in warm workers: `parallel_warm.py COUNT WORKERS ROUNDS`, us a task.

`in_flight` is how many attempts the executor has at a time, counted in a run of its own.
"""

from __future__ import annotations

import sys
from statistics import median

from in_flight import Counting
from rounds import tell
from workload import SilentLog, check, timed

from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def in_flight(executor: ExecutorLocal) -> int:
    """Count in a run that is long enough to have as many as there can be."""
    counting, count = Counting(executor), 1000
    flow = DotFlow(config=Config(log=SilentLog(), executor=counting))
    for _ in range(count):
        flow.task.add(step)
    flow.start(mode="parallel")
    check(flow, count)
    return counting.most


def main(count: int, workers: int, rounds: int) -> None:
    """Return the median of `rounds`, after a run that warms up."""
    executor = ExecutorLocal(workers=workers)
    most = in_flight(executor)
    figures = [timed(step, count, executor, mode="parallel")["run"] for _ in range(rounds)]
    tell({"run": median(figures), "in_flight": most})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
