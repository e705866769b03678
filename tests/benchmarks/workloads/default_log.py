"""Trivial tasks with the default configuration: `default_log.py COUNT ROUNDS`, in us a task.

What the default log writes to stderr goes to /dev/null.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

from rounds import tell
from workload import check

from dotflow import DotFlow, action


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def run(count: int) -> float:
    """Build a flow and tell how long its `start()` takes, in microseconds a task."""
    flow = DotFlow()
    for _ in range(count):
        flow.task.add(step)
    gc.collect()
    begun = perf_counter()
    flow.start()
    spent = perf_counter() - begun
    check(flow, count)
    return spent * 1e6 / count


def main(count: int, rounds: int) -> None:
    """Return the median of `rounds`, after one that warms up."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        # The descriptor, so that it does not matter who holds which stream.
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
        figures = [run(count) for _ in range(rounds + 1)]
    tell({"run": median(figures[1:])})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
