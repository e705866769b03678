"""Metrics for Prometheus: registries, labels, buckets, and the hooks one by one."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from log_records import own_records
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from dotflow import Config, DotFlow, action
from dotflow.abc.scheduler import Tick
from dotflow.core.exception import InvalidOption
from dotflow.core.failure import Failure
from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow_otel import MetricsPrometheus

if TYPE_CHECKING:
    from collections.abc import Sequence


@action
def step() -> None:
    """Do nothing."""


def run_of(name: str = "billing", run_id: str = "r1", started_at: float = 100.0) -> Run:
    """Make the record of a run."""
    return Run(run_id, "w", name, "sequential", 1, started_at)


def task_of(run: Run | None, name: str = "load", **facts: Any) -> Task:
    """Make a task of a run."""
    task = Task("t" * 26, step, name=name)
    task.run = run
    for key, value in facts.items():
        setattr(task, key, value)
    return task


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return an empty registry."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> MetricsPrometheus:
    """Return metrics on the registry."""
    return MetricsPrometheus(registry)


def series(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by the values of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def test_default_registry() -> None:
    """Without a registry prometheus-client's own is used."""
    assert MetricsPrometheus().registry is REGISTRY


def test_two_instances_share_a_registry(registry: CollectorRegistry) -> None:
    """Two instances on one registry count into the same metrics, and do not clash."""
    for metrics in (MetricsPrometheus(registry), MetricsPrometheus(registry)):
        metrics.run_started(run_of(run_id=str(id(metrics))))
    assert (
        registry.get_sample_value(
            "dotflow_workflow_started_total", {"workflow": "billing", "mode": "sequential"}
        )
        == 2
    )


def test_a_registry_is_not_kept_alive() -> None:
    """A registry that nobody holds goes, with its metrics."""
    registry = CollectorRegistry()
    held = weakref.ref(registry)
    MetricsPrometheus(registry).run_started(run_of())
    del registry
    gc.collect()
    assert held() is None


def test_buckets(registry: CollectorRegistry) -> None:
    """The histograms have the buckets that are asked for."""
    metrics = MetricsPrometheus(registry, buckets=(1, 60))
    metrics.task_completed(task_of(run_of(), duration=30.0))
    found = series(registry, "dotflow_task_duration_seconds_bucket")
    key = ("billing", "load", "completed")
    assert found == {(*key, "1.0"): 0, (*key, "60.0"): 1, (*key, "+Inf"): 1}


@pytest.mark.parametrize("buckets", [(), (2, 1), (1, 1)])
def test_bad_buckets(buckets: Sequence[float]) -> None:
    """Buckets that do not rise are an error that names them."""
    with pytest.raises(InvalidOption, match="buckets"):
        MetricsPrometheus(CollectorRegistry(), buckets=buckets)


def test_bad_limit() -> None:
    """A label must have room for one value."""
    with pytest.raises(InvalidOption, match="max_label_values"):
        MetricsPrometheus(CollectorRegistry(), max_label_values=0)


