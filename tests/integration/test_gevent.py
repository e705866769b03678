"""Workflows of an application under gevent, whose sockets and outputs do not block."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import json, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry

LARGE = 5_000_000

@action
def small():
    return 1

@action
def large():
    return b"x" * LARGE

@action
def takes(initial_context):
    return len(initial_context.storage)

@action(retry=2, retry_delay=0.05)
def again():
    raise KeyError("k")

@action(timeout=0.2)
def late():
    import threading
    threading.Event().wait(5)

@action
def writes():
    sys.stderr.write("e" * 1_000_000 + "\\\\n")

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
registry = CollectorRegistry()
config = Config(
    tracer=TracerOpenTelemetry(tracer_provider=provider),
    metrics=MetricsPrometheus(registry),
    log=LogDefault(level="CRITICAL"),
)
flow = DotFlow(config=config, name="w")
flow.task.add([small, large, again, late, large])
flow.task.add(takes, initial_context=b"y" * LARGE)
manager = flow.start(mode=sys.argv[1], keep_going=True)
if sys.argv[1] == "background":
    manager.thread.join()
count = lambda name: sum(
    sample.value
    for family in registry.collect()
    for sample in family.samples
    if sample.name == name
)
print(json.dumps({
    "results": [str(task.status) for task in flow.result_task()],
    "errors": [task.errors[-1].exception for task in flow.result_task() if task.errors],
    "lost": count("dotflow_worker_lost_total"),
    "started": count("dotflow_task_started_total"),
    "spans": sorted(span.name for span in exporter.get_finished_spans()),
}))
"""

TASKS = ["small", "large", "again", "late", "large", "takes"]


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_gevent(mode: str) -> None:
    """Every step ends as it does without gevent, and no worker is lost."""
    pytest.importorskip("gevent")
    done = run(PROGRAM, mode)
    assert "BlockingIOError" not in done.stderr
    attempts = 7 if mode == "parallel" else 2
    assert json.loads(done.stdout) == {
        "results": ["Completed", "Completed", "Failed", "Failed", *["Completed"] * 2],
        "errors": ["KeyError", "TimeoutError"],
        "lost": 0,
        "started": 6,
        "spans": sorted(
            [*["attempt"] * attempts, *(f"task {task}" for task in TASKS), "workflow w"]
        ),
    }


OUTPUT = """
import os, sys
from dotflow import DotFlow, action

@action
def writes():
    print("o" * 1_000_000, flush=True)
    print("e" * 1_000_000, file=sys.stderr, flush=True)

os.set_blocking(1, False)
os.set_blocking(2, False)
flow = DotFlow()
flow.task.add(writes)
flow.start(mode="parallel")
blocking = [os.get_blocking(output) for output in (1, 2)]
for output in (1, 2):
    os.set_blocking(output, True)
print(flow.task.queue[0].status, blocking)
"""


def test_outputs_that_do_not_block() -> None:
    """A step in a worker writes as much as it likes, and the application's streams stay so."""
    done = run(OUTPUT)
    first, second = done.stdout.splitlines()
    assert (first, second) == ("o" * 1_000_000, "Completed [False, False]")
    assert "e" * 1_000_000 in done.stderr


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done
