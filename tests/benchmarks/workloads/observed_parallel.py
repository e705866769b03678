"""What telemetry costs a run in workers, in us a task: `observed_parallel.py COUNT WORKERS ROUNDS`.

A fourth argument is the CPU time that a task takes, in milliseconds. `run` is with traces and
metrics, `without` with neither, `sdk` with metrics and `BareSpans`, in turn in one process. It
raises unless every span arrives: that of the workflow, and two of each task.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING, Any

from bare_spans import BareSpans
from observed import busy, null_provider, run_time, step
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from rounds import tell
from workload import SilentLog

from dotflow import Config
from dotflow.providers import ExecutorLocal
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class CountingExporter(SpanExporter):
    """Delivers every span to nowhere, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count."""
        self.count += len(spans)
        return SpanExportResult.SUCCESS


class Beside:
    """Runs one flow with telemetry, without, and with what the SDK alone would take.

    Args:
        count: Of tasks.
        workers: How many.
        task: The step.
    """

    def __init__(self, count: int, workers: int, task: Callable[..., Any]) -> None:
        self._count = count
        self._task = task
        self._exporter = CountingExporter()
        self.provider = null_provider(self._exporter, queue=max(2048, 4 * count))
        executor = ExecutorLocal(workers=workers)
        self._silent = Config(log=SilentLog(), executor=executor)
        tracers = TracerOpenTelemetry(tracer_provider=self.provider), BareSpans(self.provider)
        self._observed, self._bare = (
            Config(
                log=SilentLog(),
                executor=executor,
                tracer=tracer,
                metrics=MetricsPrometheus(CollectorRegistry()),
            )
            for tracer in tracers
        )

    def without(self) -> float:
        """Run without; give its time, in microseconds a task."""
        return run_time(self._silent, self._count, "parallel", self._task)

    def observed(self) -> float:
        """Run with telemetry, all of which must arrive; give its time likewise."""
        return self._arrived(self._observed)

    def bare(self) -> float:
        """Run with the SDK's own calls for the same spans; give its time likewise."""
        return self._arrived(self._bare)

    def _arrived(self, config: Config) -> float:
        self._exporter.count = 0
        spent = run_time(config, self._count, "parallel", self._task)
        self.provider.force_flush()
        if self._exporter.count != 2 * self._count + 1:
            raise RuntimeError(f"{self._exporter.count} spans of {2 * self._count + 1} arrived")
        return spent


def main(count: int, workers: int, rounds: int, milliseconds: float = 0) -> None:
    """Return the medians of `rounds`, after one that warms up."""
    beside = Beside(count, workers, busy(milliseconds) if milliseconds else step)
    figures = [
        {"run": beside.observed(), "without": beside.without(), "sdk": beside.bare()}
        for _ in range(rounds + 1)
    ]
    tell({name: median(each[name] for each in figures[1:]) for name in figures[0]})
    beside.provider.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *map(float, sys.argv[4:]))
