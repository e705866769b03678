"""Very many tasks: `many.py MODE COUNT WORKERS`.

`run` is in microseconds a task. `workers` is the most child processes that there were at a
time. `growth` tells by how many bytes the process of the run grew from the end of the first
1,000 tasks (of the first tenth, where there are fewer than 10,000) to that of the last, a task.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from time import perf_counter
from typing import Any

from proc import memory, most_children
from rounds import tell
from workload import SilentLog, check

from dotflow import Config, DotFlow, action
from dotflow.abc.metrics import Metrics
from dotflow.providers import ExecutorLocal


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


class MemoryAt(Metrics):
    """Notes the memory of this process when so many tasks have completed."""

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.completed = 0
        self.bytes = 0

    def task_completed(self, task: Any) -> None:
        """Count."""
        self.completed += 1
        if self.completed == self.mark:
            self.bytes = resident()

    def _nothing(self, *args: Any, **kwargs: Any) -> None: ...

    workflow_started = workflow_completed = workflow_failed = _nothing
    task_failed = task_retried = _nothing


resident = partial(memory, os.getpid(), "VmRSS")


def flow_of(metrics: Metrics, executor: ExecutorLocal, count: int) -> DotFlow:
    """Build the flow."""
    flow = DotFlow(config=Config(log=SilentLog(), metrics=metrics, executor=executor))
    for _ in range(count):
        flow.task.add(step)
    return flow


def main(mode: str, count: int, workers: int) -> None:
    """Return the figures of one run, after a small one that warms up."""
    executor = ExecutorLocal(workers=workers)
    flow_of(MemoryAt(0), executor, 10).start(mode=mode)
    early = MemoryAt(min(1000, count // 10))
    flow = flow_of(early, executor, count)
    gc.collect()
    with most_children() as most:
        begun = perf_counter()
        flow.start(mode=mode)
        spent = perf_counter() - begun
    growth = (resident() - early.bytes) / (count - early.mark)
    check(flow, count)
    tell({"run": spent * 1e6 / count, "workers": most.count, "growth": growth})


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
