"""Every metric of a service, scraped by Prometheus and asked of it again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from backends.ports import closed_port
from backends.prometheus import Prometheus
from backends.promtool import promtool
from backends.service import Service
from backends.waiting import eventually
from wire.receivers import OwnReceiver

from dotflow_otel.conventions import HISTOGRAM, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

Ids = dict[str, str]

# By metric the series that are not 0, each by the values of its labels in the table's order;
# of a histogram how many values it has.
EXPECTED: dict[str, dict[tuple[str, ...], float]] = {
    "dotflow_workflow_started_total": {
        ("completed", "sequential"): 3,
        ("failed", "sequential"): 1,
        ("retried", "sequential"): 1,
        ("timed out", "sequential"): 1,
        ("lost", "parallel"): 1,
        ("pair", "parallel"): 1,
        ("resumed", "sequential"): 2,
        ("noisy", "sequential"): 1,
        ("endless", "background"): 1,
    },
    "dotflow_workflow_completed_total": {
        ("completed", "sequential"): 3,
        ("retried", "sequential"): 1,
        ("pair", "parallel"): 1,
        ("resumed", "sequential"): 1,
        ("noisy", "sequential"): 1,
    },
    "dotflow_workflow_failed_total": {
        ("failed", "sequential"): 1,
        ("timed out", "sequential"): 1,
        ("lost", "parallel"): 1,
        ("resumed", "sequential"): 1,
    },
    "dotflow_workflow_duration_seconds": {
        ("completed", "sequential", "completed"): 3,
        ("failed", "sequential", "failed"): 1,
        ("retried", "sequential", "completed"): 1,
        ("timed out", "sequential", "failed"): 1,
        ("lost", "parallel", "failed"): 1,
        ("pair", "parallel", "completed"): 1,
        ("resumed", "sequential", "failed"): 1,
        ("resumed", "sequential", "completed"): 1,
        ("noisy", "sequential", "completed"): 1,
    },
    "dotflow_workflow_in_progress": {("endless", "background"): 1},
    "dotflow_task_started_total": {
        ("completed", "ok"): 3,
        ("failed", "ok"): 1,
        ("failed", "fails"): 1,
        ("retried", "unsteady"): 1,
        ("timed out", "late"): 1,
        ("lost", "ok"): 3,
        ("lost", "killed"): 1,
        ("pair", "meets"): 2,
        ("resumed", "ok"): 2,
        ("resumed", "when_mended"): 2,
        ("noisy", "ok"): 1,
        ("endless", "endless"): 1,
    },
    "dotflow_task_completed_total": {
        ("completed", "ok"): 3,
        ("failed", "ok"): 1,
        ("retried", "unsteady"): 1,
        ("lost", "ok"): 3,
        ("pair", "meets"): 2,
        ("resumed", "ok"): 2,
        ("resumed", "when_mended"): 1,
        ("noisy", "ok"): 1,
    },
    "dotflow_task_failed_total": {
        ("failed", "fails", "ValueError"): 1,
        ("timed out", "late", "timeout"): 1,
        ("lost", "killed", "worker_lost"): 1,
        ("resumed", "when_mended", "FileNotFoundError"): 1,
    },
    "dotflow_task_retried_total": {
        ("retried", "unsteady", "ConnectionError"): 2,
        ("timed out", "late", "timeout"): 1,
    },
    "dotflow_task_restored_total": {("resumed", "ok"): 2},
    "dotflow_task_skipped_total": {("failed", "ok"): 2},
    "dotflow_task_timed_out_total": {("timed out", "late"): 2},
    "dotflow_task_duration_seconds": {
        ("completed", "ok", "completed"): 3,
        ("failed", "ok", "completed"): 1,
        ("failed", "fails", "failed"): 1,
        ("retried", "unsteady", "completed"): 1,
        ("timed out", "late", "failed"): 1,
        ("lost", "ok", "completed"): 3,
        ("lost", "killed", "failed"): 1,
        ("pair", "meets", "completed"): 2,
        ("resumed", "ok", "completed"): 2,
        ("resumed", "when_mended", "failed"): 1,
        ("resumed", "when_mended", "completed"): 1,
        ("noisy", "ok", "completed"): 1,
    },
    "dotflow_task_queue_seconds": {("lost", "ok"): 3, ("lost", "killed"): 1, ("pair", "meets"): 2},
    "dotflow_task_in_progress": {("endless", "endless"): 1},
    "dotflow_worker_lost_total": {("lost", "killed"): 1},
    "dotflow_workers": {(): 2},
    "dotflow_telemetry_errors_total": {("BrokenNotify", "hook_status_task"): 3},
}
# All are 0 by now, and there all the same.
AT_REST = {"dotflow_workers_busy"}
# Their values are times, or another service's; no run of this one was lost, and it has no schedule.
APART = {
    "dotflow_workflow_lost_total",
    "dotflow_workflow_last_success_timestamp_seconds",
    "dotflow_workflow_oldest_start_timestamp_seconds",
    "dotflow_telemetry_dropped_total",
    "dotflow_tick_fired_total",
    "dotflow_tick_late_total",
    "dotflow_tick_skipped_total",
}
BY_NAME = {metric.name: metric for metric in METRICS}


class Scraped:
    """A service, the Prometheus that has scraped it, and the spans that it has sent."""

    def __init__(self, prometheus: Prometheus, service: Service, receiver: OwnReceiver) -> None:
        self.prometheus = prometheus
        self.said = service.said
        self.now = time.time()
        self.spans = _spans(receiver)

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric, by those of labels."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in self.prometheus.query(f'{name}{{job="shop"}}')
        }

    def exemplars(self, query: str) -> list[tuple[dict[str, str], Ids]]:
        """Return the exemplars of a query: the labels of the series, and the ids."""
        found = self.prometheus.query_exemplars(query, self.said["began"] - 1, self.now + 60)
        return [(each.series, each.labels) for each in found]


def _spans(receiver: OwnReceiver) -> dict[str, Span]:
    spans: dict[str, Span] = {}

    def take() -> bool:
        for request in receiver.take().traces:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.update({span.span_id.hex(): span for span in scope.spans})
        # Sent last, for it ended last of those that are looked for.
        return any(span.name == "workflow noisy" for span in spans.values())

    eventually(take, "the spans of the service")
    return spans


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Return what a service and its Prometheus have, once all of it is there."""
    folder = tmp_path_factory.mktemp("scraped")
    with (
        Prometheus(folder / "prometheus") as prometheus,
        OwnReceiver() as receiver,
        Service(
            "service.py",
            folder,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint("http/protobuf"),
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_BSP_SCHEDULE_DELAY="100",
        ) as service,
    ):
        prometheus.scrape(service.said["url"], "shop")
        yield Scraped(prometheus, service, receiver)


