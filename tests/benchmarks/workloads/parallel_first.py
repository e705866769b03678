"""The first run in workers: `parallel_first.py COUNT WORKERS`, in ms, `start()` alone."""

from __future__ import annotations

import sys

from rounds import tell
from workload import timed

from dotflow import action
from dotflow.providers import ExecutorLocal


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def main(count: int, workers: int) -> None:
    """Return how long it takes, with the start of the workers."""
    share = timed(step, count, ExecutorLocal(workers=workers), mode="parallel")["run"]
    tell({"run": share * count / 1e3})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
