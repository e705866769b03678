"""Metrics in a forked child: what the parent has counted, and has going on, is the parent's."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow_otel import MetricsOpenTelemetry, MetricsPrometheus
from dotflow_otel.conventions import BUCKETS
from dotflow_otel.metrics.meter_provider import OwnMeterProvider
from tests.unit.otel.test_metrics_otel import step

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow_otel.metrics.ledger import BaseMetrics

ROOT = Path(__file__).parents[3]


def forked(function: Callable[[], Any]) -> Any:
    """Call a function in a forked child; give what it gives."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if not child:
        try:
            os.write(write, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        try:
            assert select.select([answer], [], [], 20)[0], "the child hangs"
            text = answer.read()
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return json.loads(text)


def begin(metrics: BaseMetrics, run_id: str, started_at: float) -> Run:
    """Have a run with a task begin."""
    run = Run(run_id, "w", "billing", "sequential", 1, started_at)
    metrics.run_started(run)
    task = Task("t" * 26, step, name="load")
    task.run = run
    metrics.task_started(task)
    return run


def otel_values(reader: InMemoryMetricReader) -> dict[str, float]:
    """Return the values of all series that are no histograms, by the names of their metrics."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: point.value
        for of_resource in data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        for point in metric.data.data_points
        if hasattr(point, "value")
    }


def test_a_reader_of_ours() -> None:
    """A child counts from nothing, with the metrics and the instruments of before the fork."""
    reader = InMemoryMetricReader()
    own = OwnMeterProvider(reader, None, BUCKETS, 5.0)
    metrics = MetricsOpenTelemetry(meter_provider=own.provider)
    counter = own.provider.get_meter("app").create_counter("app.orders")
    counter.add(5)
    metrics.workers_changed(2, 1)
    begin(metrics, "a", 100.0)

    def child() -> dict[str, float]:
        nothing = otel_values(reader)
        counter.add(1)
        run = begin(metrics, "b", 300.0)
        going_on = otel_values(reader)
        metrics.run_finished(run.finished(1.0, failed=False))
        ended = otel_values(reader)
        names = ("app.orders", "dotflow.workflow.started", "dotflow.task.started")
        gauges = ("dotflow.workflow.in_progress", "dotflow.workflow.oldest_start_timestamp")
        return {
            "at first": len(nothing),
            **{name: going_on[name] for name in (*names, "dotflow.workers", *gauges)},
            **{f"{name} at the end": ended[name] for name in gauges},
        }

    assert forked(child) == {
        "at first": 0,
        "app.orders": 1,
        "dotflow.workflow.started": 1,
        "dotflow.task.started": 1,
        "dotflow.workers": 0,
        "dotflow.workflow.in_progress": 1,
        "dotflow.workflow.oldest_start_timestamp": 300.0,
        "dotflow.workflow.in_progress at the end": 0,
        "dotflow.workflow.oldest_start_timestamp at the end": 0,
    }
    assert otel_values(reader)["dotflow.workflow.started"] == 1
    assert own.shutdown(5.0)


def test_a_provider_of_the_application() -> None:
    """A child goes on from the parent's counts, but has nothing going on."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = MetricsOpenTelemetry(meter_provider=provider)
    begin(metrics, "a", 100.0)

    def child() -> tuple[float, float, float]:
        run = begin(metrics, "b", 300.0)
        metrics.run_finished(run.finished(1.0, failed=False))
        seen = otel_values(reader)
        return (
            seen["dotflow.workflow.started"],
            seen["dotflow.workflow.in_progress"],
            seen["dotflow.workflow.oldest_start_timestamp"],
        )

    assert forked(child) == [2, 0, 0]


def test_a_registry() -> None:
    """What goes on in the parent does not go on in a child; nor do the parent's workers live."""
    registry = CollectorRegistry()
    metrics = MetricsPrometheus(registry)
    metrics.workers_changed(2, 1)
    begin(metrics, "a", 100.0)
    of_run = {"workflow": "billing", "mode": "sequential"}

    def seen() -> list[float | None]:
        return [
            registry.get_sample_value("dotflow_workflow_in_progress", of_run),
            registry.get_sample_value(
                "dotflow_task_in_progress", {"workflow": "billing", "task": "load"}
            ),
            registry.get_sample_value(
                "dotflow_workflow_oldest_start_timestamp_seconds", {"workflow": "billing"}
            ),
            registry.get_sample_value("dotflow_workers"),
        ]

    def child() -> list[list[float | None]]:
        run = begin(metrics, "b", 300.0)
        during = seen()
        metrics.run_finished(run.finished(1.0, failed=False))
        metrics.workers_changed(3, 0)
        return [during, seen()]

    assert forked(child) == [[1, 1, 300.0, 0], [0, 1, 0, 3]]
    assert seen() == [1, 1, 100.0, 2]


@pytest.mark.parametrize("exports", [False, True])
def test_a_service_that_forks(exports: bool) -> None:
    """The last points of all processes add up to what ran, also when forked during an export.

    As under gunicorn with `preload_app`: a master that ran 3 tasks, and two children 1 each.
    """
    source = """
        import os, sys, threading, warnings
        warnings.simplefilter("ignore")  # of forks beside threads
        from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
        import opentelemetry.exporter.otlp.proto.http.metric_exporter as otlp

        master, begun = os.getpid(), threading.Event()

        class Exporter(MetricExporter):
            def __init__(self):
                super().__init__()
            def export(self, data, *args, **kwargs):
                if os.getpid() == master and exports and not begun.is_set():
                    begun.set()
                    goes_on.wait(20)
                last = [
                    point.value
                    for each in data.resource_metrics for scope in each.scope_metrics
                    for metric in scope.metrics if metric.name == "dotflow.task.started"
                    for point in metric.data.data_points
                ]
                os.write(1, f"{os.getpid()} {last}\\n".encode())
                return MetricExportResult.SUCCESS
            def force_flush(self, timeout_millis=0):
                return True
            def shutdown(self, *args, **kwargs):
                pass

        exports, goes_on = sys.argv[1] == "True", threading.Event()
        otlp.OTLPMetricExporter = Exporter
        from dotflow import DotFlow, action
        from dotflow.testing import Recording
        from dotflow_otel import observe, setup
        config = observe("svc", log=Recording().providers["log"])

        @action
        def step(): pass

        def run(count):
            flow = DotFlow(config=config, name="w")
            flow.task.add([step] * count)
            flow.start()

        run(3)
        if exports:
            flush = threading.Thread(target=setup().flush)
            flush.start()
            begun.wait(20)
        for _ in range(2):
            if not os.fork():
                run(1)
                sys.exit()
        states = [os.wait()[1] for _ in range(2)]
        goes_on.set()
        if exports:
            flush.join()
        assert states == [0, 0]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), str(exports)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "otlp",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    last = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert sorted(json.loads(values)[0] for values in last.values()) == [1, 1, 3]


def test_files_of_several_processes(tmp_path: Path) -> None:
    """In multiprocess mode a run of the parent is in progress once, for as long as it is."""
    source = """
        import os, warnings
        warnings.simplefilter("ignore")  # of forks beside threads
        from dotflow.core.run import Run
        from dotflow_otel import MetricsPrometheus, metrics_app
        metrics = MetricsPrometheus()

        def run(name, start):
            made = Run(name, "w", "billing", "sequential", 1, start)
            metrics.run_started(made)
            return lambda: metrics.run_finished(made.finished(1.0, failed=False))

        def show():
            environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}
            text = b"".join(metrics_app().wsgi(environ, lambda *answer: None)).decode()
            print(*(line.split()[1] for line in sorted(text.splitlines()) if line.startswith((
                "dotflow_workflow_in_progress{", "dotflow_workflow_oldest_start"))))

        end, (read, write) = run("a", 100.0), os.pipe()
        begun = os.pipe()
        if not os.fork():
            end = run("b", 300.0)
            os.write(begun[1], b"x")
            os.read(read, 1)
            end()
            os.write(begun[1], b"x")
            os.read(read, 1)
            os._exit(0)
        os.read(begun[0], 1)
        show()
        end()
        show()
        os.write(write, b"x")
        os.read(begun[0], 1)
        show()
        os.write(write, b"x")
        os.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["2.0 100.0", "1.0 300.0", "0.0 0.0"]
