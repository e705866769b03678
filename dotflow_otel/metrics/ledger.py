"""What is counted at which moment: the same for every backend."""

from __future__ import annotations

import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.metrics import Metrics
from dotflow.abc.scope import WorkerScope
from dotflow_otel import conventions as names
from dotflow_otel._process import Process, drop_counter, is_forked_from, this_process
from dotflow_otel.metrics.instruments import counted_here, owners
from dotflow_otel.span_ids import LegacyRuns, exemplar_of_run, exemplar_of_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.abc.scheduler import Tick
    from dotflow.core.model import Task
    from dotflow.core.run import Run
    from dotflow_otel.metrics.instruments import SeriesCache, TaskSeries


class RemoteMetrics(WorkerScope):
    """Brings back what is counted in a worker: the scope of a worker.

    Args:
        owner: Identifies the process that owns the run.
        meters: Whether steps can measure with OpenTelemetry's meters.
    """

    def __init__(self, owner: Process, meters: bool) -> None:
        self._sent = owner, meters

    @classmethod
    def here(cls) -> RemoteMetrics:
        """Make one for the workers of this process."""
        # Where nobody has imported them, nobody has set a provider.
        meters = False
        if "opentelemetry.metrics" in sys.modules:
            from dotflow_otel.metrics import relay  # noqa: PLC0415 - where it is used

            meters = relay.has_meters()
            if meters:
                relay.let_meters_travel()
        return cls(this_process(), meters)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteMetrics, self._sent

    def prepare(self) -> None:
        """Begin to keep what is counted."""
        owner, meters = self._sent
        if owner == this_process() or is_forked_from(owner):
            return
        owners.begin(owner)
        counted_here.is_on, counted_here.on_put = True, self.on_recorded
        if meters:
            from dotflow_otel.metrics.relay import meter_relay_here  # noqa: PLC0415 - as above

            meter_relay_here().begin(self.on_recorded)

    def _measured(self, *, own: bool) -> Any:
        owner, meters = self._sent
        if not meters:
            return None
        from dotflow_otel.metrics.relay import meter_relay_here  # noqa: PLC0415 - as above

        return meter_relay_here().take(owner, own=own)

    def drain(self) -> Any:
        """Return what steps have measured since this was last called, if anything."""
        measured = self._measured(own=False)
        return None if measured is None else (None, measured)

    def collect(self) -> Any:
        """Return that, and what our metrics have counted."""
        counted, measured = counted_here.take(self._sent[0]), self._measured(own=True)
        return None if counted is measured is None else (counted, measured)


def receive(recorded: Any) -> None:
    """Count and measure in this process what `RemoteMetrics` has brought."""
    counted, measured = recorded
    if measured is not None:
        from dotflow_otel.metrics.relay import meters  # noqa: PLC0415 - where it is used

        meters.measure(measured)
    if counted is not None:
        from dotflow_otel.metrics.instruments_prometheus import count_in_registry  # noqa: PLC0415 - as above

        count_in_registry(counted)


# What a task is counted under whose run has no record.
_UNNAMED: Final = "workflow"


