"""What traces and metrics add to a task, and what the same calls cost alone.

`added.py COUNT ROUNDS`, in microseconds a task. `added` is a run with both less a run with
none, with the same engine and a silent log. `bare` is a plain loop that makes the same calls
on the OpenTelemetry SDK and on prometheus-client, as a careful user would write them: one
span as the current one with the same attributes, the same counters, gauge and histogram,
looked up once, with an exemplar of the span's ids.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from observed import null_provider, run_time, step, timed_call
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from rounds import tell
from workload import SilentLog

from dotflow import Config
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry
from dotflow_otel.conventions import BUCKETS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


class Bare:
    """The calls without dotflow."""

    def __init__(self, provider: TracerProvider) -> None:
        registry = CollectorRegistry()
        labels = ("workflow", "task")
        values = ("bench", "step")
        histogram = Histogram(
            "duration_seconds", "d", (*labels, "status"), registry=registry, buckets=BUCKETS
        )
        self.tracer = provider.get_tracer("bench")
        self.started = Counter("started", "s", labels, registry=registry).labels(*values)
        self.completed = Counter("completed", "c", labels, registry=registry).labels(*values)
        self.in_progress = Gauge("in_progress", "p", labels, registry=registry).labels(*values)
        self.duration = histogram.labels(*values, "completed")
        code = step.func.__code__
        self.attributes = {
            "dotflow.workflow.id": "8ad2bb0c-2b0f-4e8a-a7ba-5d8ae0fa4f6c",
            "dotflow.workflow.name": "bench",
            "code.function.name": "observed.step",
            "code.file.path": code.co_filename,
            "code.line.number": code.co_firstlineno,
            "dotflow.task.timeout": 0.0,
            "dotflow.task.id": "01JD8QJ5Y1X0AZ3V4E6N7R8S9T",
            "dotflow.task.name": "step",
            "dotflow.task.group": "default",
        }

    def run(self, count: int) -> None:
        """Make the calls of a run of `count` tasks."""
        with self.tracer.start_as_current_span("workflow bench"):
            for index in range(count):
                self.task(index)

    def task(self, index: int) -> None:
        """Make the calls of one task."""
        attributes = {**self.attributes, "dotflow.task.index": index}
        with self.tracer.start_as_current_span("task step", attributes=attributes) as span:
            self.started.inc()
            self.in_progress.inc()
            self.in_progress.dec()
            self.completed.inc()
            ids = span.get_span_context()
            exemplar = {"trace_id": f"{ids.trace_id:032x}", "span_id": f"{ids.span_id:016x}"}
            self.duration.observe(1e-6, exemplar)
            span.set_attribute("dotflow.task.status", "completed")
            span.set_attribute("dotflow.task.attempts", 1)


def main(count: int, rounds: int) -> None:
    """Return the medians of `rounds`, after one that warms up."""
    provider = null_provider()
    bare = Bare(provider)
    silent = Config(log=SilentLog())
    observed = Config(
        log=SilentLog(),
        tracer=TracerOpenTelemetry(tracer_provider=provider),
        metrics=MetricsPrometheus(CollectorRegistry()),
    )
    figures: dict[str, list[float]] = {"added": [], "bare": []}
    for number in range(rounds + 1):
        none = run_time(silent, count)
        added = run_time(observed, count) - none
        provider.force_flush()
        alone = timed_call(lambda: bare.run(count)) / count
        provider.force_flush()
        if number:
            figures["added"].append(added)
            figures["bare"].append(alone)
    tell({name: median(values) for name, values in figures.items()})
    provider.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
