"""The first run in workers: `observed_first.py on|off COUNT WORKERS`, in ms, `start()` alone.

`on`: with traces and metrics, which are set up before; every span arrives, or it raises.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING

from rounds import tell
from workload import SilentLog, check

from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Callable


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def main(telemetry: str, count: int, workers: int) -> None:
    """Return how long it takes, with the start of the workers."""
    executor = ExecutorLocal(workers=workers)
    config, arrived = Config(log=SilentLog(), executor=executor), None
    if telemetry == "on":
        config, arrived = _observed(executor)
    flow = DotFlow(config=config)
    for _ in range(count):
        flow.task.add(step)
    began = perf_counter()
    flow.start(mode="parallel")
    took = perf_counter() - began
    check(flow, count)
    if arrived is not None and arrived() != 1 + 2 * count:
        raise RuntimeError(f"{arrived()} spans arrived of {1 + 2 * count}")
    tell({"run": took * 1e3})


def _observed(executor: ExecutorLocal) -> tuple[Config, Callable[[], int]]:
    from observed import null_provider
    from observed_parallel import CountingExporter
    from prometheus_client import CollectorRegistry

    from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry

    exporter = CountingExporter()
    provider = null_provider(exporter, queue=2048)
    config = Config(
        log=SilentLog(),
        executor=executor,
        tracer=TracerOpenTelemetry(tracer_provider=provider),
        metrics=MetricsPrometheus(CollectorRegistry()),
    )

    def arrived() -> int:
        provider.force_flush()
        return exporter.count

    return config, arrived


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
