"""Trivial tasks in workers, twice in one process: `parallel.py COUNT`, us a task."""

from __future__ import annotations

import sys

from rounds import tell
from workload import timed

from dotflow import action


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def main(count: int) -> None:
    """Return the first run, which starts the workers, and the second."""
    first, second = (timed(step, count, mode="parallel")["run"] for _ in range(2))
    tell({"first": first, "second": second})


if __name__ == "__main__":
    main(int(sys.argv[1]))
