"""Recorded metrics: values, differences, exemplars, the ledger, and what failures say."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Info, Summary
from prometheus_client.core import CounterMetricFamily, Metric

from dotflow import Config, DotFlow, action
from dotflow.core.exception import InvalidOption
from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow_otel import (
    LogStructlog,
    MetricsPrometheus,
    MetricsSnapshot,
    RecordedTelemetry,
    conventions,
    record_telemetry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMPLETED = "dotflow_task_completed_total"
FAILED = "dotflow_task_failed_total"
DURATION = "dotflow_task_duration_seconds"


@pytest.fixture
def telemetry() -> Iterator[RecordedTelemetry]:
    """Return a recording that leaves the global tracer provider alone."""
    with record_telemetry(global_tracer=False) as recorded:
        yield recorded


@action
def load() -> int:
    """Succeed."""
    return 1


@action
def save() -> None:
    """Fail."""
    raise ValueError("disk full")


@action(retry=2, retry_delay=0)
def fetch() -> None:
    """Fail twice."""
    raise KeyError("k")


def run(config: Config, *steps: Any, name: str = "billing", **options: Any) -> None:
    """Run steps as a workflow."""
    flow = DotFlow(config=config, name=name)
    flow.task.add(list(steps))
    flow.start(**options)


def message(kind: type[Exception], function: Any, *args: Any, **kwargs: Any) -> str:
    """Return the text of the error that a call raises."""
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# --- values -----------------------------------------------------------------------------


def test_values_are_sums(telemetry: RecordedTelemetry) -> None:
    """A value is the sum of the series that have the labels given, be it some of them or all."""
    run(telemetry.config, load, save, fetch, keep_going=True)
    run(telemetry.config, save, name="orders")
    assert telemetry.metric(FAILED) == 3
    assert telemetry.metric(FAILED, task="save") == 2
    assert telemetry.metric(FAILED, workflow="billing") == 2
    assert telemetry.metric(FAILED, error_type="KeyError") == 1
    labels = {"workflow": "billing", "task": "save", "error_type": "ValueError"}
    assert telemetry.metric(FAILED, **labels) == 1
    assert telemetry.metric(f"{DURATION}_count", status="failed") == 3
    assert telemetry.metric(f"{DURATION}_bucket", le="+Inf", task="save") == 2
    assert telemetry.metric(f"{DURATION}_sum") > 0


def test_what_is_not_there_yet_is_0(telemetry: RecordedTelemetry) -> None:
    """Every metric of the table can be asked for before there is a series, with its labels."""
    for metric in conventions.METRICS:
        ends = ("_count", "_sum", "_bucket") if metric.kind == conventions.HISTOGRAM else ("",)
        for end in ends:
            value = telemetry.metric(metric.name + end, **dict.fromkeys(metric.labels, "x"))
            assert (value, type(value)) == (0, float)


def test_metrics_of_the_test_s_own(telemetry: RecordedTelemetry) -> None:
    """Other metrics on the registry are read as well, of every kind."""
    Counter("rows", "Rows.", ["table"], registry=telemetry.registry).labels("a").inc(3)
    Gauge("depth_created", "Depth.", registry=telemetry.registry).set(4)
    Summary("size", "Size.", registry=telemetry.registry).observe(5)
    Info("build", "Build.", registry=telemetry.registry).info({"version": "1"})
    assert telemetry.metric("rows_total", table="a") == 3
    assert telemetry.metric("depth_created") == 4
    assert (telemetry.metric("size_sum"), telemetry.metric("size_count")) == (5, 1)
    assert telemetry.metric("build_info", version=1) == 1


def test_times_are_not_summed_up(telemetry: RecordedTelemetry) -> None:
    """Of a gauge whose sum means nothing one series has to be chosen."""
    name = "dotflow_workflow_last_success_timestamp_seconds"
    run(telemetry.config, load, name="a")
    run(telemetry.config, load, name="b")
    assert telemetry.metric(name, workflow="a") > 1e9
    assert message(InvalidOption, telemetry.metric, name) == (
        f"metric='{name}' is not valid: give labels that choose one of "
        f'{name}{{workflow="a"}}, {name}{{workflow="b"}}.'
    )


def test_unknown_names(telemetry: RecordedTelemetry) -> None:
    """A name that no metric has is an error with near ones; a histogram's has a suffix."""
    assert message(InvalidOption, telemetry.metric, "dotflow_task_complted_total") == (
        "metric='dotflow_task_complted_total' is not valid: there is no such metric; near are "
        "dotflow_task_completed_total, dotflow_task_failed_total, dotflow_task_started_total."
    )
    assert message(InvalidOption, telemetry.metric, DURATION) == (
        f"metric='{DURATION}' is not valid: it is a histogram; ask for "
        f"'{DURATION}_count', '{DURATION}_sum' or '{DURATION}_bucket'."
    )
    assert message(InvalidOption, telemetry.metric, "dotflow_task_failed") == (
        "metric='dotflow_task_failed' is not valid: it is a counter; ask for "
        "'dotflow_task_failed_total'."
    )
    assert message(InvalidOption, telemetry.metric, "q") == (
        "metric='q' is not valid: there is no such metric; `metrics()` gives them all."
    )


