"""Executors whose processes are forked from the application, with all that it has set up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import json, logging, multiprocessing, sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from dotflow import Config, DotFlow, action
from dotflow.abc.log import Log
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry

exporter = InMemorySpanExporter()
provider = TracerProvider()
kind = {"batch": BatchSpanProcessor, "simple": SimpleSpanProcessor}[sys.argv[1]]
provider.add_span_processor(kind(exporter))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("steps")

class Silent(Log):
    def info(self, **_): ...
    error = warning = debug = info

@action
def load():
    with tracer.start_as_current_span("select"):
        return 1

@action(retry=2, retry_delay=0)
def fails():
    with tracer.start_as_current_span("update"):
        raise KeyError("k")

config = Config(
    tracer=TracerOpenTelemetry(), metrics=MetricsPrometheus(CollectorRegistry()), log=Silent()
)
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
    config.executor = Config(executor=pool).executor
    for _ in range(2):
        flow = DotFlow(config=config, name="w")
        for group in "abc":
            flow.task.add(load, group_name=group)
        flow.task.add(fails, group_name="d")
        flow.start(mode="parallel", keep_going=True)
provider.force_flush()
spans = exporter.get_finished_spans()
names = {span.context.span_id: span.name for span in spans}
below = Counter(f"{names.get(span.parent and span.parent.span_id)} > {span.name}" for span in spans)
print(json.dumps({"below": below, "ids": len(names), "all": len(spans)}))
"""


@pytest.mark.parametrize("processor", ["batch", "simple"])
def test_what_steps_record_comes_back(processor: str) -> None:
    """Every span of a step in a forked process goes to the application's processors, once."""
    # Python warns of every fork beside threads; that is what is tried here.
    warnings = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *warnings, "-c", PROGRAM, processor],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["below"] == {
        "None > workflow w": 2,
        "workflow w > task load": 6,
        "task load > attempt": 6,
        "attempt > select": 6,
        "workflow w > task fails": 2,
        "task fails > attempt": 4,
        "attempt > update": 4,
    }
    assert told["ids"] == told["all"] == 30