def test_every_metric_is_asked_for() -> None:
    """A metric that is new in the table needs an expectation here."""
    assert EXPECTED.keys() | AT_REST | APART == BY_NAME.keys()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_values(scraped: Scraped, name: str) -> None:
    """Prometheus has each series with its value, and none beside them but at 0."""
    metric = BY_NAME[name]
    asked = f"{name}_count" if metric.kind == HISTOGRAM else name
    found = scraped.values(asked, *metric.labels)
    assert {labels: value for labels, value in found.items() if value} == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(AT_REST))
def test_values_at_rest(scraped: Scraped, name: str) -> None:
    """A gauge of what is not going on is 0, and there."""
    assert scraped.values(name, *BY_NAME[name].labels) == {(): 0}


@pytest.mark.parametrize(
    "name", sorted(metric.name for metric in METRICS if metric.kind == HISTOGRAM)
)
def test_histograms(scraped: Scraped, name: str) -> None:
    """The last bucket has every value; the buckets rise, and quantiles can be asked for."""
    labels = BY_NAME[name].labels
    total = scraped.values(f"{name}_count", *labels)
    last = scraped.prometheus.query(f'{name}_bucket{{le="+Inf"}}')
    assert {tuple(each.labels[label] for label in labels): each.value for each in last} == total
    quantiles = scraped.prometheus.query(f"histogram_quantile(0.5, {name}_bucket)")
    assert len(quantiles) == len(total)
    assert all(0 < each.value < 10 for each in quantiles)


