"""Metrics as they come over the wire, read by two receivers over both protocols."""

from __future__ import annotations

from collections import defaultdict
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.metrics import Counter
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from wire.points import Family, families_of, latest
from wire.spans import Node, string

import dotflow
from dotflow_otel import conventions

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from wire.signals import Signals

TABLE = {metric.otel_name: metric for metric in conventions.METRICS}
SECONDS = 1_000_000_000  # in nanoseconds

needs_exemplars = pytest.mark.skipif(
    "context" not in signature(Counter.add).parameters,
    reason="this OpenTelemetry SDK has no exemplars",
)


class Story(NamedTuple):
    """What the program has sent of one run."""

    mode: str
    began: int
    ended: int
    root: Node
    requests: list[ExportMetricsServiceRequest]
    metrics: dict[str, Family]

    def value(self, name: str, **labels: str) -> float:
        """Return the value of one series of the run's workflow."""
        return self.metrics[f"dotflow.{name}"].value(workflow="orders", **labels)


@pytest.fixture(scope="module")
def story(signals: Signals) -> Story:
    """Return what a program has sent to each receiver, by each protocol, of each kind of run."""
    # Two groups, one after another: the mode says so.
    mode = "parallel" if signals.mode == "parallel" else "sequential_group"
    metrics = signals.sent.metrics
    return Story(mode, signals.began, signals.ended, signals.root, metrics, latest(metrics))


def test_metrics_are_those_of_the_table(story: Story) -> None:
    """Each metric has name, unit, description, kind and labels of its row."""
    assert story.metrics.keys() <= TABLE.keys()
    for family in families_of(story.requests):
        row = TABLE[family.metric.name]
        assert (family.metric.unit, family.metric.description) == (row.unit, row.help)
        # What is added up over processes is a sum that goes up and down.
        is_sum = row.kind == "counter" or (row.kind == "gauge" and row.across == "livesum")
        assert family.kind == ("sum" if is_sum else row.kind)
        for labels in family.points:
            assert [name for name, _ in labels] == sorted(row.labels)
        assert family.scope == ("dotflow_otel", dotflow.__version__)
        assert family.resource["service.name"] == string("shop")


def test_metrics_of_a_run_are_all_there(story: Story) -> None:
    """What has something to tell is sent."""
    silent = {"task.restored", "telemetry.errors", "telemetry.dropped", "worker.lost"}
    silent |= {"workflow.completed", "workflow.last_success_timestamp", "workflow.lost"}
    silent |= {"tick.fired", "tick.late", "tick.skipped"}
    if story.mode != "parallel":
        silent |= {"task.queue", "workers", "workers.busy"}
    expected = TABLE.keys() - {f"dotflow.{name}" for name in silent}
    assert expected - story.metrics.keys() == set()


def test_workflow_counters(story: Story) -> None:
    """The run is counted once, as started and as failed, and is in progress no more."""
    told = {
        name: story.value(f"workflow.{name}", mode=story.mode)
        for name in ("started", "failed", "in_progress")
    }
    assert told == {"started": 1, "failed": 1, "in_progress": 0}
    assert story.value("workflow.oldest_start_timestamp") == 0


def test_task_counters(story: Story) -> None:
    """The ledger balances: each task is started or skipped, and ends once."""
    counts = defaultdict(float)
    for name in ("started", "completed", "failed", "retried", "skipped", "timed_out"):
        for labels, point in story.metrics[f"dotflow.task.{name}"].points.items():
            values = dict(labels)
            assert values.pop("workflow") == "orders"
            assert point.WhichOneof("value") == "as_int"
            key = name, values.pop("task"), *values.values()
            counts[key] += point.as_int
    assert {key: count for key, count in counts.items() if count} == {
        ("started", "read"): 1,
        ("completed", "read"): 1,
        ("started", "unsteady"): 1,
        ("retried", "unsteady", "ConnectionError"): 1,
        ("completed", "unsteady"): 1,
        ("started", "late"): 1,
        ("timed_out", "late"): 2,
        ("retried", "late", "timeout"): 1,
        ("failed", "late", "timeout"): 1,
        ("skipped", "never"): 1,
        ("started", "broken"): 1,
        ("failed", "broken", "ValueError"): 1,
    }
    points = story.metrics["dotflow.task.in_progress"].points
    assert {dict(labels)["task"] for labels in points} >= {"read", "unsteady", "late", "broken"}
    for labels in points:
        assert story.metrics["dotflow.task.in_progress"].value(**dict(labels)) == 0


