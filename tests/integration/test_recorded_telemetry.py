"""Recordings of whole runs: every mode, many threads, and the global tracer provider."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow_otel import record_telemetry

ROOT = Path(__file__).resolve().parents[2]


@action
def load() -> int:
    """Succeed."""
    return 1


@action(retry=2, retry_delay=0)
def fetch() -> None:
    """Fail twice."""
    raise KeyError("k")


@action
def save(initial_context: Context) -> None:
    """Fail where it is told to."""
    if initial_context.storage:
        raise ValueError("disk full")


def run(config: Config, mode: str, name: str = "billing") -> None:
    """Run two groups, one of which fails, to the end."""
    flow = DotFlow(config=config, name=name)
    flow.task.add([load, fetch, load], group_name="a")
    flow.task.add([load, save], initial_context="full", group_name="b")
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join(30)


def program(source: str, **environment: str) -> str:
    """Run a program in a new interpreter; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD + source],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


HEAD = """
import threading
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from dotflow import DotFlow, action
from dotflow_otel import observe, record_telemetry

tracer = trace.get_tracer("billing")

@action
def load():
    with tracer.start_as_current_span("select"):
        pass

def run(config, name="billing"):
    flow = DotFlow(config=config, name=name)
    flow.task.add(load)
    flow.start()
"""
TREE = "workflow billing\n  task load\n    select\n"


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
def test_every_mode(mode: str) -> None:
    """Spans, metrics and events of a run are recorded alike in every mode, and balance."""
    with record_telemetry(global_tracer=False) as telemetry:
        run(telemetry.config, mode)
        telemetry.assert_balanced()
        workflow = telemetry.span("workflow billing")
        assert [(task.name, task.error_type) for task in workflow.children] == [
            ("task load", None),
            ("task fetch", "KeyError"),
            ("task load", None),
            ("task save", "ValueError"),
        ]
        if mode != "parallel":
            fetch_span = telemetry.span("task fetch")
            assert len(telemetry.find("attempt", below=fetch_span, error_type="KeyError")) == 2
        assert telemetry.metric("dotflow_task_failed_total") == 2
        assert telemetry.metric("dotflow_task_skipped_total", task="load") == 1
        assert telemetry.event("task.retried")["error_type"] == "KeyError"
        assert telemetry.event("workflow.failed")["trace_id"] == workflow.trace_id
        span = telemetry.span("task save")
        assert telemetry.exemplar("dotflow_task_failed_total", task="save").span_id == span.span_id


def test_many_threads_in_one_recording() -> None:
    """Runs in many threads are recorded whole, each a tree of its own."""
    with record_telemetry(global_tracer=False) as telemetry:
        with ThreadPoolExecutor(8) as pool:
            for number in range(64):
                pool.submit(run, telemetry.config, "sequential", f"w{number}")
        telemetry.assert_balanced()
        assert len(telemetry.roots) == 64
        assert len(telemetry.spans) == 64 * 7
        assert {len(list(root.walk())) for root in telemetry.roots} == {7}
        assert telemetry.metric("dotflow_workflow_failed_total") == 64
        assert len(telemetry.find_events("workflow.failed")) == 64


def test_reading_while_runs_go_on() -> None:
    """A recording can be read at any moment, from any thread."""
    with record_telemetry(global_tracer=False) as telemetry, ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run, telemetry.config, "sequential") for _ in range(40)]
        reads: list[Any] = []
        while not all(future.done() for future in runs):
            reads += [telemetry.outline(), telemetry.metrics(), telemetry.events]
        assert [future.exception() for future in runs] == [None] * 40
        assert len(telemetry.find("workflow billing")) == 40


# --- the global tracer provider ---------------------------------------------------------


def test_spans_of_the_global_provider() -> None:
    """What a step opens with a tracer of its module is recorded below its task, at each use."""
    source = """
for _ in range(2):
    with record_telemetry() as telemetry:
        with tracer.start_as_current_span("request"):
            run(telemetry.config)
        print(telemetry.outline())
run(telemetry.config)
print(len(telemetry.spans), len(telemetry.find("select")))
"""
    tree = "request\n  workflow billing\n    task load\n      select\n"
    # After its end a recording goes on for its config, and takes no more of the global spans.
    assert program(source) == f"{tree}{tree}6 1\n"


