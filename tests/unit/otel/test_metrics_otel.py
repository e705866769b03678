"""Metrics over OpenTelemetry: instruments, exemplars, and whose provider it is."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from log_records import own_records
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    Sum,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import dotflow
import dotflow.providers
from dotflow import Config, DotFlow, action
from dotflow.abc.scheduler import Tick
from dotflow.core.exception import InvalidOption
from dotflow.core.failure import Failure
from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow_otel import (
    MetricsOpenTelemetry,
    TracerOpenTelemetry,
    conventions,
    histogram_views,
)
from dotflow_otel.metrics import instruments_otel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

needs_exemplars = pytest.mark.skipif(
    not instruments_otel.TAKES_CONTEXT, reason="this OpenTelemetry SDK has no exemplars"
)


@action
def step() -> None:
    """Do nothing."""


@action
def fails() -> None:
    """Fail."""
    raise KeyError("k")


def run_of(name: str = "billing", run_id: str = "r1", started_at: float = 100.0) -> Run:
    """Make the record of a run."""
    return Run(run_id, "w", name, "sequential", 1, started_at)


def task_of(run: Run, name: str = "load", **facts: Any) -> Task:
    """Make a task of a run."""
    task = Task("t" * 26, step, name=name)
    task.run = run
    for key, value in facts.items():
        setattr(task, key, value)
    return task


class Read:
    """What a reader takes out of metrics."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        data = reader.get_metrics_data()
        assert data is not None
        (self.resource,) = data.resource_metrics
        (self.scope,) = self.resource.scope_metrics
        self.metrics = {metric.name: metric for metric in self.scope.metrics}

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """Return the points of a metric by the values of their attributes."""
        found = {}
        for point in self.metrics[name].data.data_points:
            found[tuple(str(value) for value in (point.attributes or {}).values())] = point
        return found

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric likewise."""
        return {key: point.value for key, point in self.points(name).items()}

    def exemplars(self, name: str) -> list[tuple[int, int]]:
        """Return the trace and span ids of a metric's exemplars."""
        return [
            (exemplar.trace_id, exemplar.span_id)
            for point in self.metrics[name].data.data_points
            for exemplar in point.exemplars
        ]


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """Return a reader that keeps what it reads."""
    return InMemoryMetricReader()


@pytest.fixture
def metrics(reader: InMemoryMetricReader) -> Iterator[MetricsOpenTelemetry]:
    """Return metrics of the reader."""
    made = MetricsOpenTelemetry(reader)
    yield made
    made.shutdown()


def drive(metrics: MetricsOpenTelemetry) -> None:
    """Have every metric of the table told at least once."""
    run, failure = run_of(), Failure.of(KeyError())
    metrics.run_started(run)
    for tell in (metrics.task_started, metrics.task_restored, metrics.task_skipped):
        tell(task_of(run))
    metrics.task_timed_out(task_of(run))
    metrics.task_retried(task_of(run, failure=failure, retry_count=1, queue_duration=0.5))
    metrics.task_failed(task_of(run, failure=failure, duration=2.0, retry_count=1))
    metrics.task_completed(task_of(run, duration=2.0))
    metrics.worker_lost(task_of(run))
    metrics.workers_changed(2, 1)
    metrics.telemetry_error("LogStructlog", "info")
    metrics.telemetry_dropped("traces")
    metrics.tick_fired(Tick(1.0, began=9.0))
    metrics.tick_skipped(Tick(1.0), "missed")
    metrics.run_finished(run.finished(3.0, failed=False))
    metrics.workflow_lost("nightly")


def test_instruments_are_those_of_the_table(
    reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry
) -> None:
    """Every metric is there, by its name, unit, description and kind, in our scope."""
    drive(metrics)
    read = Read(reader)
    assert (read.scope.scope.name, read.scope.scope.version) == (
        "dotflow_otel",
        dotflow.__version__,
    )
    found = {
        name: (metric.unit, metric.description, type(metric.data).__name__)
        for name, metric in read.metrics.items()
    }
    kinds = {
        ("counter", "livesum"): "Sum",
        ("gauge", "livesum"): "Sum",
        ("gauge", "max"): "Gauge",
        ("gauge", "liveall"): "Gauge",
        ("histogram", "livesum"): "Histogram",
    }
    assert found == {
        metric.otel_name: (metric.unit, metric.help, kinds[metric.kind, metric.across])
        for metric in conventions.METRICS
    }


