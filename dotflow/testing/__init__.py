"""For tests: suites that a provider of one's own must pass, and providers that record."""

from __future__ import annotations

from dotflow.testing.recorders import (
    Call,
    Recording,
    RecordingLog,
    RecordingMetrics,
    RecordingNotify,
    RecordingProgress,
    RecordingServer,
    RecordingTracer,
)
from dotflow.testing.storage import StorageContract

__all__ = [
    "Call",
    "Recording",
    "RecordingLog",
    "RecordingMetrics",
    "RecordingNotify",
    "RecordingProgress",
    "RecordingServer",
    "RecordingTracer",
    "StorageContract",
]