class BaseMetrics(Metrics):
    """Counts so that the ledger balances: what started has completed, failed or goes on.

    Args:
        find_series: Gives the series of the backend; called when they are first needed.
    """

    def __init__(self, find_series: Callable[[], SeriesCache]) -> None:
        self._find_series = find_series
        self._legacy = LegacyRuns()

    @cached_property
    def _series_cache(self) -> SeriesCache:
        return self._find_series()

    # --- runs -------------------------------------------------------------------------

    def workflow_started(self, workflow_id: Any, **kwargs: Any) -> None:
        """A run begins that has no record. Keyword: `mode`."""
        self.run_started(self._legacy.start(workflow_id, **kwargs))

    def workflow_completed(self, workflow_id: Any, duration: float) -> None:
        """A run that has no record ended well after `duration` seconds."""
        self._finish_legacy(workflow_id, duration, failed=False)

    def workflow_failed(self, workflow_id: Any, duration: float) -> None:
        """A run that has no record failed after `duration` seconds."""
        self._finish_legacy(workflow_id, duration, failed=True)

    def _finish_legacy(self, workflow_id: Any, duration: float, *, failed: bool) -> None:
        run = self._legacy.finish(workflow_id, duration=duration, failed=failed)
        if run is not None:
            self.run_finished(run)

    def run_started(self, run: Run) -> None:
        """Count a run that begins."""
        series = self._series_cache.of_workflow(run.name, run.mode)
        series.started(1)
        series.in_progress.inc()
        series.runs.begin(run.id, run.started_at)

    def run_finished(self, run: Run) -> None:
        """Count a run that has ended."""
        series = self._series_cache.of_workflow(run.name, run.mode)
        exemplar = exemplar_of_run(run)
        if run.failed:
            series.failed(1, exemplar)
        else:
            series.completed(1)
            series.last_success().set(time.time())
        series.in_progress.dec()
        series.runs.end(run.id)
        status = names.FAILED if run.failed else names.COMPLETED
        series.took(status)(run.duration or 0.0, exemplar)
        drop_counter.tell()

    def workflow_lost(self, workflow: str) -> None:
        """Count a run of another process, which was killed, by the name of its workflow."""
        self._series_cache.count(names.WORKFLOW_LOST, workflow)

    # --- in workers -------------------------------------------------------------------

    def worker_scope(self, run: Run) -> WorkerScope | None:  # noqa: ARG002 - of the interface
        """Return what brings back what is counted and measured in a worker."""
        return RemoteMetrics.here()

    def worker_recorded(self, recorded: Any) -> None:
        """Count and measure here what was counted and measured in a worker."""
        receive(recorded)

    # --- tasks ------------------------------------------------------------------------

    def task_started(self, task: Task) -> None:
        """Count a task that begins."""
        series = self._series(task)
        series.started(1)
        series.begin()

    def task_completed(self, task: Task) -> None:
        """Count a task that ran and completed."""
        series = self._series(task)
        series.completed(1)
        series.end()
        exemplar = exemplar_of_task(task)
        series.took(names.COMPLETED)(task.duration or 0.0, exemplar)
        _queued(series, task, exemplar, after=0)

    def task_failed(self, task: Task) -> None:
        """Count a task that failed for good."""
        series = self._series(task)
        exemplar = exemplar_of_task(task)
        series.by_error(names.TASK_FAILED, _error_type(task))(1, exemplar)
        series.end()
        series.took(names.FAILED)(task.duration or 0.0, exemplar)
        _queued(series, task, exemplar, after=0)

    def task_retried(self, task: Task) -> None:
        """Count an attempt that failed and is followed by another."""
        series = self._series(task)
        exemplar = exemplar_of_task(task)
        series.by_error(names.TASK_RETRIED, _error_type(task))(1, exemplar)
        _queued(series, task, exemplar, after=1)

    def task_restored(self, task: Task) -> None:
        """Count a task that was taken from its checkpoint."""
        self._series(task).restored(1)

    def task_skipped(self, task: Task) -> None:
        """Count a task that did not run."""
        self._series(task).skipped(1)

    def task_timed_out(self, task: Task) -> None:
        """Count an attempt that hit the timeout."""
        self._series(task).timed_out(1, exemplar_of_task(task))

    def _series(self, task: Task) -> TaskSeries:
        workflow = _UNNAMED if task.run is None else task.run.name
        return self._series_cache.of_task(workflow, task.name)

    # --- schedules --------------------------------------------------------------------

    def tick_fired(self, tick: Tick) -> None:
        """Count a tick that runs, and whether it is late."""
        self._series_cache.count(names.TICK_FIRED_TOTAL, tick.workflow)
        if tick.is_late:
            self._series_cache.count(names.TICK_LATE_TOTAL, tick.workflow)

    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """Count a tick that does not run."""
        self._series_cache.count(names.TICK_SKIPPED_TOTAL, tick.workflow, reason)

    # --- workers and telemetry --------------------------------------------------------

    def worker_lost(self, task: Task) -> None:
        """Count an attempt whose worker died."""
        self._series(task).worker_lost(1, exemplar_of_task(task))

    def workers_changed(self, workers: int, busy: int) -> None:
        """Note how many workers live, and how many run a step."""
        self._series_cache.workers_changed(workers, busy)

    def telemetry_error(self, provider: str, hook: str) -> None:
        """Count an error that a provider raised."""
        self._series_cache.count(names.TELEMETRY_ERRORS, provider, hook)

    def telemetry_dropped(self, signal: str, count: int = 1) -> None:
        """Count spans, points of metrics or log records that could not be delivered.

        What `setup` sends is counted without this, when a run ends.

        Args:
            signal: `traces`, `metrics` or `logs`.
            count: How many.
        """
        self._series_cache.count_dropped(signal, count)


def _error_type(task: Task) -> str:
    return "" if task.failure is None else task.failure.error_type


def _queued(series: TaskSeries, task: Task, exemplar: dict[str, str] | None, *, after: int) -> None:
    # The wait of a task is that of its first attempt, observed when that has ended.
    if task.queue_duration is not None and task.retry_count == after:
        series.queued(task.queue_duration, exemplar)
