"""Trivial tasks that take each other's value: `chain.py COUNT ROUNDS`, in microseconds a task."""

from __future__ import annotations

import gc
import sys
from statistics import median

from rounds import tell
from workload import timed

from dotflow import Context, action


@action
def step(previous_context: Context) -> int:
    """Do nothing that takes time with what the one before gave."""
    return 1


def main(count: int, rounds: int) -> None:
    """Tell the median of `rounds`, after one that warms up."""
    timed(step, count)
    figures = []
    for _ in range(rounds):
        gc.collect()
        figures.append(timed(step, count)["run"])
    tell({"run": median(figures)})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