def test_names() -> None:
    """The names are dotted, and have neither the unit nor `total` in them."""
    assert [metric.otel_name for metric in conventions.METRICS] == [
        "dotflow.workflow.started",
        "dotflow.workflow.completed",
        "dotflow.workflow.failed",
        "dotflow.workflow.lost",
        "dotflow.workflow.duration",
        "dotflow.workflow.in_progress",
        "dotflow.workflow.last_success_timestamp",
        "dotflow.workflow.oldest_start_timestamp",
        "dotflow.task.started",
        "dotflow.task.completed",
        "dotflow.task.failed",
        "dotflow.task.retried",
        "dotflow.task.restored",
        "dotflow.task.skipped",
        "dotflow.task.timed_out",
        "dotflow.task.duration",
        "dotflow.task.queue",
        "dotflow.task.in_progress",
        "dotflow.worker.lost",
        "dotflow.tick.fired",
        "dotflow.tick.late",
        "dotflow.tick.skipped",
        "dotflow.workers",
        "dotflow.workers.busy",
        "dotflow.telemetry.errors",
        "dotflow.telemetry.dropped",
    ]


def test_sums(reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry) -> None:
    """Counters only rise; what is in progress and the workers go up and down; all add up."""
    drive(metrics)
    read = Read(reader)
    rises = {
        name: metric.data.is_monotonic
        for name, metric in read.metrics.items()
        if isinstance(metric.data, Sum)
    }
    up_and_down = {
        "dotflow.workflow.in_progress",
        "dotflow.task.in_progress",
        "dotflow.workers",
        "dotflow.workers.busy",
    }
    assert {name for name, rising in rises.items() if not rising} == up_and_down
    assert len(rises) == 21


def test_attributes(reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry) -> None:
    """A series has the labels of the table as its attributes."""
    drive(metrics)
    read = Read(reader)
    for metric in conventions.METRICS:
        for point in read.metrics[metric.otel_name].data.data_points:
            assert tuple(point.attributes or {}) == metric.labels


def test_counters_begin_at_zero(
    reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry
) -> None:
    """A workflow's failures are a series at 0 before the first, so that an alert sees that."""
    metrics.run_started(run_of())
    read = Read(reader)
    assert read.values("dotflow.workflow.failed") == {("billing", "sequential"): 0}
    assert read.values("dotflow.workflow.started") == {("billing", "sequential"): 1}
    assert "dotflow.workflow.last_success_timestamp" not in read.metrics


def test_gauges(reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry) -> None:
    """A gauge tells what it was last set to, an up-down counter what it has come to."""
    metrics.workers_changed(4, 3)
    metrics.workers_changed(4, 1)
    metrics.run_started(run_of(run_id="a", started_at=200.0))
    metrics.run_started(run_of(run_id="b", started_at=100.0))
    before = time.time()
    metrics.run_finished(run_of(run_id="b").finished(1.0, failed=False))
    read = Read(reader)
    assert read.values("dotflow.workers") == {(): 4}
    assert read.values("dotflow.workers.busy") == {(): 1}
    assert read.values("dotflow.workflow.in_progress") == {("billing", "sequential"): 1}
    assert read.values("dotflow.workflow.oldest_start_timestamp") == {("billing",): 200}
    (success,) = read.values("dotflow.workflow.last_success_timestamp").values()
    assert before <= success <= time.time()
    assert isinstance(read.metrics["dotflow.workflow.last_success_timestamp"].data, Gauge)


@pytest.mark.parametrize("buckets", [conventions.BUCKETS, (1, 60)])
def test_buckets(buckets: Sequence[float]) -> None:
    """The histograms are in seconds, with our buckets or those that are asked for."""
    reader = InMemoryMetricReader()
    metrics = MetricsOpenTelemetry(reader, buckets=buckets)
    metrics.task_completed(task_of(run_of(), duration=30.0))
    read = Read(reader)
    assert isinstance(read.metrics["dotflow.task.duration"].data, Histogram)
    point = read.points("dotflow.task.duration")["billing", "load", "completed"]
    assert isinstance(point, HistogramDataPoint)
    assert tuple(point.explicit_bounds) == tuple(buckets)
    assert (point.count, point.sum) == (1, 30.0)
    metrics.shutdown()


def test_buckets_on_a_provider_of_the_application(reader: InMemoryMetricReader) -> None:
    """With the views that we give, where any are needed, so are those of its provider."""
    provider = MeterProvider([reader], shutdown_on_exit=False, views=histogram_views())
    metrics = MetricsOpenTelemetry(meter_provider=provider)
    metrics.task_completed(task_of(run_of(), duration=30.0))
    (point,) = Read(reader).points("dotflow.task.duration").values()
    assert tuple(point.explicit_bounds) == conventions.BUCKETS


