"""Trivial tasks that take each other's value: `chain.py COUNT ROUNDS`, in microseconds a task."""

from __future__ import annotations

import sys

from rounds import tell
from workload import medians

from dotflow import Context, action


@action
def step(previous_context: Context) -> int:
    """Do nothing that takes time with what the one before gave."""
    return 1


def main(count: int, rounds: int) -> None:
    """Return the median of `rounds`, after one that warms up."""
    tell({"run": medians(step, count, rounds)["run"]})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
