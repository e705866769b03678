"""For tests: a run's spans, metrics and log events, recorded in memory and read back.

With pytest the fixture `telemetry` gives the same; nothing here needs pytest.
"""

from __future__ import annotations

from dotflow_otel.testing.events import LogEvent
from dotflow_otel.testing.numbers import Exemplar, MetricsSnapshot
from dotflow_otel.testing.recording import RecordedTelemetry, record_telemetry
from dotflow_otel.testing.spans import RecordedSpan, SpanEvent, SpanLink

__all__ = [
    "Exemplar",
    "LogEvent",
    "MetricsSnapshot",
    "RecordedSpan",
    "RecordedTelemetry",
    "SpanEvent",
    "SpanLink",
    "record_telemetry",
]
