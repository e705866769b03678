"""What the workloads share: a silent log, a flow of one step many times, and how to tell."""

from __future__ import annotations

import json
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dotflow import Config, DotFlow
from dotflow.abc.log import Log

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def flow_of(step: Any, count: int) -> DotFlow:
    """Build a flow that has `step` as its task, `count` times."""
    flow = DotFlow(config=Config(log=SilentLog()))
    for _ in range(count):
        flow.task.add(step)
    return flow


def timed(step: Any, count: int, **options: Any) -> dict[str, float]:
    """Build and run a flow; give both times, in microseconds a task."""
    begun = perf_counter()
    flow = flow_of(step, count)
    built = perf_counter()
    flow.start(**options)
    ended = perf_counter()
    check(flow, count)
    share = 1e6 / count
    return {"run": (ended - built) * share, "build_and_run": (ended - begun) * share}


def check(flow: DotFlow, count: int) -> None:
    """Raise unless every task ran and completed: what did not run is not fast."""
    done = [task for task in flow.result_task() if task.status == "Completed"]
    if len(done) != count:
        raise RuntimeError(f"{len(done)} of {count} tasks completed")


def tell(figures: Mapping[str, float]) -> None:
    """Hand the figures to the driver: one line of JSON."""
    print(json.dumps(figures))
