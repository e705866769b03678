"""What a backend of metrics offers: series to count and measure with, also in workers.

In a worker what is counted is kept for the run's process as well.
"""

from __future__ import annotations

import logging
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final, Protocol

from dotflow.core.process import call_in_forked_child, fork_safe_lock
from dotflow_otel import conventions as names
from dotflow_otel._process import Owners, Process, drop_counter
from dotflow_otel.conventions import MAX_LABEL_VALUES, OTHER
from dotflow_otel.plain import escape_unencodable

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow_otel.conventions import Metric

    Exemplar = dict[str, str] | None

    Key = tuple[str, tuple[str, ...], str]

    Counted = dict[Key, list[tuple[float, Exemplar]]]


class Add(Protocol):
    """Adds to one series of a counter, with the exemplar's labels if there is one."""

    def __call__(self, amount: float, exemplar: dict[str, str] | None = None, /) -> None:
        """Add an amount."""


class Observe(Protocol):
    """Puts a value into one series of a histogram, likewise."""

    def __call__(self, value: float, exemplar: dict[str, str] | None = None, /) -> None:
        """Put a value in."""


class GaugeSeries(Protocol):
    """One series of a gauge."""

    def inc(self, amount: float = 1, /) -> None:
        """Raise the value."""

    def dec(self, amount: float = 1, /) -> None:
        """Lower the value."""

    def set(self, value: float, /) -> None:
        """Replace the value."""


class Instruments(Protocol):
    """The instruments of the table in `conventions`, in one backend.

    A series is asked for once and kept. Values are given in the order of the metric's labels.
    """

    def counter(self, metric: Metric, *values: str) -> Add:
        """Return a series of a counter."""
        ...

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        """Return a series of a gauge."""
        ...

    def histogram(self, metric: Metric, *values: str) -> Observe:
        """Return a series of a histogram."""
        ...


BY_NAME: Final = {metric.name: metric for metric in names.METRICS}

_ADD: Final = "add"
_SET: Final = "set"
_OBSERVE: Final = "observe"

# These are of one process: that of the worker is not that of the run.
_OF_A_PROCESS: Final = frozenset(
    {names.WORKERS.name, names.WORKERS_BUSY.name, names.WORKFLOW_OLDEST_START.name}
)

# A step that runs workflows without end must not fill the memory.
_MOST: Final = 100_000


class CountedHere:
    """Keeps what our metrics count in this process, where that is a worker.

    Attributes:
        is_on: Whether somebody fetches it.
        on_put: Called when something was counted.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._kept: dict[Process, Counted] = {}
        self._count = 0
        self.is_on = False
        self.on_put: Callable[[int], object] | None = None

    def put(
        self, metric: Metric, values: tuple[str, ...], how: str, recorded: tuple[Any, Any]
    ) -> None:
        """Keep a value that was added, set or observed, with its exemplar."""
        owner = owners.here()
        if metric.name in _OF_A_PROCESS or owner is None:
            return
        with self._lock:
            counted = self._kept.setdefault(owner, {})
            kept = counted.setdefault((metric.name, values, how), [])
            amount, exemplar = recorded
            if kept and how == _ADD:
                kept[0] = kept[0][0] + amount, exemplar or kept[0][1]
            elif kept and how == _SET:
                kept[0] = recorded
            elif self._count < _MOST:
                self._count += 1
                kept.append(recorded)
        if self.on_put is not None:
            self.on_put(0)

    def take(self, owner: Process) -> Counted | None:
        """Return what was counted for an application, if anything, once."""
        with self._lock:
            kept = self._kept.pop(owner, None)
            self._count -= sum(map(len, kept.values())) if kept else 0
        return kept


owners: Final = Owners()
counted_here: Final = CountedHere()


class RelayedInstruments:
    """Instruments whose values are kept for the run's process as well.

    Args:
        instruments: Those of this process.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def counter(self, metric: Metric, *values: str) -> Add:
        """Return a series of a counter."""
        add = self._instruments.counter(metric, *values)

        def added(amount: float, exemplar: Exemplar = None, /) -> None:
            add(amount, exemplar)
            counted_here.put(metric, values, _ADD, (amount, exemplar))

        return added

    def gauge(self, metric: Metric, *values: str) -> GaugeSeries:
        """Return a series of a gauge."""
        return _RelayedGauge(self._instruments.gauge(metric, *values), metric, values)

    def histogram(self, metric: Metric, *values: str) -> Observe:
        """Return a series of a histogram."""
        observe = self._instruments.histogram(metric, *values)

        def observed(value: float, exemplar: Exemplar = None, /) -> None:
            observe(value, exemplar)
            counted_here.put(metric, values, _OBSERVE, (value, exemplar))

        return observed


class _RelayedGauge:
    def __init__(self, series: GaugeSeries, metric: Metric, values: tuple[str, ...]) -> None:
        self._series = series
        self._about = metric, values

    def inc(self, amount: float = 1, /) -> None:
        self._series.inc(amount)
        counted_here.put(*self._about, _ADD, (amount, None))

    def dec(self, amount: float = 1, /) -> None:
        self._series.dec(amount)
        counted_here.put(*self._about, _ADD, (-amount, None))

    def set(self, value: float, /) -> None:
        self._series.set(value)
        counted_here.put(*self._about, _SET, (value, None))


