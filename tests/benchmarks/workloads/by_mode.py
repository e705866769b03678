"""One mode of ours, for the plot: `by_mode.py MODE off|on COUNT SECONDS`, us a task.

With telemetry `on` there are traces, whose spans the batch processor gives to nobody, and
metrics. The groups of `sequential_group` are ten.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rounds import tell_share, timed_call, within
from workload import SilentLog, check

from dotflow import Config, DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable

_GROUPS = 10


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def two_workers() -> dict[str, Any]:
    """Return an executor with two workers, as a keyword; dotflow 1.0.1 knows none."""
    try:
        from dotflow.providers import ExecutorLocal
    except ImportError:
        return {}
    return {"executor": ExecutorLocal(workers=2)}


def observed() -> tuple[Config, Callable[[], object]]:
    """Return a configuration with telemetry, and what ends it."""
    from observed import null_provider
    from prometheus_client import CollectorRegistry

    from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry

    provider = null_provider(queue=1 << 20)
    tracer = TracerOpenTelemetry(tracer_provider=provider)
    metrics = MetricsPrometheus(CollectorRegistry())
    config = Config(log=SilentLog(), tracer=tracer, metrics=metrics, **two_workers())
    return config, provider.shutdown


def run(config: Config, mode: str, count: int) -> float:
    """Build a flow and tell how many seconds it takes from `start` to its end."""
    flow = DotFlow(config=config)
    for index in range(count):
        group = f"group {index % _GROUPS}" if mode == "sequential_group" else "default"
        flow.task.add(step, group_name=group)

    def to_its_end() -> None:
        manager = flow.start(mode=mode)
        if mode == "background":
            manager.thread.join()

    spent = timed_call(to_its_end)
    check(flow, count)
    return spent


def main(mode: str, telemetry: str, count: int, seconds: float) -> None:
    """Return the median of the rounds that fit into the time."""
    silent = Config(log=SilentLog(), **two_workers())
    config, end = observed() if telemetry == "on" else (silent, lambda: None)
    tell_share(within(seconds, lambda: run(config, mode, count)), count)
    end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
