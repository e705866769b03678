"""Every span name, attribute, metric name, label and bucket that users depend on, once."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

# The name of the instrumentation scope that all spans carry.
SCOPE: Final = "dotflow_otel"

# --- spans ------------------------------------------------------------------------------

WORKFLOW_SPAN: Final = "workflow {}"
TASK_SPAN: Final = "task {}"
ATTEMPT_SPAN: Final = "attempt"
METHOD_SPAN: Final = "method {}"
TICK_SPAN: Final = "tick {}"

WORKFLOW_ID: Final = "dotflow.workflow.id"
WORKFLOW_NAME: Final = "dotflow.workflow.name"
WORKFLOW_MODE: Final = "dotflow.workflow.mode"
WORKFLOW_TASK_COUNT: Final = "dotflow.workflow.task.count"
WORKFLOW_STATUS: Final = "dotflow.workflow.status"

TASK_ID: Final = "dotflow.task.id"
TASK_NAME: Final = "dotflow.task.name"
TASK_GROUP: Final = "dotflow.task.group"
TASK_INDEX: Final = "dotflow.task.index"
TASK_STATUS: Final = "dotflow.task.status"
TASK_ATTEMPTS: Final = "dotflow.task.attempts"
TASK_TIMEOUT: Final = "dotflow.task.timeout"
TASK_RESTORED: Final = "dotflow.task.restored"
TASK_QUEUE_DURATION: Final = "dotflow.task.queue.duration"

# Of a tick of a schedule: its expression, when it was due (UTC, ISO 8601), how many seconds later
# its run began, and, where it has none, why.
TICK_SCHEDULE: Final = "dotflow.tick.schedule"
TICK_DUE: Final = "dotflow.tick.due"
TICK_DELAY: Final = "dotflow.tick.delay"
TICK_SKIPPED: Final = "dotflow.tick.skipped"

ATTEMPT_NUMBER: Final = "dotflow.attempt.number"

CODE_FUNCTION: Final = "code.function.name"
CODE_FILE: Final = "code.file.path"
CODE_LINE: Final = "code.line.number"
ERROR_TYPE: Final = "error.type"
PROCESS_PID: Final = "process.pid"
HOST_NAME: Final = "host.name"

EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

COMPLETED: Final = "completed"
FAILED: Final = "failed"

# The status of a run whose process was killed, the type of that error, and what marks a span
# that may have been sent before.
LOST: Final = "lost"
RUN_LOST: Final = "run_lost"
RECOVERED: Final = "dotflow.recovered"

# --- metrics ----------------------------------------------------------------------------

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

# Seconds, from 5 ms to 1 h.
BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip

# How many values a label may have before further ones become `OTHER`.
MAX_LABEL_VALUES: Final = 200
OTHER: Final = "other"

# The labels of exemplars, and the fields of log lines.
TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"


class Metric(NamedTuple):
    """One row of the table of metrics.

    Attributes:
        name: As Prometheus knows it.
        kind: `counter`, `gauge` or `histogram`.
        help: What it counts or measures.
        labels: The names of its labels, in order.
        unit: In the notation of UCUM, for OpenTelemetry; in braces what is counted. Not `1`:
            Prometheus would call a gauge of that unit a ratio.
        across: How prometheus-client's multiprocess mode sums a gauge up over processes;
            what is added (`livesum`) is an up-down counter in OpenTelemetry.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    unit: str = "s"
    across: Literal["livesum", "liveall", "max"] = "livesum"

    @property
    def otel_name(self) -> str:
        """The name in OpenTelemetry: `dotflow.task.timed_out` for `dotflow_task_timed_out_total`.

        Whoever turns that into Prometheus' names (its receiver of OTLP does by default, and
        the collector's exporters) adds unit and `_total`, which gives the name of the table.
        """
        base = self.name.removesuffix("_total").removesuffix("_seconds")
        return ".".join(base.split("_", 2))


_WORKFLOW: Final = ("workflow",)
_MODE: Final = ("workflow", "mode")
_TASK: Final = ("workflow", "task")

WORKFLOW_STARTED: Final = Metric(
    "dotflow_workflow_started_total", COUNTER, "Runs that started.", _MODE, unit="{run}"
)
WORKFLOW_COMPLETED: Final = Metric(
    "dotflow_workflow_completed_total", COUNTER, "Runs that completed.", _MODE, unit="{run}"
)
WORKFLOW_FAILED: Final = Metric(
    "dotflow_workflow_failed_total", COUNTER, "Runs that failed.", _MODE, unit="{run}"
)
WORKFLOW_LOST: Final = Metric(
    "dotflow_workflow_lost_total",
    COUNTER,
    "Runs whose process was killed, as a later process found in their history.",
    _WORKFLOW,
    unit="{run}",
)
WORKFLOW_DURATION: Final = Metric(
    "dotflow_workflow_duration_seconds", HISTOGRAM, "How long runs took.", (*_MODE, "status")
)
WORKFLOW_IN_PROGRESS: Final = Metric(
    "dotflow_workflow_in_progress", GAUGE, "Runs in progress.", _MODE, unit="{run}"
)
WORKFLOW_LAST_SUCCESS: Final = Metric(
    "dotflow_workflow_last_success_timestamp_seconds",
    GAUGE,
    "When a run last completed, in seconds since the epoch.",
    _WORKFLOW,
    across="max",
)
WORKFLOW_OLDEST_START: Final = Metric(
    "dotflow_workflow_oldest_start_timestamp_seconds",
    GAUGE,
    "When the oldest run in progress started, in seconds since the epoch; 0 if there is none.",
    _WORKFLOW,
    # The least over processes would be the 0 of one that is idle: see `multiprocess`.
    across="liveall",
)

