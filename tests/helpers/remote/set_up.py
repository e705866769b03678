"""What the owner of a worker process sets up there: traces and logs of his own."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter: Final = InMemorySpanExporter()
records: Final[list[str]] = []


class _Keeping(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        records.append(record.getMessage())


def traces() -> None:
    """Set a tracer provider."""
    provider = TracerProvider(resource=Resource({"service.name": "theirs"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def logs() -> None:
    """Configure logging."""
    logging.basicConfig(handlers=[_Keeping()], level=logging.INFO)


def told() -> tuple[list[dict[str, Any]], list[str]]:
    """Return what was exported and logged here since the last time."""
    spans, texts = exporter.get_finished_spans(), list(records)
    exporter.clear()
    records.clear()
    return [json.loads(span.to_json()) for span in spans], texts