def test_a_timeout_lasts_as_long_as_it_may(scraped: Scraped) -> None:
    """Two attempts of 0.1 s are a task of 0.2 s, in seconds."""
    name = "dotflow_task_duration_seconds_sum"
    lasted = scraped.values(name, "workflow")["timed out",]
    assert 0.2 <= lasted < 20


def test_last_success(scraped: Scraped) -> None:
    """Who has completed says when; who has not says nothing."""
    name = "dotflow_workflow_last_success_timestamp_seconds"
    found = scraped.values(name, "workflow")
    assert found.keys() == {("completed",), ("retried",), ("pair",), ("resumed",), ("noisy",)}
    assert all(scraped.said["began"] < value < scraped.now for value in found.values())


def test_oldest_start(scraped: Scraped) -> None:
    """The run that goes on says when it began; where none goes on it is 0."""
    found = scraped.values("dotflow_workflow_oldest_start_timestamp_seconds", "workflow")
    assert scraped.said["began"] < found.pop(("endless",)) < scraped.now
    assert set(found.values()) == {0}


def test_ledger_balances(scraped: Scraped) -> None:
    """What started has completed or failed or goes on, asked of Prometheus in its language."""
    runs = (
        "dotflow_workflow_started_total - dotflow_workflow_completed_total"
        " - dotflow_workflow_failed_total - dotflow_workflow_in_progress"
    )
    tasks = (
        "dotflow_task_started_total - dotflow_task_completed_total - dotflow_task_in_progress"
        " - (sum without (error_type) (dotflow_task_failed_total)"
        " or 0 * dotflow_task_started_total)"
    )
    for promql, count in ((runs, 9), (tasks, 12)):
        assert [each.value for each in scraped.prometheus.query(promql)] == [0] * count


@pytest.mark.parametrize(
    ("query", "span"),
    [
        ('dotflow_workflow_failed_total{workflow="failed"}', "workflow failed"),
        ('dotflow_workflow_duration_seconds_bucket{workflow="retried"}', "workflow retried"),
        ('dotflow_task_failed_total{task="fails"}', "task fails"),
        ('dotflow_task_retried_total{error_type="timeout"}', "task late"),
        ("dotflow_task_timed_out_total", "task late"),
        ('dotflow_task_duration_seconds_bucket{task="when_mended"}', "task when_mended"),
        ('dotflow_task_queue_seconds_bucket{task="killed"}', "task killed"),
        ('dotflow_worker_lost_total{task="killed"}', "task killed"),
    ],
)
def test_exemplars_lead_to_spans(scraped: Scraped, query: str, span: str) -> None:
    """An exemplar carries the ids of a span that was exported, and of its trace."""
    found = scraped.exemplars(query)
    assert found
    for _, ids in found:
        assert ids.keys() == {"trace_id", "span_id"}
        exported = scraped.spans[ids["span_id"]]
        assert exported.name in {span, "attempt"}
        assert exported.trace_id.hex() == ids["trace_id"]


def test_exposition_is_clean(scraped: Scraped) -> None:
    """Promtool finds nothing to complain about in what the service shows."""
    with urlopen(scraped.said["url"]) as response:  # noqa: S310 - on loopback
        text = response.read().decode()
    # prometheus-client's own metrics are not ours to judge.
    lines = [line for line in text.splitlines() if "dotflow_" in line]
    verdict = promtool("check", "metrics", stdin="\n".join([*lines, ""]))
    assert (verdict.ok, verdict.said) == (True, "")


def test_target_is_healthy(scraped: Scraped) -> None:
    """Prometheus scrapes without an error or a warning, again and again."""
    targets: list[dict[str, Any]] = scraped.prometheus.get_json("/api/v1/targets")["data"][
        "activeTargets"
    ]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    assert "level=warn" not in scraped.prometheus.log


def test_dropped_spans(tmp_path: Path, prometheus: Prometheus) -> None:
    """What an exporter cannot deliver is counted, for Prometheus to see."""
    with (
        closed_port() as address,
        Service(
            "dropping.py",
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{address}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as service,
    ):
        prometheus.scrape(service.said["url"], "shop")
        (dropped,) = prometheus.awaited("dotflow_telemetry_dropped_total > 0")
    assert dropped.labels["signal"] == "traces"
    assert dropped.value >= 2  # a run's span and its task's