def test_label_values_are_bounded(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Past the limit the values of a label become `other`, with one warning a label."""
    metrics = MetricsPrometheus(registry, max_label_values=2)
    with caplog.at_level(logging.WARNING, "dotflow_otel"):
        for number in range(5):
            run = run_of(f"flow-{number % 4}", str(number))
            metrics.run_started(run)
            task = task_of(run, f"task-{number % 4}")
            task.failure = Failure.of(type(f"E{number}", (Exception,), {})())
            metrics.task_started(task)
            metrics.task_failed(task)
    started = series(registry, "dotflow_workflow_started_total")
    assert {key[0]: value for key, value in started.items()} == {
        "flow-0": 2,
        "flow-1": 1,
        "other": 2,
    }
    failed = series(registry, "dotflow_task_failed_total")
    assert {key[1] for key in failed} == {"task-0", "task-1", "other"}
    assert len({key[2] for key in failed}) == 3
    warned = [record.getMessage().split("'")[1] for record in own_records(caplog)]
    assert sorted(warned) == ["error_type", "task", "workflow"]


def test_counters_begin_at_zero(registry: CollectorRegistry) -> None:
    """A workflow's failures are a series at 0 before the first, so that an alert sees that."""
    MetricsPrometheus(registry).run_started(run_of())
    labels = {"workflow": "billing", "mode": "sequential"}
    assert registry.get_sample_value("dotflow_workflow_failed_total", labels) == 0


def test_oldest_start(registry: CollectorRegistry, metrics: MetricsPrometheus) -> None:
    """The gauge tells the start of the oldest run in progress of a workflow, and 0 at the end."""
    name, labels = "dotflow_workflow_oldest_start_timestamp_seconds", {"workflow": "billing"}
    young, old = run_of(run_id="a", started_at=200.0), run_of(run_id="b", started_at=100.0)
    seen = []
    for run in (young, old):
        metrics.run_started(run)
        seen.append(registry.get_sample_value(name, labels))
    for run in (old, young):
        metrics.run_finished(run.finished(1.0, failed=False))
        seen.append(registry.get_sample_value(name, labels))
    assert seen == [200, 100, 200, 0]


def test_hooks_of_1x(registry: CollectorRegistry, metrics: MetricsPrometheus) -> None:
    """A program that calls the hooks of 1.x itself is counted as well."""
    metrics.workflow_started("w1", mode="parallel")
    metrics.workflow_started("w2", mode="parallel")
    metrics.workflow_completed("w1", 2.0)
    metrics.workflow_failed("w2", 3.0)
    metrics.workflow_failed("unknown", 3.0)
    labels = {"workflow": "workflow", "mode": "parallel"}
    values = [
        registry.get_sample_value(f"dotflow_workflow_{name}", labels)
        for name in ("started_total", "completed_total", "failed_total", "in_progress")
    ]
    assert values == [2, 1, 1, 0]


def test_queue(registry: CollectorRegistry, metrics: MetricsPrometheus) -> None:
    """The wait of a task for a worker is that of its first attempt, told once."""
    run = run_of()
    metrics.task_completed(task_of(run, "at once", queue_duration=0.5))
    failure = Failure.of(KeyError())
    metrics.task_retried(task_of(run, "again", queue_duration=2.0, retry_count=1, failure=failure))
    metrics.task_failed(task_of(run, "again", queue_duration=9.0, retry_count=1, failure=failure))
    metrics.task_completed(task_of(run, "here"))
    sums = series(registry, "dotflow_task_queue_seconds_sum")
    assert sums == {("billing", "at once"): 0.5, ("billing", "again"): 2.0}


def test_workers(registry: CollectorRegistry, metrics: MetricsPrometheus) -> None:
    """The workers' gauges have no labels; a lost worker counts for its task."""
    metrics.workers_changed(2, 1)
    metrics.worker_lost(task_of(run_of()))
    assert registry.get_sample_value("dotflow_workers") == 2
    assert registry.get_sample_value("dotflow_workers_busy") == 1
    assert series(registry, "dotflow_worker_lost_total") == {("billing", "load"): 1}


def test_ticks(registry: CollectorRegistry, metrics: MetricsPrometheus) -> None:
    """Ticks of schedules are counted by workflow: those that ran, were late, or were skipped."""
    in_time = Tick(10.0, began=11.0, workflow="nightly")
    metrics.tick_fired(in_time)
    metrics.tick_fired(in_time._replace(began=11.5))
    metrics.tick_skipped(in_time._replace(began=None), "overlap")
    assert series(registry, "dotflow_tick_fired_total") == {("nightly",): 2}
    assert series(registry, "dotflow_tick_late_total") == {("nightly",): 1}
    assert series(registry, "dotflow_tick_skipped_total") == {("nightly", "overlap"): 1}


def test_telemetry(registry: CollectorRegistry, metrics: MetricsPrometheus) -> None:
    """Errors and losses of telemetry itself are counted."""
    metrics.telemetry_error("LogStructlog", "info")
    metrics.telemetry_dropped("traces")
    assert series(registry, "dotflow_telemetry_errors_total") == {("LogStructlog", "info"): 1}
    assert series(registry, "dotflow_telemetry_dropped_total") == {("traces",): 1}


def test_hostile_names(registry: CollectorRegistry) -> None:
    """Any text will do as a name, in the exposition as well."""
    flow = DotFlow(config=Config(metrics=MetricsPrometheus(registry)), name='a "b"\n\\ü')
    flow.task.add(step, name="x\ny")
    flow.start()
    assert b'task="x\\ny",workflow="a \\"b\\"\\n\\\\\xc3\xbc"' in generate_latest(registry)


def test_a_gateway_that_is_none() -> None:
    """The address of a Pushgateway alone says neither which job nor how; it is refused at once."""
    with pytest.raises(InvalidOption, match=r"^push_to='localhost:9091' is not valid: give a Push"):
        MetricsPrometheus(CollectorRegistry(), push_to="localhost:9091")  # type: ignore[arg-type]


AGAIN = """
import importlib, sys
from prometheus_client import REGISTRY, CollectorRegistry
from dotflow_otel import MetricsPrometheus

first = MetricsPrometheus()
way = sys.argv[1]
if way == "imported again":
    for name in [name for name in sys.modules if name.startswith("dotflow")]:
        del sys.modules[name]
elif way == "loaded again":
    importlib.reload(sys.modules["dotflow_otel.metrics.instruments_prometheus"])
    importlib.reload(sys.modules["dotflow_otel.metrics.prometheus"])

class Registry:
    def __getattr__(self, name):
        return getattr(REGISTRY, name)

from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel.metrics.prometheus import MetricsPrometheus

@action
def step():
    pass

registry = {"a stand-in": Registry, "another one": CollectorRegistry}.get(way, lambda: REGISTRY)()
config = Config(metrics=MetricsPrometheus(registry), log=LogDefault("ERROR"))
flow = DotFlow(config=config, name="w")
flow.task.add([step, step])
flow.start()
print(registry.get_sample_value("dotflow_task_completed_total", {"workflow": "w", "task": "step"}))
"""


@pytest.mark.parametrize("way", ["imported again", "loaded again", "a stand-in", "another one"])
def test_metrics_that_are_there(way: str) -> None:
    """A module that comes twice, or a registry by another object, goes on with what is there."""
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, way],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2.0\n", "")