def test_unknown_labels(telemetry: RecordedTelemetry) -> None:
    """A label that a metric does not have is an error, which tells those that it has."""
    Counter("rows", "Rows.", ["table"], registry=telemetry.registry).labels("a").inc(3)
    assert message(InvalidOption, telemetry.metric, FAILED, tsk="save") == (
        f"label='tsk' is not valid: {FAILED} has the labels workflow, task, error_type."
    )
    assert message(InvalidOption, telemetry.metric, "dotflow_workers", task="save") == (
        "label='task' is not valid: dotflow_workers has no labels."
    )
    with pytest.raises(InvalidOption, match="rows_total has the labels table"):
        telemetry.metric("rows_total", tbl="a")


# --- snapshots --------------------------------------------------------------------------


def test_differences(telemetry: RecordedTelemetry) -> None:
    """The difference of two snapshots has what was added in between, and nothing else."""
    run(telemetry.config, load, save)
    before = telemetry.metrics("dotflow_task")
    run(telemetry.config, load)
    added = telemetry.metrics("dotflow_task") - before
    (duration,) = (series for series in added if series.startswith(f"{DURATION}_sum"))
    assert {series: value for series, value in added.items() if series != duration} == {
        'dotflow_task_completed_total{task="load",workflow="billing"}': 1,
        f'{DURATION}_count{{status="completed",task="load",workflow="billing"}}': 1,
        'dotflow_task_started_total{task="load",workflow="billing"}': 1,
    }
    assert str(added).splitlines()[0] == (
        'dotflow_task_completed_total{task="load",workflow="billing"} 1'
    )


def test_a_snapshot_stays(telemetry: RecordedTelemetry) -> None:
    """A snapshot does not change; it has all values but buckets, sorted."""
    before = telemetry.metrics()
    run(telemetry.config, load)
    assert before == {"dotflow_workers": 0, "dotflow_workers_busy": 0}
    after = telemetry.metrics()
    assert list(after) == sorted(after)
    assert not [series for series in after if "bucket" in series or "created" in series]
    assert after["dotflow_workers"] == 0
    assert repr(MetricsSnapshot({"b": 1, "a": 2})) == "MetricsSnapshot({'a': 2, 'b': 1})"


def test_what_was_there_before_does_not_count() -> None:
    """On a registry that others use too, a recording counts what it adds, and not gauges' moves."""
    registry = CollectorRegistry()
    log = LogStructlog(stream=io.StringIO())
    run(Config(metrics=MetricsPrometheus(registry), log=log), load, save)
    Gauge("depth", "Depth.", registry=registry).set(4)
    with record_telemetry(registry=registry, global_tracer=False) as telemetry:
        assert telemetry.metric(COMPLETED) == 0
        assert telemetry.metric("depth") == 4
        with pytest.raises(AssertionError):
            telemetry.exemplar(FAILED)
        run(telemetry.config, load)
        assert telemetry.metric(COMPLETED) == 1
        assert telemetry.metric(f"{DURATION}_count") == 1
        telemetry.assert_balanced()


# --- exemplars --------------------------------------------------------------------------


def test_exemplars(telemetry: RecordedTelemetry) -> None:
    """The exemplar of a counter or histogram leads to the span that it was taken in."""
    run(telemetry.config, load, save)
    for name, task in ((FAILED, "save"), (DURATION, "load"), (f"{DURATION}_bucket", "load")):
        span, exemplar = telemetry.span(f"task {task}"), telemetry.exemplar(name, task=task)
        assert (exemplar.trace_id, exemplar.span_id) == (span.trace_id, span.span_id)
    assert telemetry.exemplar(FAILED).value == 1
    duration = telemetry.event("task.completed")["duration"]
    assert telemetry.exemplar(DURATION, task="load").value == duration


