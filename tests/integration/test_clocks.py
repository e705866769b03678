"""Runs while the clocks are set: nobody waits by them, and nothing ends before it began."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dotflow_otel import History

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("sequential", "sequential_group", "background", "parallel")

HEAD = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from dotflow import DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import observe

mode, path, *rest = sys.argv[1:]
exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
registry = CollectorRegistry()
config = observe("clocks", registry=registry, log=LogDefault(level="ERROR"), history=path)

def told(flow, manager):
    if mode == "background":
        manager.thread.join(30)
    total = lambda name: sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"dotflow_{name}"
    )
    spans = exporter.get_finished_spans()
    print(json.dumps({
        "statuses": [task.status for task in flow.result_task()],
        "attempts": [task.attempt for task in flow.result_task()],
        "durations": [task.duration for task in flow.result_task()],
        "spans": [
            (span.name, span.start_time, span.end_time, [event.timestamp for event in span.events])
            for span in spans
        ],
        "metrics": {name: total(name) for name in (
            "task_duration_seconds_sum", "workflow_duration_seconds_sum", "task_queue_seconds_sum"
        )},
    }))
"""

# As where a system's clock is set: all that asks for the time of day gets it, in each process.
SET_BACK = (
    """
import time
offset = [0]
real, real_ns = time.time, time.time_ns
time.time = lambda: real() - offset[0]
time.time_ns = lambda: real_ns() - offset[0] * 10**9
"""
    + HEAD
    + """
from dotflow.providers import StorageDefault

class Storage(StorageDefault):
    # Called in the run's process, where the spans of tasks are, also in parallel.
    def post(self, *args, **kwargs):
        offset[0] += 3600
        time.sleep(0.02)
        super().post(*args, **kwargs)

config.storage = Storage()

@action(retry=2, retry_delay=0)
def step():
    offset[0] += 3600
    time.sleep(0.02)
    if rest and rest[0] == "fails":
        raise KeyError("k")

class Pipe:
    @action
    def method(self):
        offset[0] += 3600

@action
def build():
    return Pipe()

flow = DotFlow(config=config, name="w")
for group in "ab":
    flow.task.add([step, build], group_name=group)
told(flow, flow.start(mode=mode, keep_going=True))
"""
)

# The clocks stand still, which freezegun replaces in every module: before this one was imported
# ("early"), or after.
STANDING = (
    """
import sys
from freezegun import freeze_time
freezer = freeze_time("2020-01-01", auto_tick_seconds=0)
if sys.argv[3] == "early":
    freezer.start()
"""
    + HEAD
    + """
import threading

@action(retry=3, retry_delay=0.05)
def step():
    threading.Event().wait(0.02)
    raise KeyError("k")

@action(timeout=0.2)
def late():
    threading.Event().wait(20)

def build():
    flow = DotFlow(config=config, name="w")
    flow.task.add([step, late])
    return flow, flow.start(mode=mode, keep_going=True)

if sys.argv[3] == "early":
    told(*build())
else:
    with freezer as clock:
        if sys.argv[3] == "late":
            told(*build())
        else:  # back
            step_back = threading.Timer(0.1, lambda: clock.move_to("2019-01-01"))
            step_back.start()
            told(*build())
            step_back.join()
"""
)


def run(program: str, mode: str, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Run a program to its end, look into its history, and give what it told."""
    path = tmp_path / "history.db"
    done = subprocess.run(
        [sys.executable, "-c", program, mode, path, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    with History(path) as history:
        (recorded,) = history.runs()
    assert recorded.ended is not None
    assert 0 < recorded.duration < 20
    return told


def assert_in_order(told: dict[str, Any]) -> None:
    """Assert that no span ends before it begins, nor tells of an event outside of it."""
    for name, started, ended, events in told["spans"]:
        assert started <= ended, name
        assert all(started <= event <= ended for event in events), name


@pytest.mark.parametrize("end", ["completes", "fails"])
@pytest.mark.parametrize("mode", MODES)
def test_a_clock_that_is_set_back(mode: str, end: str, tmp_path: Path) -> None:
    """Spans, metrics and records take as long as they took, in every mode."""
    told = run(SET_BACK, mode, tmp_path, end)
    assert_in_order(told)
    longest = {name: (ended - started) / 1e9 for name, started, ended, _ in told["spans"]}
    assert {name for name in longest if not name.startswith("method")} == {
        *("workflow w", "task step", "task build", "attempt"),
    }
    assert 0.1 < longest["workflow w"] < 20
    assert 0.04 < longest["task step"] < 10
    assert told["durations"][0] > 0.02
    assert told["durations"][0] < 10
    assert 0.04 < told["metrics"]["task_duration_seconds_sum"] < 20
    assert 0.1 < told["metrics"]["workflow_duration_seconds_sum"] < 20
    if mode == "parallel":
        assert 0 <= told["metrics"]["task_queue_seconds_sum"] < 20


@pytest.mark.parametrize("when", ["early", "late", "back"])
@pytest.mark.parametrize("mode", MODES)
def test_clocks_that_stand_still(mode: str, when: str, tmp_path: Path) -> None:
    """Delays between attempts and timeouts take their time, and the run ends."""
    pytest.importorskip("freezegun")
    told = run(STANDING, mode, tmp_path, when)
    assert told["statuses"] == ["Failed", "Failed"]
    assert told["attempts"] == [3, 1]
    assert_in_order(told)
    assert 0.1 < told["durations"][0] < 10
    assert 0.2 <= told["durations"][1] < 10
