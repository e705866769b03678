"""Traces, metrics and JSON logs, all on: `all_on.py COUNT ROUNDS`, in microseconds a task."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import median

from observed import null_provider, run_time
from prometheus_client import CollectorRegistry
from rounds import tell

from dotflow import Config
from dotflow_otel import LogStructlog, MetricsPrometheus, TracerOpenTelemetry


def main(count: int, rounds: int) -> None:
    """Return the median of `rounds`, after one that warms up."""
    provider = null_provider()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        config = Config(
            tracer=TracerOpenTelemetry(tracer_provider=provider),
            metrics=MetricsPrometheus(CollectorRegistry()),
            log=LogStructlog(stream=nowhere, format="json"),
        )
        figures = []
        for _ in range(rounds + 1):
            figures.append(run_time(config, count))
            provider.force_flush()
    tell({"run": median(figures[1:])})
    provider.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