def test_the_latest_exemplar(telemetry: RecordedTelemetry) -> None:
    """Of several exemplars the latest is given."""
    run(telemetry.config, save)
    run(telemetry.config, save, name="orders")
    latest = telemetry.span("task save", {"dotflow.workflow.name": "orders"})
    assert telemetry.exemplar(FAILED).span_id == latest.span_id


def test_no_exemplar(telemetry: RecordedTelemetry) -> None:
    """Without one the message tells which series there are."""
    assert message(AssertionError, telemetry.exemplar, FAILED, task="save") == (
        "no exemplar of dotflow_task_failed_total with task='save'; series that fit:\n  none"
    )
    run(telemetry.config, load)
    assert message(AssertionError, telemetry.exemplar, COMPLETED) == (
        "no exemplar of dotflow_task_completed_total; series that fit:\n"
        '  dotflow_task_completed_total{task="load",workflow="billing"} 1'
    )
    with pytest.raises(InvalidOption, match="near are"):
        telemetry.exemplar("dotflow_task_faled_total")


# --- the ledger -------------------------------------------------------------------------


def test_balance(telemetry: RecordedTelemetry) -> None:
    """After whole runs, good or bad, retried or cut short, the ledger balances."""
    telemetry.assert_balanced()
    run(telemetry.config, load, fetch, save, load)
    run(telemetry.config, load, fetch, save, load, keep_going=True)
    run(telemetry.config)
    telemetry.assert_balanced()


def test_an_imbalance(telemetry: RecordedTelemetry) -> None:
    """Each equation that does not hold is told, with its numbers."""
    run(telemetry.config, load, save)
    metrics = MetricsPrometheus(telemetry.registry)
    task = Task("t" * 26, load, name="load")
    task.run = Run("r", "w", "billing", "sequential", 1, 1.0)
    metrics.task_started(task)
    metrics.run_finished(task.run.finished(1.0, failed=True))
    metrics.run_finished(task.run.finished(1.0, failed=True))
    assert message(AssertionError, telemetry.assert_balanced) == (
        "the ledger does not balance:\n"
        "  runs of billing (sequential): started 1 != completed 0 + failed 3\n"
        "  runs of billing (sequential): in progress -2 != expected 0\n"
        "  task load of billing: started 2 != completed 1 + failed 0\n"
        "  task load of billing: in progress 1 != expected 0\n"
        "  tasks of all runs: planned 2 != started 3 + restored 0 + skipped 0\n"
        "  tasks: task spans 2 != started 3 + restored 0\n"
        "  attempts: attempts in task spans 2 != started 3 + retried 0"
    )


class Collector:
    """What is registered beside the metrics of a recording."""

    def __init__(self, *families: Metric) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


def test_an_end_without_a_beginning(telemetry: RecordedTelemetry) -> None:
    """What ended and never began is an imbalance as well."""
    completed = CounterMetricFamily("dotflow_task_completed", "", labels=("workflow", "task"))
    completed.add_metric(("billing", "load"), 1)
    telemetry.registry.register(Collector(completed))
    assert message(AssertionError, telemetry.assert_balanced) == (
        "the ledger does not balance:\n"
        "  task load of billing: started 0 != completed 1 + failed 0\n"
        "  task load of billing: durations 0 != completed 1"
    )


def test_a_run_that_goes_on(telemetry: RecordedTelemetry) -> None:
    """While a run goes on the ledger does not balance, and tells what is in progress."""
    release, begun = threading.Event(), threading.Event()

    @action
    def wait() -> None:
        begun.set()
        release.wait(20)

    flow = DotFlow(config=telemetry.config, name="billing")
    flow.task.add(wait)
    manager = flow.start(mode="background")
    begun.wait(20)
    text = message(AssertionError, telemetry.assert_balanced)
    release.set()
    manager.thread.join(20)
    assert "task wait of billing: in progress 1 != expected 0" in text.splitlines()[-1]
    telemetry.assert_balanced()


def test_a_lost_span(telemetry: RecordedTelemetry) -> None:
    """Runs whose spans went elsewhere are missed where others were recorded."""
    run(telemetry.config, load)
    run(Config(metrics=telemetry.config.metrics, log=telemetry.config.log), load)
    assert message(AssertionError, telemetry.assert_balanced).splitlines()[1:] == [
        "  runs: started 2 != workflow spans 1",
        "  tasks of all runs: planned 1 != started 2 + restored 0 + skipped 0",
        "  tasks: task spans 1 != started 2 + restored 0",
        "  attempts: attempts in task spans 1 != started 2 + retried 0",
    ]
