"""What is counted in a worker is seen where the application is scraped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("sequential", "sequential_group", "background", "parallel")

# It prints the samples of the workflow that the step runs, as a scrape shows them.
_NESTED = """
import json, os, signal, sys, urllib.request
from prometheus_client.parser import text_string_to_metric_families
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import MetricsPrometheus, serve_metrics

silent = LogDefault(level="CRITICAL")

@action
def leaf():
    pass

@action
def broken():
    raise KeyError("k")

@action
def outer():
    config = Config(metrics=MetricsPrometheus(), log=LogDefault(level="CRITICAL"))
    inner = DotFlow(config=config, name="inner")
    inner.task.add([leaf, broken])
    inner.start()
    if {dies}:
        os.kill(os.getpid(), signal.SIGKILL)

with serve_metrics(port=0) as server:
    flow = DotFlow(config=Config(metrics=MetricsPrometheus(), log=silent), name="outer")
    flow.task.add(outer, group_name="a")
    flow.task.add(outer, group_name="b")
    manager = flow.start(mode=sys.argv[1])
    if sys.argv[1] == "background":
        manager.thread.join()
    text = urllib.request.urlopen(server.url).read().decode()
samples = {{}}
for family in text_string_to_metric_families(text):
    for sample in family.samples:
        labels = sample.labels
        if labels.get("workflow") == "inner" and not sample.name.endswith("_created"):
            keys = "task", "mode", "status", "error_type"
            told = [labels[key] for key in keys if key in labels]
            samples[" ".join([sample.name.removeprefix("dotflow_"), *told])] = sample.value
print(json.dumps(samples))
"""


def scraped(tmp_path: Path, mode: str, *, dies: bool = False) -> dict[str, Any]:
    """Run the program; return the samples of the inner workflow by name and labels."""
    (tmp_path / "program.py").write_text(_NESTED.format(dies=dies), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py", mode],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("mode", MODES)
def test_a_workflow_that_a_step_runs(tmp_path: Path, mode: str) -> None:
    """Its ledger balances: two runs that failed, each with a task that completed."""
    found = scraped(tmp_path, mode)
    assert found["workflow_started_total sequential"] == 2
    assert found["workflow_failed_total sequential"] == 2
    assert found["workflow_completed_total sequential"] == 0
    assert found["workflow_in_progress sequential"] == 0
    assert found["workflow_duration_seconds_count sequential failed"] == 2
    assert found["task_started_total leaf"] == 2
    assert found["task_completed_total leaf"] == 2
    assert found["task_in_progress leaf"] == 0
    assert found["task_skipped_total leaf"] == 0
    assert found["task_failed_total broken KeyError"] == 2
    assert found["task_duration_seconds_count leaf completed"] == 2


def test_of_a_killed_worker_comes_nothing_or_all(tmp_path: Path) -> None:
    """A run in a worker that is killed before its attempt ends is not counted by half."""
    assert scraped(tmp_path, "parallel", dies=True) == {}


# prometheus-client's own counters, of a module that workers import.
_COUNTERS = """
from prometheus_client import Counter
from dotflow import action

rows = Counter("rows", "Rows.", ["table"])

@action
def step():
    rows.labels("orders").inc(3)
"""
_COUNTING = """
import sys, urllib.request
from dotflow import Config, DotFlow
from dotflow.providers import LogDefault
from dotflow_otel import MetricsPrometheus, serve_metrics
from counters import step

with serve_metrics(port=0) as server:
    config = Config(metrics=MetricsPrometheus(), log=LogDefault(level="CRITICAL"))
    flow = DotFlow(config=config, name="outer")
    flow.task.add([step] * 3)
    manager = flow.start(mode=sys.argv[1])
    if sys.argv[1] == "background":
        manager.thread.join()
    text = urllib.request.urlopen(server.url).read().decode()
print([line for line in text.splitlines() if line.startswith("rows_total")])
"""


@pytest.mark.parametrize("mode", MODES)
def test_counters_of_prometheus_client(tmp_path: Path, mode: str) -> None:
    """In its multiprocess mode, a scrape adds up what steps have counted, wherever they ran."""
    folder = tmp_path / "values"
    folder.mkdir()
    (tmp_path / "counters.py").write_text(_COUNTERS, encoding="utf-8")
    (tmp_path / "program.py").write_text(_COUNTING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py", mode],
        cwd=tmp_path,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == "['rows_total{table=\"orders\"} 9.0']"


# It prints what the application's provider has of the steps' measurements, and what the registry
# has of the workflow that the steps run.
_MEASURING = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import MetricsPrometheus

rows = metrics.get_meter("app").create_counter("rows", unit="{row}")


@action
def leaf():
    pass


@action(retry=2, retry_delay=0)
def outer():
    rows.add(3, {"table": "orders"})
    metrics.get_meter("app").create_histogram("took").record(0.5)
    config = Config(metrics=MetricsPrometheus(), log=LogDefault(level="CRITICAL"))
    inner = DotFlow(config=config, name="inner")
    inner.task.add(leaf)
    inner.start()


def executors(kind):
    if kind == "dask":
        from dotflow.providers import ExecutorDask

        return ExecutorDask(workers=2)
    return ProcessPoolExecutor(2, mp_context=get_context(kind))


if __name__ == "__main__":
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    with executors(sys.argv[1]) as executor:
        log = LogDefault(level="CRITICAL")
        config = Config(metrics=MetricsPrometheus(), log=log, executor=executor)
        flow = DotFlow(config=config, name="outer")
        for group in "abc":
            flow.task.add(outer, group_name=group)
        flow.start(mode="parallel")
    assert [task.status for task in flow.result_task()] == ["Completed"] * 3
    told = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = getattr(point, "value", None) or [point.count, point.sum]
                    told[metric.name] = [metric.unit, dict(point.attributes), value]
    for name in ("workflow_started", "task_completed"):
        told[name] = sum(
            sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == f"dotflow_{name}_total" and sample.labels["workflow"] == "inner"
        )
    print(json.dumps(told))
"""


@pytest.mark.parametrize("kind", ["spawn", "forkserver", "dask"])
def test_what_steps_measure_in_other_executors(tmp_path: Path, kind: str) -> None:
    """What steps count and measure in the processes of others comes back with their outcomes."""
    if kind == "dask":
        pytest.importorskip("distributed")
    (tmp_path / "program.py").write_text(_MEASURING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "program.py", kind],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "rows": ["{row}", {"table": "orders"}, 9],
        "took": ["", {}, [3, 1.5]],
        "workflow_started": 3,
        "task_completed": 3,
    }
