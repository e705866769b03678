"""What telemetry costs a run in workers: `observed_parallel.py COUNT WORKERS ROUNDS`, us a task.

`run` is with traces and metrics, `without` with neither, in turn in one process. It raises unless
every span arrives: that of the workflow, and two of each task.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from observed import null_provider, run_time
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from rounds import tell
from workload import SilentLog

from dotflow import Config
from dotflow.providers import ExecutorLocal
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider


class CountingExporter(SpanExporter):
    """Delivers every span to nowhere, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count."""
        self.count += len(spans)
        return SpanExportResult.SUCCESS


def observed_time(
    config: Config, count: int, provider: TracerProvider, exporter: CountingExporter
) -> float:
    """Run with telemetry; give its time, in microseconds a task."""
    exporter.count = 0
    spent = run_time(config, count, mode="parallel")
    provider.force_flush()
    if exporter.count != 2 * count + 1:
        raise RuntimeError(f"{exporter.count} spans of {2 * count + 1} have arrived")
    return spent


def main(count: int, workers: int, rounds: int) -> None:
    """Tell the medians of `rounds`, after one that warms up."""
    exporter = CountingExporter()
    provider = null_provider(exporter, queue=max(2048, 4 * count))
    executor = ExecutorLocal(workers=workers)
    silent = Config(log=SilentLog(), executor=executor)
    observed = Config(
        log=SilentLog(),
        executor=executor,
        tracer=TracerOpenTelemetry(tracer_provider=provider),
        metrics=MetricsPrometheus(CollectorRegistry()),
    )
    figures: dict[str, list[float]] = {"run": [], "without": []}
    for _ in range(rounds + 1):
        figures["run"].append(observed_time(observed, count, provider, exporter))
        figures["without"].append(run_time(silent, count, mode="parallel"))
    tell({name: median(values[1:]) for name, values in figures.items()})
    provider.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
