"""What a run costs the process that owns it: `driving.py COUNT ROUNDS`, us of CPU a task.

The steps run in two workers, whose time is not counted. Nor is how long the run takes: two
workers on a busy machine say nothing of what the process could drive.
"""

from __future__ import annotations

import sys
from statistics import median
from time import process_time

from observed import null_provider, step
from prometheus_client import CollectorRegistry
from rounds import tell
from workload import SilentLog, check

from dotflow import Config, DotFlow
from dotflow.providers import ExecutorLocal
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry


def spent(config: Config, count: int) -> float:
    """Run `count` tasks in workers; tell the CPU time of this process, in us a task."""
    flow = DotFlow(config=config, name="bench")
    for _ in range(count):
        flow.task.add(step)
    begun = process_time()
    flow.start(mode="parallel")
    ended = process_time()
    check(flow, count)
    return (ended - begun) * 1e6 / count


def main(count: int, rounds: int) -> None:
    """Return the medians, without telemetry and with traces and metrics, in turn."""
    executor = ExecutorLocal(workers=2)
    observed = {
        "tracer": TracerOpenTelemetry(tracer_provider=null_provider()),
        "metrics": MetricsPrometheus(CollectorRegistry()),
    }
    without = Config(log=SilentLog(), executor=executor)
    with_both = Config(log=SilentLog(), executor=executor, **observed)
    pairs = [(spent(without, count), spent(with_both, count)) for _ in range(rounds + 1)]
    # The first ones start the workers.
    silent, told = (median(column) for column in zip(*pairs[1:], strict=True))
    tell({"silent": silent, "observed": told})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