def test_code_that_calls_observe() -> None:
    """Spans of workflows with a configuration of `observe` are recorded, and go nowhere else."""
    source = """
with record_telemetry() as telemetry:
    config = observe(service_name="billing", level="ERROR")
    run(config)
    print(telemetry.outline())
"""
    assert program(source, OTEL_TRACES_EXPORTER="console") == TREE


def test_the_applications_provider_stays() -> None:
    """A provider of the application stays the global one, and gets what it always gets."""
    source = """
exporter, mine = InMemorySpanExporter(), TracerProvider()
mine.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(mine)
for _ in range(2):
    with record_telemetry() as telemetry:
        run(telemetry.config)
        print(telemetry.outline())
print(trace.get_tracer_provider() is mine, [span.name for span in exporter.get_finished_spans()])
"""
    assert program(source) == f"{TREE}{TREE}True ['select', 'select']\n"


def test_a_provider_that_takes_no_processor() -> None:
    """Where the application's provider is not of the SDK, runs are recorded all the same."""
    source = """
trace.set_tracer_provider(trace.NoOpTracerProvider())
with record_telemetry() as telemetry:
    run(telemetry.config)
    print(telemetry.outline())
"""
    assert program(source) == "workflow billing\n  task load\n"


def test_the_global_provider_can_be_left_alone() -> None:
    """Without `global_tracer` nothing is set, and spans of the step's own tracer are not there."""
    source = """
with record_telemetry(global_tracer=False) as telemetry:
    run(telemetry.config)
    print(telemetry.outline())
print(type(trace.get_tracer_provider()).__name__)
"""
    assert program(source) == "workflow billing\n  task load\nProxyTracerProvider\n"


def test_recordings_do_not_mix() -> None:
    """Recordings in threads, and one inside another, each have their own spans and no others."""
    source = """
seen = []
both = threading.Barrier(4)

def one(number):
    with record_telemetry() as telemetry:
        both.wait(20)
        for _ in range(20):
            with tracer.start_as_current_span(f"request {number}"):
                run(telemetry.config, f"w{number}")
        both.wait(20)
        shapes = {tuple(span.name for span in root.walk()) for root in telemetry.roots}
        seen.append((len(telemetry.spans), shapes == {
            (f"request {number}", f"workflow w{number}", "task load", "select")
        }))

threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(seen == [(80, True)] * 4)

with record_telemetry() as outer:
    with record_telemetry() as inner:
        run(outer.config, "outer")
        run(inner.config, "inner")
        with tracer.start_as_current_span("alone"): pass
    with tracer.start_as_current_span("after"): pass
print([span.name for span in outer.spans])
print([span.name for span in inner.spans])
"""
    assert program(source) == (
        "True\n"
        "['workflow outer', 'task load', 'select', 'after']\n"
        "['workflow inner', 'task load', 'select', 'alone']\n"
    )


def test_variables_do_not_matter() -> None:
    """A sampler that the environment asks for drops nothing of a recording."""
    source = """
with record_telemetry() as telemetry:
    run(telemetry.config)
    print(telemetry.outline())
"""
    assert program(source, OTEL_TRACES_SAMPLER="always_off") == TREE


def test_a_disabled_sdk() -> None:
    """Where the environment turns the SDK off for the application, recordings go on."""
    source = """
with record_telemetry() as telemetry:
    run(telemetry.config)
    telemetry.assert_balanced()
    print(telemetry.outline(), telemetry.metric("dotflow_task_completed_total"))
    print(telemetry.event("task.completed")["task"])
"""
    assert program(source, OTEL_SDK_DISABLED="true") == (
        "workflow billing\n  task load\n    select 1.0\nload\n"
    )


def test_a_fresh_thread_of_a_step() -> None:
    """A span that a step's plain thread opens, without its context, is a root of the recording."""
    source = """
@action
def spread():
    thread = threading.Thread(target=load)
    thread.start()
    thread.join()

with record_telemetry() as telemetry:
    flow = DotFlow(config=telemetry.config, name="billing")
    flow.task.add(spread)
    flow.start()
    print(telemetry.outline())
"""
    assert program(source) == "workflow billing\n  task spread\nselect\n"


def test_no_pytest() -> None:
    """The helpers do without pytest."""
    source = """
import sys
import dotflow_otel.testing
print("pytest" in sys.modules, "_pytest" in sys.modules)
"""
    assert program(source) == "False False\n"