def count_again(instruments: Instruments, counted: Counted) -> None:
    """Count in this process what was counted in a worker."""
    for (name, values, how), recorded in counted.items():
        metric = BY_NAME[name]
        for amount, exemplar in recorded:
            if how == _OBSERVE:
                instruments.histogram(metric, *values)(amount, exemplar)
            elif metric.kind == names.COUNTER:
                instruments.counter(metric, *values)(amount, exemplar)
            elif how == _SET:
                instruments.gauge(metric, *values).set(amount)
            else:
                instruments.gauge(metric, *values).inc(amount)


_logger: Final = logging.getLogger("dotflow_otel")


class BoundedLabels:
    """Lets the first values of each label through and turns further ones into `other`.

    A backend keeps a time series for every combination of values, for ever; a workflow
    that is named by a date or an id would fill it.

    Args:
        limit: How many values a label may have.
    """

    def __init__(self, limit: int = MAX_LABEL_VALUES) -> None:
        self._limit = limit
        self._lock = fork_safe_lock()
        self._seen: dict[str, set[str]] = {}
        self._warned: set[str] = set()

    def bounded(self, label: str, value: str) -> str:
        """Return the value itself, or `other` where the label has enough of them."""
        value = escape_unencodable(value)
        seen = self._seen.get(label)
        if seen is not None and value in seen:
            return value
        with self._lock:
            seen = self._seen.setdefault(label, set())
            if value in seen or len(seen) < self._limit:
                seen.add(value)
                return value
            warned = label in self._warned
            self._warned.add(label)
        if not warned:
            _logger.warning(
                "the label %r has more than %d values: further ones, from %r on, count as %r",
                label,
                self._limit,
                value,
                OTHER,
            )
        return OTHER


class RunsInProgress:
    """The runs of one workflow that go on, and the gauge of the oldest one's start.

    Attributes:
        gauge: The gauge.
    """

    def __init__(self, instruments: Instruments, workflow: str) -> None:
        self._lock = Lock()
        self._starts: dict[str, float] = {}
        self.gauge = instruments.gauge(names.WORKFLOW_OLDEST_START, workflow)

    def begin(self, run_id: str, started_at: float) -> None:
        """Note that a run begins."""
        with self._lock:
            self._starts[run_id] = started_at
            self._set_gauge()

    def end(self, run_id: str) -> None:
        """Note that a run has ended."""
        with self._lock:
            self._starts.pop(run_id, None)
            self._set_gauge()

    def _set_gauge(self) -> None:
        self.gauge.set(min(self._starts.values(), default=0.0))


_OF_WORKERS: Final = (names.WORKERS, names.WORKERS_BUSY)


class TaskSeries:
    """The series of one task of one workflow. Counters without more labels begin at 0."""

    __slots__ = (
        "_by_error",
        "_instruments",
        "_key",
        "_labels",
        "_queued",
        "_took",
        "begin",
        "completed",
        "end",
        "in_progress",
        "restored",
        "skipped",
        "started",
        "timed_out",
        "worker_lost",
    )

    def __init__(
        self, instruments: Instruments, labels: BoundedLabels, key: tuple[str, str]
    ) -> None:
        self._instruments = instruments
        self._labels = labels
        self._key = key
        self._by_error: dict[tuple[Metric, str], Add] = {}
        self._took: dict[str, Observe] = {}
        self._queued: Observe | None = None
        self.started = instruments.counter(names.TASK_STARTED, *key)
        self.completed = instruments.counter(names.TASK_COMPLETED, *key)
        self.restored = instruments.counter(names.TASK_RESTORED_TOTAL, *key)
        self.skipped = instruments.counter(names.TASK_SKIPPED, *key)
        self.timed_out = instruments.counter(names.TASK_TIMED_OUT, *key)
        self.worker_lost = instruments.counter(names.WORKER_LOST, *key)
        self.in_progress = instruments.gauge(names.TASK_IN_PROGRESS, *key)
        self.begin = self.in_progress.inc
        self.end = self.in_progress.dec

    def by_error(self, metric: Metric, error_type: str) -> Add:
        """Return the series of a counter for one type of error."""
        found = self._by_error.get((metric, error_type))
        if found is None:
            value = self._labels.bounded("error_type", error_type)
            found = self._instruments.counter(metric, *self._key, value)
            if value == error_type:
                self._by_error[metric, error_type] = found
        return found

    def took(self, status: str) -> Observe:
        """Return the series of durations for `completed` or `failed`."""
        found = self._took.get(status)
        if found is None:
            found = self._instruments.histogram(names.TASK_DURATION, *self._key, status)
            self._took[status] = found
        return found

    @property
    def queued(self) -> Observe:
        """The series of waits for a worker."""
        if self._queued is None:
            self._queued = self._instruments.histogram(names.TASK_QUEUE, *self._key)
        return self._queued