TASK_STARTED: Final = Metric(
    "dotflow_task_started_total", COUNTER, "Tasks that started.", _TASK, unit="{task}"
)
TASK_COMPLETED: Final = Metric(
    "dotflow_task_completed_total", COUNTER, "Tasks that ran and completed.", _TASK, unit="{task}"
)
TASK_FAILED: Final = Metric(
    "dotflow_task_failed_total",
    COUNTER,
    "Tasks that failed for good.",
    (*_TASK, "error_type"),
    unit="{task}",
)
TASK_RETRIED: Final = Metric(
    "dotflow_task_retried_total",
    COUNTER,
    "Attempts that failed and were followed by another.",
    (*_TASK, "error_type"),
    unit="{attempt}",
)
TASK_RESTORED_TOTAL: Final = Metric(
    "dotflow_task_restored_total", COUNTER, "Tasks taken from a checkpoint.", _TASK, unit="{task}"
)
TASK_SKIPPED: Final = Metric(
    "dotflow_task_skipped_total",
    COUNTER,
    "Tasks that did not run: one before failed.",
    _TASK,
    unit="{task}",
)
TASK_TIMED_OUT: Final = Metric(
    "dotflow_task_timed_out_total",
    COUNTER,
    "Attempts that hit their timeout.",
    _TASK,
    unit="{attempt}",
)
TASK_DURATION: Final = Metric(
    "dotflow_task_duration_seconds",
    HISTOGRAM,
    "How long tasks took, from their first attempt to the end of their last.",
    (*_TASK, "status"),
)
TASK_QUEUE: Final = Metric(
    "dotflow_task_queue_seconds",
    HISTOGRAM,
    "How long tasks that were ready waited for a worker.",
    _TASK,
)
TASK_IN_PROGRESS: Final = Metric(
    "dotflow_task_in_progress", GAUGE, "Tasks in progress.", _TASK, unit="{task}"
)
WORKER_LOST: Final = Metric(
    "dotflow_worker_lost_total",
    COUNTER,
    "Attempts whose worker process died.",
    _TASK,
    unit="{attempt}",
)

TICK_FIRED_TOTAL: Final = Metric(
    "dotflow_tick_fired_total", COUNTER, "Ticks of schedules that ran.", _WORKFLOW, unit="{tick}"
)
TICK_LATE_TOTAL: Final = Metric(
    "dotflow_tick_late_total",
    COUNTER,
    "Ticks of schedules whose run began more than a second late.",
    _WORKFLOW,
    unit="{tick}",
)
TICK_SKIPPED_TOTAL: Final = Metric(
    "dotflow_tick_skipped_total",
    COUNTER,
    "Ticks of schedules that did not run.",
    ("workflow", "reason"),
    unit="{tick}",
)

WORKERS: Final = Metric("dotflow_workers", GAUGE, "Live workers.", unit="{worker}")
WORKERS_BUSY: Final = Metric(
    "dotflow_workers_busy", GAUGE, "Workers that run a step.", unit="{worker}"
)
TELEMETRY_ERRORS: Final = Metric(
    "dotflow_telemetry_errors_total",
    COUNTER,
    "Errors that a provider raised and that did not reach the run.",
    ("provider", "hook"),
    unit="{error}",
)
TELEMETRY_DROPPED: Final = Metric(
    "dotflow_telemetry_dropped_total",
    COUNTER,
    "Spans, metrics and log records that could not be delivered.",
    ("signal",),
    unit="{item}",
)

METRICS: Final = (
    WORKFLOW_STARTED,
    WORKFLOW_COMPLETED,
    WORKFLOW_FAILED,
    WORKFLOW_LOST,
    WORKFLOW_DURATION,
    WORKFLOW_IN_PROGRESS,
    WORKFLOW_LAST_SUCCESS,
    WORKFLOW_OLDEST_START,
    TASK_STARTED,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_RETRIED,
    TASK_RESTORED_TOTAL,
    TASK_SKIPPED,
    TASK_TIMED_OUT,
    TASK_DURATION,
    TASK_QUEUE,
    TASK_IN_PROGRESS,
    WORKER_LOST,
    TICK_FIRED_TOTAL,
    TICK_LATE_TOTAL,
    TICK_SKIPPED_TOTAL,
    WORKERS,
    WORKERS_BUSY,
    TELEMETRY_ERRORS,
    TELEMETRY_DROPPED,
)

# --- logs -------------------------------------------------------------------------------

LOGGER: Final = "dotflow"

WORKFLOW_EVENTS: Final = (
    "workflow.started",
    "workflow.completed",
    "workflow.failed",
    "workflow.lost",
)
TASK_EVENTS: Final = (
    "task.started",
    "task.completed",
    "task.retried",
    "task.failed",
    "task.restored",
    "task.skipped",
)

# When a step in a worker logged an event of structlog: UTC, ISO 8601.
LOGGED_AT: Final = "logged_at"

# What is bound while a step runs.
BOUND: Final[tuple[str, ...]] = ("workflow_id", "workflow", "task_id", "task", TRACE_ID, SPAN_ID)