def test_histograms(story: Story) -> None:
    """Durations are in seconds, in our buckets, and each is in one of them."""
    for family in story.metrics.values():
        if family.kind != "histogram":
            continue
        for point in family.points.values():
            assert tuple(point.explicit_bounds) == conventions.BUCKETS
            assert len(point.bucket_counts) == len(conventions.BUCKETS) + 1
            assert sum(point.bucket_counts) == point.count
    run = {"workflow": "orders", "mode": story.mode, "status": "failed"}
    took = point_of(story, "workflow.duration", **run)
    assert took.count == 1
    assert 0.4 <= took.sum <= (story.ended - story.began) / SECONDS
    late = point_of(story, "task.duration", workflow="orders", task="late", status="failed")
    # Two attempts, each of 0.2 s.
    assert (late.count, late.bucket_counts[:6]) == (1, [0] * 6)
    assert 0.4 <= late.sum <= took.sum
    assert late.sum == pytest.approx(late.min) == pytest.approx(late.max)


def point_of(story: Story, name: str, **labels: str) -> Any:
    """Return the point of one series."""
    return story.metrics[f"dotflow.{name}"].points[tuple(sorted(labels.items()))]


def test_sums_are_cumulative(story: Story) -> None:
    """Counters only rise, from one start on, over all requests; levels are sums that do not."""
    assert len(story.requests) > 1
    seen: dict[object, tuple[int, float]] = {}
    for family in families_of(story.requests):
        if family.kind == "gauge":
            continue
        data = getattr(family.metric, family.kind)
        assert data.aggregation_temporality == (
            AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        )
        if family.kind == "histogram":
            continue
        assert data.is_monotonic is (TABLE[family.metric.name].kind == conventions.COUNTER)
        for labels, point in family.points.items():
            start, before = seen.get((family.metric.name, labels), (point.start_time_unix_nano, 0))
            value = family.value(**dict(labels))
            assert point.start_time_unix_nano == start
            assert not data.is_monotonic or value >= before
            seen[family.metric.name, labels] = start, value


def test_times(story: Story) -> None:
    """Points are of the time of the run, in nanoseconds since the epoch."""
    for family in families_of(story.requests):
        for point in family.points.values():
            assert story.began - 10 * SECONDS <= point.time_unix_nano
            assert point.time_unix_nano <= story.ended + 10 * SECONDS
            # A gauge has no start.
            assert point.start_time_unix_nano <= point.time_unix_nano


@needs_exemplars
def test_exemplars(story: Story) -> None:
    """Durations and failures lead to the spans that they tell of."""
    run = {"workflow": "orders", "mode": story.mode}
    expected = [
        ("workflow.failed", run, story.root),
        ("workflow.duration", {**run, "status": "failed"}, story.root),
    ]
    for task, status in (("read", "completed"), ("late", "failed"), ("broken", "failed")):
        labels, node = {"workflow": "orders", "task": task}, story.root.only(f"task {task}")
        expected.append(("task.duration", {**labels, "status": status}, node))
        if status == "failed":
            error = {"error_type": "timeout" if task == "late" else "ValueError"}
            expected.append(("task.failed", {**labels, **error}, node))
    for name, labels, node in expected:
        assert exemplars_of(story, name, **labels) == [(node.span.trace_id, node.span.span_id)]


def exemplars_of(story: Story, name: str, **labels: str) -> list[tuple[bytes, bytes]]:
    """Return the ids of the exemplars of one series: each is sent once, with its request."""
    points = [
        family.points.get(tuple(sorted(labels.items())))
        for family in families_of(story.requests)
        if family.metric.name == f"dotflow.{name}"
    ]
    return [
        (exemplar.trace_id, exemplar.span_id)
        for point in points
        if point is not None
        for exemplar in point.exemplars
    ]


def test_no_secret_is_sent(story: Story) -> None:
    """Neither what a step was given nor what it returned is in a metric."""
    assert b"secret" not in b"".join(request.SerializeToString() for request in story.requests)
