"""Trivial tasks, one after another: `sequential.py COUNT ROUNDS`, in microseconds a task."""

from __future__ import annotations

import sys

from rounds import tell
from workload import medians

from dotflow import action


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def main(count: int, rounds: int) -> None:
    """Return the medians of `rounds`, after one that warms up."""
    tell(medians(step, count, rounds))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
