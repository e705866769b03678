"""What the workloads share: a silent log, and a flow of one step many times."""

from __future__ import annotations

import gc
from statistics import median
from time import perf_counter
from typing import Any

from dotflow import Config, DotFlow
from dotflow.abc.log import Log


class SilentLog(Log):
    """Writes nothing, at any level."""

    def info(self, **kwargs: Any) -> None:
        """Write nothing."""

    def error(self, **kwargs: Any) -> None:
        """Write nothing."""

    def warning(self, **kwargs: Any) -> None:
        """Write nothing."""

    def debug(self, **kwargs: Any) -> None:
        """Write nothing."""


def flow_of(step: Any, count: int, executor: Any = None) -> DotFlow:
    """Build a flow that has `step` as its task, `count` times.

    Args:
        step: The step.
        count: How many tasks.
        executor: Where they run in mode `parallel`; dotflow 1.0.1 knows none.
    """
    where = {} if executor is None else {"executor": executor}
    flow = DotFlow(config=Config(log=SilentLog(), **where))
    for _ in range(count):
        flow.task.add(step)
    return flow


def timed(step: Any, count: int, executor: Any = None, **options: Any) -> dict[str, float]:
    """Build and run a flow; give both times, in microseconds a task."""
    begun = perf_counter()
    flow = flow_of(step, count, executor)
    built = perf_counter()
    flow.start(**options)
    ended = perf_counter()
    check(flow, count)
    share = 1e6 / count
    return {"run": (ended - built) * share, "build_and_run": (ended - begun) * share}


def medians(step: Any, count: int, rounds: int) -> dict[str, float]:
    """Return the medians of the figures of `timed`, after one round that warms up."""
    timed(step, count)
    figures = []
    for _ in range(rounds):
        gc.collect()
        figures.append(timed(step, count))
    return {name: median(each[name] for each in figures) for name in figures[0]}


def check(flow: DotFlow, count: int) -> None:
    """Raise unless every task ran and completed: what did not run is not fast."""
    done = [task for task in flow.result_task() if task.status == "Completed"]
    if len(done) != count:
        raise RuntimeError(f"{len(done)} of {count} tasks completed")
