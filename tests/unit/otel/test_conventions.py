"""The names that users' dashboards depend on."""

from __future__ import annotations

from pathlib import Path

import dotflow_otel
from dotflow_otel import conventions as names

WORKFLOW, TASK = ("workflow",), ("workflow", "task")
MODE = (*WORKFLOW, "mode")

TABLE = {
    "dotflow_workflow_started_total": ("counter", MODE),
    "dotflow_workflow_completed_total": ("counter", MODE),
    "dotflow_workflow_failed_total": ("counter", MODE),
    "dotflow_workflow_duration_seconds": ("histogram", (*MODE, "status")),
    "dotflow_workflow_in_progress": ("gauge", MODE),
    "dotflow_workflow_last_success_timestamp_seconds": ("gauge", WORKFLOW),
    "dotflow_workflow_oldest_start_timestamp_seconds": ("gauge", WORKFLOW),
    "dotflow_workflow_lost_total": ("counter", WORKFLOW),
    "dotflow_task_started_total": ("counter", TASK),
    "dotflow_task_completed_total": ("counter", TASK),
    "dotflow_task_failed_total": ("counter", (*TASK, "error_type")),
    "dotflow_task_retried_total": ("counter", (*TASK, "error_type")),
    "dotflow_task_restored_total": ("counter", TASK),
    "dotflow_task_skipped_total": ("counter", TASK),
    "dotflow_task_timed_out_total": ("counter", TASK),
    "dotflow_task_duration_seconds": ("histogram", (*TASK, "status")),
    "dotflow_task_queue_seconds": ("histogram", TASK),
    "dotflow_task_in_progress": ("gauge", TASK),
    "dotflow_worker_lost_total": ("counter", TASK),
    "dotflow_tick_fired_total": ("counter", WORKFLOW),
    "dotflow_tick_late_total": ("counter", WORKFLOW),
    "dotflow_tick_skipped_total": ("counter", ("workflow", "reason")),
    "dotflow_workers": ("gauge", ()),
    "dotflow_workers_busy": ("gauge", ()),
    "dotflow_telemetry_errors_total": ("counter", ("provider", "hook")),
    "dotflow_telemetry_dropped_total": ("counter", ("signal",)),
}


def test_metrics() -> None:
    """The table has exactly these metrics, of these types, with these labels."""
    assert {metric.name: (metric.kind, metric.labels) for metric in names.METRICS} == TABLE


def test_no_label_is_an_id() -> None:
    """No metric has an id for a label."""
    labels = {label for metric in names.METRICS for label in metric.labels}
    assert labels == {
        "workflow",
        "task",
        "mode",
        "status",
        "error_type",
        "provider",
        "hook",
        "signal",
        "reason",
    }


def test_units() -> None:
    """What is called seconds is measured in seconds, and nothing else is."""
    assert all((metric.unit == "s") == metric.name.endswith("_seconds") for metric in names.METRICS)


def test_buckets() -> None:
    """The buckets rise from 5 ms to 1 h."""
    assert tuple(sorted(set(names.BUCKETS))) == names.BUCKETS
    assert (names.BUCKETS[0], names.BUCKETS[-1]) == (0.005, 3600)


def test_the_page_of_names() -> None:
    """The page that users read has every metric with its type, labels and help, and every event."""
    page = Path(dotflow_otel.__file__).with_name("README.md").read_text(encoding="utf-8")
    for metric in names.METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        assert f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n" in page
    assert page.count("| `dotflow_") == len(names.METRICS)
    for event in (*names.WORKFLOW_EVENTS, *names.TASK_EVENTS):
        assert f"`{event}`" in page
