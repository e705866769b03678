"""The budget of labels that examples/README.md computes is that of the metrics as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dotflow import Config, DotFlow, action
from dotflow_otel import LogStructlog, MetricsPrometheus
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow_otel.conventions import Metric

PAGE = " ".join((Path(__file__).parents[3] / "examples" / "README.md").read_text("utf-8").split())

# What a task's name has in every mode, whatever comes of its tasks.
_OF_EVERY_TASK = (
    names.TASK_STARTED,
    names.TASK_COMPLETED,
    names.TASK_RESTORED_TOTAL,
    names.TASK_SKIPPED,
    names.TASK_TIMED_OUT,
    names.WORKER_LOST,
    names.TASK_IN_PROGRESS,
)
_OF_EVERY_WORKFLOW = (
    names.WORKFLOW_STARTED,
    names.WORKFLOW_COMPLETED,
    names.WORKFLOW_FAILED,
    names.WORKFLOW_IN_PROGRESS,
    names.WORKFLOW_OLDEST_START,
    names.WORKFLOW_LAST_SUCCESS,
)


def series(*metrics: Metric, buckets: int = len(names.BUCKETS), created: int = 1) -> int:
    """Return how many series metrics are with one set of labels each."""
    of = {
        names.COUNTER: 1 + created,
        names.GAUGE: 1,
        names.HISTOGRAM: buckets + 3 + created,  # +Inf, sum, count
    }
    return sum(of[metric.kind] for metric in metrics)


PROCESS = series(names.WORKERS, names.WORKERS_BUSY)
WORKFLOW = series(*_OF_EVERY_WORKFLOW, names.WORKFLOW_DURATION)
HERE = series(*_OF_EVERY_TASK, names.TASK_DURATION)
IN_WORKERS = HERE + series(names.TASK_QUEUE)
# A second set of labels: with the status `failed`.
FAILED = series(names.TASK_DURATION)
ERROR = series(names.TASK_FAILED)


def row(what: str, value: str) -> str:
    """Return a row of a table."""
    return f"| {what} | {value} |"


@pytest.mark.parametrize(
    "told",
    [
        row("the process", f"{PROCESS}"),
        row("a workflow, in a mode, that completes", f"{WORKFLOW}"),
        row("the same, when a run has failed as well", f"{FAILED} more"),
        row("a task's name that completes in the run's process", f"{HERE}"),
        row("a task's name that completes in workers", f"{IN_WORKERS}"),
        row("the same, when one has failed as well", f"{FAILED} more"),
        row(
            "each type of error that a task failed of, or was retried for",
            f"{ERROR} more",
        ),
        f"A histogram is {FAILED} series: its {len(names.BUCKETS)} buckets",
        f"The bound of {names.MAX_LABEL_VALUES} values",
        f"{names.MAX_LABEL_VALUES**2 * IN_WORKERS:,} series at {IN_WORKERS}",
        f"which prometheus-client reads: {IN_WORKERS - 8} instead of {IN_WORKERS}",
    ],
)
def test_the_page_counts_as_the_table_does(told: str) -> None:
    """Each figure on the page follows from the metrics, their labels and buckets."""
    assert told in PAGE


def test_the_example() -> None:
    """20 workflows of 15 tasks, in 10 processes: sums, memory, samples and disk."""
    task = IN_WORKERS + FAILED + 2 * ERROR + 2 * ERROR
    workflow = WORKFLOW + FAILED + 15 * task
    process = PROCESS + 20 * workflow
    samples = 10 * process / 15
    assert (
        f"a task {IN_WORKERS} + {FAILED} + 2 x {ERROR} + 2 x {ERROR} = {task:,} "
        f"a workflow {WORKFLOW} + {FAILED} + 15 x {task} = {workflow:,} "
        f"a process {PROCESS} + 20 x {workflow:,} = {process:,} "
        f"10 processes {10 * process:,} That is {10 * process * 3e3 / 1e9:.1f} GB"
    ) in PAGE
    assert f"each 15 s {samples:,.0f} samples" in PAGE
    assert f"and {samples * 15 * 86_400 * 2 / 1e9:.0f} GB on disk for 15 days" in PAGE
    assert f"process is {process * 79 / 1e6:.1f} MB at 79 bytes" in PAGE


def test_fewer_buckets() -> None:
    """What the page advises saves what it says."""
    found = re.search(r"MetricsPrometheus\(buckets=\[(.+?)\]\)`: (\d+) series .*? (\d+) inst", PAGE)
    assert found
    buckets = len(found[1].split(","))
    histogram = series(names.TASK_DURATION, buckets=buckets)
    assert int(found[2]) == histogram
    assert int(found[3]) == IN_WORKERS - 2 * (FAILED - histogram)


@pytest.mark.parametrize(("mode", "task"), [("sequential", HERE), ("parallel", IN_WORKERS)])
def test_a_registry_has_as_many(mode: str, task: int) -> None:
    """A real registry has the series that the page counts, for each name of a task once."""
    first = exposed(mode, ["a"] * 3)
    assert first == PROCESS + WORKFLOW + task
    assert exposed(mode, ["a", "b", "c", "a"]) - first == 2 * task


def test_a_registry_has_as_many_of_what_fails() -> None:
    """A task that has completed, failed and been retried has the series that the page counts."""

    @action(retry=2, retry_delay=0)
    def step() -> None:
        if next(ends):
            raise ValueError

    ends = iter([False, True, True])
    registry = CollectorRegistry()
    config = Config(metrics=MetricsPrometheus(registry), log=LogStructlog(level="CRITICAL"))
    for _ in range(2):
        flow = DotFlow(config=config, name="billing")
        flow.task.add(step)
        flow.start()
    assert lines(registry) == PROCESS + WORKFLOW + FAILED + HERE + FAILED + 2 * ERROR


def exposed(mode: str, tasks: Sequence[str]) -> int:
    """Run tasks of these names; give how many series there are then."""

    @action
    def step() -> int:
        return 1

    registry = CollectorRegistry()
    config = Config(metrics=MetricsPrometheus(registry), log=LogStructlog(level="ERROR"))
    flow = DotFlow(config=config, name="billing")
    for name in tasks:
        flow.task.add(step, name=name)
    flow.start(mode=mode)
    return lines(registry)


def lines(registry: CollectorRegistry) -> int:
    """Return how many series a scrape sees."""
    text = generate_latest(registry).decode()
    return sum(not line.startswith("#") for line in text.splitlines())