def test_label_values_are_bounded(
    reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    """Past the limit the values of a label become `other`, with one warning a label."""
    metrics = MetricsOpenTelemetry(reader, max_label_values=2)
    with caplog.at_level(logging.WARNING, "dotflow_otel"):
        for number in range(5):
            metrics.run_started(run_of(f"flow-{number % 4}", str(number)))
    assert Read(reader).values("dotflow.workflow.started") == {
        ("flow-0", "sequential"): 2,
        ("flow-1", "sequential"): 1,
        ("other", "sequential"): 2,
    }
    assert len(own_records(caplog)) == 1
    metrics.shutdown()


# --- exemplars --------------------------------------------------------------------------


@needs_exemplars
def test_exemplars_lead_to_the_task(
    reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry
) -> None:
    """Exemplars carry the span of the task or run that was measured, not the caller's."""
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    config = Config(tracer=TracerOpenTelemetry(tracer_provider=provider), metrics=metrics)
    flow = DotFlow(config=config, name="billing")
    flow.task.add(fails)
    with provider.get_tracer("app").start_as_current_span("request"):
        flow.start()
    contexts = {span.name: span.get_span_context() for span in spans.get_finished_spans()}
    ids = {name: (found.trace_id, found.span_id) for name, found in contexts.items() if found}
    assert len(set(ids.values())) == 3
    read = Read(reader)
    assert read.exemplars("dotflow.task.failed") == [ids["task fails"]]
    assert read.exemplars("dotflow.task.duration") == [ids["task fails"]]
    assert read.exemplars("dotflow.workflow.failed") == [ids["workflow billing"]]
    assert read.exemplars("dotflow.workflow.duration") == [ids["workflow billing"]]


@needs_exemplars
def test_no_exemplar_without_a_span_of_its_own(
    reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry
) -> None:
    """What has no exemplar gets none, also where another span is current in the thread."""
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("app").start_as_current_span("request"):
        metrics.run_started(run_of())
        metrics.task_started(task_of(run_of()))
    read = Read(reader)
    assert read.exemplars("dotflow.workflow.started") == []
    assert read.exemplars("dotflow.task.started") == []


@needs_exemplars
def test_no_exemplar_of_a_span_that_is_not_sampled(
    reader: InMemoryMetricReader, metrics: MetricsOpenTelemetry
) -> None:
    """A span that leads nowhere is no exemplar."""
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    tracer = TracerOpenTelemetry(tracer_provider=provider)
    flow = DotFlow(config=Config(tracer=tracer, metrics=metrics))
    flow.task.add(fails)
    flow.start()
    assert Read(reader).exemplars("dotflow.task.duration") == []


# --- providers --------------------------------------------------------------------------


def test_instances_share_a_provider(
    reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    """Instances on one provider count into the same instruments, without a warning."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            metrics = MetricsOpenTelemetry(meter_provider=provider)
            metrics.run_started(run_of(run_id=str(number)))
            metrics.workers_changed(2, 1)
    read = Read(reader)
    assert read.values("dotflow.workflow.started") == {("billing", "sequential"): 3}
    assert read.values("dotflow.workers") == {(): 2}
    assert [each for each in caplog.records if each.thread == threading.get_ident()] == []


def test_a_provider_is_not_kept_alive() -> None:
    """A provider that nobody holds goes, with its instruments."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    held = weakref.ref(provider)
    MetricsOpenTelemetry(meter_provider=provider).run_started(run_of())
    del provider
    gc.collect()
    assert held() is None


def test_service_name(reader: InMemoryMetricReader) -> None:
    """The provider that is made for a reader is named as asked."""
    metrics = MetricsOpenTelemetry(reader, service_name="shop")
    metrics.run_started(run_of())
    assert Read(reader).resource.resource.attributes["service.name"] == "shop"
    metrics.shutdown()


def test_the_global_provider() -> None:
    """With neither, the application's global provider is taken, also one that is set later.

    Neither the constructor nor a run sets a global.
    """
    source = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from dotflow.core.run import Run
from dotflow_otel import MetricsOpenTelemetry

early = MetricsOpenTelemetry()
MetricsOpenTelemetry(InMemoryMetricReader()).run_started(Run("a", "w", "own", "sequential", 1, 1.0))
assert not isinstance(metrics.get_meter_provider(), MeterProvider)
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
early.run_started(Run("b", "w", "early", "sequential", 1, 1.0))
MetricsOpenTelemetry().run_started(Run("c", "w", "late", "sequential", 1, 1.0))
(resource,) = reader.get_metrics_data().resource_metrics
(scope,) = resource.scope_metrics
(started,) = [metric for metric in scope.metrics if metric.name == "dotflow.workflow.started"]
print(sorted((point.attributes["workflow"], point.value) for point in started.data.data_points))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[('early', 1), ('late', 1)]"
    assert done.stderr == ""


def test_entry_point() -> None:
    """`dotflow.providers` finds it by its name."""
    assert dotflow.providers.MetricsOpenTelemetry is MetricsOpenTelemetry


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reader": "billing"}, "reader='billing'"),
        ({"reader": InMemoryMetricReader(), "meter_provider": MeterProvider()}, "meter_provider="),
        ({"buckets": (2, 1)}, "buckets="),
        ({"max_label_values": 0}, "max_label_values=0"),
        ({"timeout": 0}, "timeout=0"),
    ],
)
def test_bad_options(options: dict[str, Any], named: str) -> None:
    """An option that cannot be is an error that names it and its value."""
    with pytest.raises(InvalidOption) as raised:
        MetricsOpenTelemetry(**options)
    assert str(raised.value).startswith(named)


