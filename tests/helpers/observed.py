"""A config whose spans, metrics and log lines can be read back."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from dotflow import Config, DotFlow
from dotflow.providers import StorageDefault
from dotflow_otel import LogStructlog, MetricsPrometheus, TracerOpenTelemetry

if TYPE_CHECKING:
    from dotflow.core.workflow import Manager


class Observed:
    """A config whose spans, metrics and log lines can be read back."""

    def __init__(self, **provider_options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **provider_options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.registry = CollectorRegistry()
        self.stream = io.StringIO()
        self.storage = StorageDefault()
        self.tracer = TracerOpenTelemetry(tracer_provider=self.provider)
        self.config = Config(
            tracer=self.tracer,
            metrics=MetricsPrometheus(self.registry),
            log=LogStructlog(stream=self.stream),
            storage=self.storage,
        )

    def run(self, *steps: Any, mode: str = "sequential", **kwargs: Any) -> Manager:
        """Run steps as the workflow `billing`, or of another name, to its end."""
        options = {key: kwargs.pop(key) for key in ("workflow_id",) if key in kwargs}
        flow = DotFlow(config=self.config, name=kwargs.pop("name", "billing"), **options)
        for step in steps:
            flow.task.add(**step) if isinstance(step, dict) else flow.task.add(step)
        manager = flow.start(mode=mode, **kwargs)
        if mode == "background":
            manager.thread.join(20)
        return manager

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The finished spans, in the order of their ends."""
        return self.exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """Give the only span of a name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def below(self, parent: ReadableSpan) -> list[str]:
        """Give the names of a span's children, in the order of their starts."""
        children = [span for span in self.spans if is_child(span, parent)]
        return [span.name for span in sorted(children, key=lambda span: span.start_time or 0)]

    def value(self, name: str, **labels: str) -> float:
        """Give the value of one series, 0 where there is none."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def total(self, name: str, **labels: str) -> float:
        """Give the sum of all series of a name that have these labels."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def line(self, event: str, **fields: Any) -> dict[str, Any]:
        """Give the only line of an event with these fields."""
        (found,) = (
            line for line in self.lines if line["event"] == event and fields.items() <= line.items()
        )
        return found


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Tell whether one span is right below another."""
    return span.parent is not None and span.parent.span_id == span_id(parent)


def span_id(span: ReadableSpan) -> int:
    """Give the id of a span."""
    assert span.context is not None
    return span.context.span_id