class WorkflowSeries:
    """The series of one workflow in one mode."""

    __slots__ = ("completed", "failed", "in_progress", "last_success", "runs", "started", "took")

    def __init__(
        self, instruments: Instruments, key: tuple[str, str], runs: RunsInProgress
    ) -> None:
        workflow, _ = key
        self.runs = runs
        self.started = instruments.counter(names.WORKFLOW_STARTED, *key)
        self.completed = instruments.counter(names.WORKFLOW_COMPLETED, *key)
        self.failed = instruments.counter(names.WORKFLOW_FAILED, *key)
        self.in_progress = instruments.gauge(names.WORKFLOW_IN_PROGRESS, *key)
        # Not looked up before there is a success: a gauge at 0 would mean one in 1970.
        self.last_success: Callable[[], GaugeSeries] = lambda: instruments.gauge(
            names.WORKFLOW_LAST_SUCCESS, workflow
        )
        self.took: Callable[[str], Observe] = lambda status: instruments.histogram(
            names.WORKFLOW_DURATION, *key, status
        )


class SeriesCache:
    """Finds the series of a workflow or a task by its names. One for each backend.

    Args:
        instruments: The backend.
        labels: The bounds of the label values.
    """

    def __init__(self, instruments: Instruments, labels: BoundedLabels) -> None:
        self.instruments = instruments
        self._labels = labels
        self._inherited: list[GaugeSeries] = []
        self._begin()
        drop_counter.watch(self.count_dropped)
        call_in_forked_child(self._begin_in_child)

    def _begin(self) -> None:
        self._lock = Lock()
        self._tasks: dict[tuple[str, str], TaskSeries] = {}
        self._workflows: dict[tuple[str, str], WorkflowSeries] = {}
        self._runs: dict[str, RunsInProgress] = {}

    def _begin_in_child(self) -> None:
        # What goes on in the parent does not go on here. The gauges are set when the first
        # series is looked up again: a lock of the gauges may have been held at the fork.
        self._inherited += [series.in_progress for series in self._tasks.values()]
        self._inherited += [series.in_progress for series in self._workflows.values()]
        self._inherited += [runs.gauge for runs in self._runs.values()]
        self._inherited += [self.instruments.gauge(each) for each in _OF_WORKERS]
        self._begin()

    def _clear_inherited(self) -> None:
        while self._inherited:
            self._inherited.pop().set(0)

    def of_task(self, workflow: str, task: str) -> TaskSeries:
        """Return the series of a task."""
        # The names that passed the bounds are the keys, so this is bounded as well.
        return self._tasks.get((workflow, task)) or self._find_task(workflow, task)

    def of_workflow(self, workflow: str, mode: str) -> WorkflowSeries:
        """Return the series of a workflow in a mode."""
        return self._workflows.get((workflow, mode)) or self._find_workflow(workflow, mode)

    def workers_changed(self, workers: int, busy: int) -> None:
        """Set how many workers live, and how many run a step."""
        with self._lock:
            self._clear_inherited()
        for metric, value in zip(_OF_WORKERS, (workers, busy), strict=True):
            self.instruments.gauge(metric).set(value)

    def count_dropped(self, signal: str, count: int) -> None:
        """Count telemetry that was dropped."""
        self.count(names.TELEMETRY_DROPPED, signal, amount=count)

    def count(self, metric: Metric, *values: str, amount: int = 1) -> None:
        """Count on a series that is seldom needed."""
        labels = zip(metric.labels, values, strict=True)
        bounded = [self._labels.bounded(label, value) for label, value in labels]
        self.instruments.counter(metric, *bounded)(amount)

    def count_again(self, counted: Counted) -> None:
        """Count what was counted in a worker, on the series that it would have been counted on."""
        bounded: Counted = {}
        for (name, values, how), recorded in counted.items():
            labels = zip(BY_NAME[name].labels, values, strict=True)
            found = tuple(self._labels.bounded(label, value) for label, value in labels)
            if BY_NAME[name].labels[:2] == ("workflow", "task"):
                self.of_task(*found[:2])
            elif BY_NAME[name].labels[:2] == ("workflow", "mode"):
                self.of_workflow(*found[:2])
            bounded.setdefault((name, found, how), []).extend(recorded)
        count_again(self.instruments, bounded)

    def _find_task(self, workflow: str, task: str) -> TaskSeries:
        bounded = self._labels.bounded
        key = bounded("workflow", workflow), bounded("task", task)
        with self._lock:
            self._clear_inherited()
            found = self._tasks.get(key)
            if found is None:
                found = self._tasks[key] = TaskSeries(self.instruments, self._labels, key)
        return found

    def _find_workflow(self, workflow: str, mode: str) -> WorkflowSeries:
        key = self._labels.bounded("workflow", workflow), self._labels.bounded("mode", mode)
        with self._lock:
            self._clear_inherited()
            found = self._workflows.get(key)
            if found is None:
                runs = self._runs_of(key[0])
                found = self._workflows[key] = WorkflowSeries(self.instruments, key, runs)
        return found

    def _runs_of(self, workflow: str) -> RunsInProgress:
        found = self._runs.get(workflow)
        if found is None:
            found = self._runs[workflow] = RunsInProgress(self.instruments, workflow)
        return found