# --- the end ----------------------------------------------------------------------------


class Backend(MetricExporter):
    """An exporter that keeps the names it is given, or hangs."""

    def __init__(self, hangs: threading.Event | None = None) -> None:
        super().__init__(preferred_temporality={}, preferred_aggregation={})
        self.names: set[str] = set()
        self._hangs = hangs

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        if self._hangs is not None:
            self._hangs.wait(20)
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                self.names |= {metric.name for metric in scope.metrics}
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        pass


def test_flush_and_shutdown() -> None:
    """What was measured reaches the reader's exporter on flush, and what came later at the end."""
    backend = Backend()
    metrics = MetricsOpenTelemetry(PeriodicExportingMetricReader(backend, 3_600_000))
    metrics.run_started(run_of())
    assert metrics.flush()
    assert "dotflow.workflow.started" in backend.names
    assert "dotflow.task.started" not in backend.names
    metrics.task_started(task_of(run_of()))
    assert metrics.shutdown()
    assert "dotflow.task.started" in backend.names
    assert metrics.flush()
    assert metrics.shutdown()


def test_a_backend_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Flush and shutdown end within their bound, whatever the backend does, and tell so."""
    hangs = threading.Event()
    reader = PeriodicExportingMetricReader(Backend(hangs), 3_600_000)
    metrics = MetricsOpenTelemetry(reader, timeout=0.1)
    metrics.run_started(run_of())
    began = time.monotonic()
    assert not metrics.flush()
    assert not metrics.shutdown()
    assert time.monotonic() - began < 5
    assert "metrics were not delivered within 0.1 s" in caplog.text
    hangs.set()
    assert metrics.shutdown(10)


def test_a_provider_of_the_application_is_left_alone() -> None:
    """What the application made it flushes and ends itself."""
    backend = Backend()
    reader = PeriodicExportingMetricReader(backend, 3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = MetricsOpenTelemetry(meter_provider=provider)
    metrics.run_started(run_of())
    assert metrics.flush()
    assert metrics.shutdown()
    assert backend.names == set()
    provider.shutdown()
    assert "dotflow.workflow.started" in backend.names


def test_gauges_are_in_every_export() -> None:
    """Also in those of an interval in which nothing set them, as alerts need it."""
    reader = InMemoryMetricReader()
    metrics = MetricsOpenTelemetry(reader)
    started: list[dict[str, float]] = []

    def gauges() -> dict[str, float]:
        data = reader.get_metrics_data()
        return {
            metric.name: point.value
            for of_resource in (data.resource_metrics if data else ())
            for scope in of_resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name.endswith("_timestamp")
        }

    @action
    def step() -> None:
        started.extend(gauges() for _ in range(3))

    flow = DotFlow(
        config=Config(metrics=metrics, log=dotflow.providers.LogDefault("ERROR")), name="w"
    )
    flow.task.add(step)
    flow.start()
    ended = [gauges() for _ in range(3)]
    metrics.shutdown()
    oldest, last = (
        "dotflow.workflow.oldest_start_timestamp",
        "dotflow.workflow.last_success_timestamp",
    )
    assert [each[oldest] > 1e9 for each in started] == [True] * 3
    assert [last in each for each in started] == [False] * 3
    assert [each[oldest] for each in ended] == [0] * 3
    assert [each[last] > 1e9 for each in ended] == [True] * 3
