"""Trivial tasks, one after another: `sequential.py COUNT ROUNDS`, in microseconds a task."""

from __future__ import annotations

import gc
import sys
from statistics import median

from rounds import tell
from workload import timed

from dotflow import action


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def main(count: int, rounds: int) -> None:
    """Tell the medians of `rounds`, after one that warms up."""
    timed(step, count)
    figures = []
    for _ in range(rounds):
        gc.collect()
        figures.append(timed(step, count))
    tell({name: median(round_[name] for round_ in figures) for name in figures[0]})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
