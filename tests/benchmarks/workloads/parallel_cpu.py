"""Two tasks that work for a second each, at the same time: `parallel_cpu.py SECONDS`, in s.

A task ends when its process has had that much of a core, so that what else the machine does
makes the run longer and never the work less.
"""

from __future__ import annotations

import sys
from time import process_time

from rounds import tell
from workload import timed

from dotflow import action
from dotflow.providers import ExecutorLocal

_TASKS = 2


def main(seconds: float) -> None:
    """Return how long the second run takes: the first one starts the workers."""

    @action
    def trivial() -> int:
        return 1

    @action
    def work() -> int:
        until, laps = process_time() + seconds, 0
        while process_time() < until:
            laps += 1
        return laps

    executor = ExecutorLocal(workers=_TASKS)
    timed(trivial, 100, executor, mode="parallel")
    share = timed(work, _TASKS, executor, mode="parallel")["run"]
    tell({"run": share * _TASKS / 1e6})


if __name__ == "__main__":
    main(float(sys.argv[1]))
