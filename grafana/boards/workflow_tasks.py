"""Of the board *Workflow*: its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import links
from boards.look import (
    BAD_FROM_ONE,
    COUNT,
    HALF,
    ODD_FROM_ONE,
    SECONDS,
    WIDE,
    About,
)
from boards.panels import buckets, graph, ranking
from boards.tables import Column, rows
from boards.workflow_scope import queries as _q
from boards.workflow_scope import task_traces
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels


def table() -> Panels:
    """Show a row for each task: one panel."""
    about = About(
        "Tasks",
        "What each task did in the time shown. Click on one for its traces. The task whose "
        "p95 comes near the run's is the one to speed up.",
        COUNT,
        WIDE,
    )
    columns = [
        Column("Started", _q.counted(names.TASK_STARTED, "task")),
        Column("Completed", _q.counted(names.TASK_COMPLETED, "task")),
        Column("Failed", _q.counted(names.TASK_FAILED, "task"), COUNT, BAD_FROM_ONE),
        Column("Retried", _q.counted(names.TASK_RETRIED, "task"), COUNT, ODD_FROM_ONE),
        Column("Skipped", _q.counted(names.TASK_SKIPPED, "task"), COUNT, ODD_FROM_ONE),
        Column("Restored", _q.counted(names.TASK_RESTORED_TOTAL, "task")),
        Column("p50", _q.quantile_of_all(0.5, names.TASK_DURATION, "task"), SECONDS),
        Column("p95", _q.quantile_of_all(0.95, names.TASK_DURATION, "task"), SECONDS),
        Column("Wait, p95", _q.quantile_of_all(0.95, names.TASK_QUEUE, "task"), SECONDS),
    ]
    return [rows(about, {"task": "Task"}, columns, [task_traces(links.field("Task"))], "Failed")]


def worst() -> Panels:
    """Name the slowest and the most failing: two panels."""
    slowest = About(
        "Slowest tasks",
        "p95 of the ten slowest tasks in the time shown. Begin with the first: click on it "
        "and see in a trace what it waits for.",
        SECONDS,
        HALF,
    )
    failing = About(
        "Most failing tasks",
        "The ten tasks that failed most in the time shown. Click on the first for its traces.",
        COUNT,
        HALF,
        BAD_FROM_ONE,
    )
    took = _q.quantile_of_all(0.95, names.TASK_DURATION, "task")
    failed = _q.counted(names.TASK_FAILED, "task")
    drill = [task_traces(links.label("task"))]
    return [
        ranking(slowest, f"sort_desc(topk(10, {took} > 0))", "{{task}}", links=drill),
        ranking(failing, f"sort_desc(topk(10, {failed}))", "{{task}}", links=drill),
    ]


def durations() -> Panels:
    """Show how long tasks took, over time: two panels."""
    heat = About(
        "Durations of tasks",
        "How long tasks took: the darker, the more. Pick one task above to see it alone. A "
        "dot leads to the trace of its run.",
        SECONDS,
        HALF,
    )
    over_time = About(
        "Task duration, p95",
        "A task that got slower, and since when: what was deployed then, and how much data "
        "came in?",
        SECONDS,
        HALF,
    )
    took = names.TASK_DURATION
    drill = [task_traces(links.label("task"))]
    slow = {"{{task}}": _q.quantile(0.95, took, "task")}
    return [
        buckets(heat, _q.buckets(took)),
        graph(over_time, slow, exemplars=True, links=drill),
    ]


def in_progress() -> Panels:
    """Show what goes on: one panel."""
    about = About(
        "Runs and tasks in progress",
        "What goes on. A line that only climbs: runs start faster than they end, or hang.",
        COUNT,
        HALF,
    )
    going = {
        "runs": _q.total(names.WORKFLOW_IN_PROGRESS),
        "task {{task}}": _q.total(names.TASK_IN_PROGRESS, "task"),
    }
    return [graph(about, going)]
