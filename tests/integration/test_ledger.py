"""What is counted balances, whatever the workflow and however it is run.

Random workflows are run, once or several times over the same checkpoints, and every attempt
writes down itself what it is about to do. Metrics are compared with that, and with the tasks;
those for Prometheus and those over OpenTelemetry with each other.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.metrics import Metrics
from dotflow.providers import ExecutorLocal, StorageDefault
from dotflow.testing import Recording
from dotflow_otel import MetricsOpenTelemetry, MetricsPrometheus, conventions, histogram_views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dotflow import Task
    from dotflow_otel.conventions import Metric

NAME = "billing"
LIMIT = 0.5  # seconds; what is in time has far more than it needs
OK, FAILS, LATE, DIES, INTERRUPTS = "ofldi"

# A busy machine may take its time over an example.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- the metrics of both backends -------------------------------------------------------

# The values of a metric by those of its labels; of a histogram its count in each bucket.
Values = dict[tuple[str, ...], Any]

HOOKS = [name for name in vars(Metrics) if not name.startswith("_")]


def _on_all(hook: str) -> Callable[..., None]:
    def tell(self: Any, *args: Any, **kwargs: Any) -> None:
        for provider in self.providers:
            getattr(provider, hook)(*args, **kwargs)

    return tell


class Measured:
    """Metrics of both backends, told the same."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reader = InMemoryMetricReader()
        views = histogram_views()
        self._provider = MeterProvider([self.reader], shutdown_on_exit=False, views=views)
        both = type("Both", (Metrics,), {hook: _on_all(hook) for hook in HOOKS})()
        both.providers = (
            MetricsPrometheus(self.registry),
            MetricsOpenTelemetry(meter_provider=self._provider),
        )
        self.metrics: Metrics = both

    def prometheus(self, metric: Metric) -> Values:
        """Read a metric from the registry."""
        name = f"{metric.name}_bucket" if metric.kind == conventions.HISTOGRAM else metric.name
        found: dict[tuple[str, ...], Any] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name == name:
                    key = tuple(sample.labels[label] for label in metric.labels)
                    found.setdefault(key, []).append(sample.value)
        if metric.kind == conventions.HISTOGRAM:
            return found
        return {key: value for key, (value,) in found.items()}

    def opentelemetry(self) -> dict[str, Values]:
        """Read all metrics from the reader, by their names in the table."""
        data = self.reader.get_metrics_data()
        table = {metric.otel_name: metric for metric in conventions.METRICS}
        found: dict[str, Values] = {metric.name: {} for metric in conventions.METRICS}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    row = table[metric.name]
                    found[row.name] = {
                        _key(row, point): _value(point) for point in metric.data.data_points
                    }
        return found

    def total(self, metric: Metric, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels; of a histogram its count."""
        total = 0.0
        for key, value in self.prometheus(metric).items():
            if labels.items() <= dict(zip(metric.labels, key, strict=True)).items():
                total += value[-1] if isinstance(value, list) else value
        return total

    def by_label(self, metric: Metric, label: str) -> dict[str, float]:
        """Return the sums of a metric's series by one label, without those that are 0."""
        index = metric.labels.index(label)
        values = {key[index] for key in self.prometheus(metric)}
        totals = {value: self.total(metric, **{label: value}) for value in values}
        return {value: total for value, total in totals.items() if total}

    def check_agreement(self) -> None:
        """Check that both backends tell the same."""
        other = self.opentelemetry()
        for metric in conventions.METRICS:
            ours = self.prometheus(metric)
            if metric is conventions.WORKFLOW_LAST_SUCCESS:
                assert ours.keys() == other[metric.name].keys()
                assert all(abs(other[metric.name][key] - ours[key]) < 10 for key in ours)
            else:
                assert other[metric.name] == ours, metric.name


def _key(metric: Metric, point: Any) -> tuple[str, ...]:
    return tuple(point.attributes[label] for label in metric.labels)


def _value(point: Any) -> Any:
    if not hasattr(point, "bucket_counts"):
        return point.value
    counts = point.bucket_counts
    return [float(sum(counts[: index + 1])) for index in range(len(counts))]


# --- random workflows -------------------------------------------------------------------


class Unreadable(Exception):
    """The storage cannot read a context."""


class Unstorable(Exception):
    """The storage cannot keep a context."""


class FaultyStorage(StorageDefault):
    """Refuses to read or to keep the contexts of some tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable: set[str] = set()
        self.unstorable: set[str] = set()

    def get(self, key: str) -> Context:
        """Return, or refuse."""
        if key in self.unreadable:
            raise Unreadable(key)
        return super().get(key=key)

    def post(self, key: str, context: Any, **options: Any) -> None:
        """Store, or refuse."""
        if key in self.unstorable:
            raise Unstorable(key)
        super().post(key=key, context=context, **options)


class Step(NamedTuple):
    """What one task does: attempt by attempt, the last for ever."""

    script: str
    retry: int
    group: str
    unreadable: bool
    unstorable: bool


def behave(initial_context: Context) -> int:
    """Write down what this attempt does, and do it."""
    file, script = initial_context.storage
    path = Path(file)
    done = path.read_text() if path.exists() else ""
    what = script[min(len(done), len(script) - 1)]
    path.write_text(done + what)
    if what == "f":
        raise KeyError("k")
    if what == "l":
        time.sleep(20)
    if what == "d":
        os._exit(3)
    if what == "i":
        raise KeyboardInterrupt
    return len(done)


def in_thread(initial_context: Context) -> int:
    """Do likewise, in a thread that is abandoned when it is late: it ends soon after."""
    with contextlib.suppress(FileNotFoundError):
        file, script = initial_context.storage
        path = Path(file)
        done = path.read_text() if path.exists() else ""
        if script[min(len(done), len(script) - 1)] == "l":
            path.write_text(done + "l")
            time.sleep(2 * LIMIT)
            return 0
    return behave(initial_context)


def steps(kinds: str, faults: bool = True) -> st.SearchStrategy[Step]:
    """Return random steps."""
    fault = st.sampled_from([False] * 5 + [True]) if faults else st.just(False)
    return st.builds(
        Step,
        script=st.text(st.sampled_from(kinds), min_size=1, max_size=4),
        retry=st.integers(0, 3),
        group=st.sampled_from("aab"),
        unreadable=fault,
        unstorable=fault,
    )


def plans(kinds: str, most: int = 6) -> st.SearchStrategy[list[Step]]:
    """Return random workflows, of which few tasks take their time to fail."""
    slow = LATE + DIES
    return st.lists(steps(kinds), max_size=most).filter(
        lambda plan: sum(step.script.count(kind) for step in plan for kind in slow) <= 1
    )


class Ran(NamedTuple):
    """One run that has ended: its tasks by what became of them."""

    started: list[Task]
    completed: list[Task]
    failed: list[Task]
    restored: list[Task]
    skipped: list[Task]

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> Ran:
        """Look at the tasks."""
        restored = [task for task in tasks if task.restored]
        completed = [task for task in tasks if task.status == "Completed" and not task.restored]
        failed = [task for task in tasks if task.status == "Failed"]
        skipped = [task for task in tasks if task.status == "Not started"]
        assert len(restored) + len(completed) + len(failed) + len(skipped) == len(tasks)
        return cls(completed + failed, completed, failed, restored, skipped)


class Bench:
    """Runs one plan, as often as asked, with the same storage and metrics."""

    def __init__(self, plan: list[Step], executor: ExecutorLocal | None = None) -> None:
        self.measured = Measured()
        self.runs: list[Ran] = []
        self._plan = plan
        self._function = in_thread if executor is None else behave
        self._folder = tempfile.TemporaryDirectory()
        self._storage = FaultyStorage()
        log = Recording().providers["log"]
        self._config = Config(
            metrics=self.measured.metrics, storage=self._storage, log=log, executor=executor
        )

    def run(self, mode: str, *, keep_going: bool, resume: bool) -> None:
        """Run the plan once, to its end."""
        flow = DotFlow(config=self._config, workflow_id="w", name=NAME)
        for number, step in enumerate(self._plan):
            timeout = LIMIT if LATE in step.script else 0
            decorate = action(retry=step.retry, retry_delay=0, timeout=timeout)
            flow.task.add(
                decorate(self._function),
                initial_context=(f"{self._folder.name}/{number}", step.script),
                group_name=step.group,
                name=f"task-{number % 3}",
            )
        self._set_faults(flow, resume=resume)
        with contextlib.suppress(KeyboardInterrupt):
            manager = flow.start(mode=mode, keep_going=keep_going, resume=resume)
            if mode == "background":
                manager.thread.join(30)
                assert not manager.thread.is_alive()
        self.runs.append(Ran.of(flow.task.queue))

    def _set_faults(self, flow: DotFlow, *, resume: bool) -> None:
        keys = [self._storage.key(task=task) for task in flow.task.queue]
        pairs = list(zip(keys, self._plan, strict=True))
        self._storage.unstorable = {key for key, step in pairs if step.unstorable}
        self._storage.unreadable = {key for key, step in pairs if step.unreadable and resume}

    def attempts(self) -> Counter[str]:
        """Count the attempts of all runs by what each did."""
        written = (file.read_text() for file in Path(self._folder.name).iterdir())
        return Counter("".join(written))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def count(self, what: str) -> int:
        """Count the tasks of all runs that became that."""
        return sum(len(getattr(run, what)) for run in self.runs)


def check(bench: Bench) -> None:
    """Check all that is counted against what has happened."""
    total, by_label = bench.measured.total, bench.measured.by_label
    failed = sum(1 for run in bench.runs if run.failed)

    assert total(conventions.WORKFLOW_STARTED) == len(bench.runs)
    assert total(conventions.WORKFLOW_FAILED) == failed
    assert total(conventions.WORKFLOW_COMPLETED) == len(bench.runs) - failed
    assert total(conventions.WORKFLOW_DURATION, status="failed") == failed
    assert total(conventions.WORKFLOW_DURATION, status="completed") == len(bench.runs) - failed

    for metric, what in (
        (conventions.TASK_STARTED, "started"),
        (conventions.TASK_COMPLETED, "completed"),
        (conventions.TASK_FAILED, "failed"),
        (conventions.TASK_RESTORED_TOTAL, "restored"),
        (conventions.TASK_SKIPPED, "skipped"),
    ):
        assert total(metric) == bench.count(what), metric.name
    for status in ("completed", "failed"):
        assert total(conventions.TASK_DURATION, status=status) == bench.count(status)

    failures = [task.failure for run in bench.runs for task in run.failed]
    kinds = Counter(failure.error_type for failure in failures if failure)
    assert by_label(conventions.TASK_FAILED, "error_type") == kinds

    attempts = bench.attempts()
    unreadable = sum(1 for run in bench.runs for task in run.failed if _is_unread(task))
    tried = total(conventions.TASK_STARTED) + total(conventions.TASK_RETRIED) - unreadable
    assert tried == attempts.total()
    assert total(conventions.TASK_TIMED_OUT) == attempts[LATE]
    assert total(conventions.WORKER_LOST) == attempts[DIES]

    for metric in (
        conventions.WORKFLOW_IN_PROGRESS,
        conventions.TASK_IN_PROGRESS,
        conventions.WORKFLOW_OLDEST_START,
        conventions.WORKERS_BUSY,
        conventions.TELEMETRY_ERRORS,
    ):
        assert total(metric) == 0, metric.name
    bench.measured.check_agreement()


def _is_unread(task: Task) -> bool:
    # It, or what the task before handed on, could not be read: there was no attempt.
    return task.errors[-1].exception == Unreadable.__name__


RESUMES = st.lists(st.booleans(), min_size=1, max_size=3)


@settings(UNHURRIED, max_examples=60)
@given(
    plan=plans(OK * 6 + FAILS * 4 + LATE + INTERRUPTS),
    mode=st.sampled_from(["sequential", "sequential_group", "background"]),
    keep_going=st.booleans(),
    resumes=RESUMES,
)
def test_the_ledger_balances(
    plan: list[Step], mode: str, keep_going: bool, resumes: list[bool]
) -> None:
    """Whatever runs in this process, all that is counted is what has happened."""
    with Bench(plan) as bench:
        for resume in resumes:
            bench.run(mode, keep_going=keep_going, resume=resume)
        check(bench)


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorLocal]:
    """Return two workers that all runs share."""
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


@settings(UNHURRIED, max_examples=20)
@given(
    plan=plans(OK * 4 + FAILS * 3 + LATE + DIES + INTERRUPTS),
    keep_going=st.booleans(),
    resumes=RESUMES,
)
def test_the_ledger_balances_in_workers(
    executor: ExecutorLocal, plan: list[Step], keep_going: bool, resumes: list[bool]
) -> None:
    """So it does where steps run in workers, which may die; each wait for one is told once."""
    with Bench(plan, executor) as bench:
        for resume in resumes:
            bench.run("parallel", keep_going=keep_going, resume=resume)
        check(bench)
        unread = sum(1 for run in bench.runs for task in run.failed if _is_unread(task))
        assert bench.measured.total(conventions.TASK_QUEUE) == bench.count("started") - unread


def test_many_workflows_at_once() -> None:
    """Runs in many threads at the same time are all counted, in both backends."""
    measured = Measured()
    threads, each = 8, 15
    all_ready = threading.Barrier(threads)

    @action
    def good() -> None:
        pass

    @action(retry=2, retry_delay=0)
    def bad() -> None:
        raise KeyError("k")

    def work(number: int) -> None:
        log = Recording().providers["log"]
        all_ready.wait(10)
        for _ in range(each):
            # Each with a config of its own, as the requests of a service may have.
            config = Config(metrics=measured.metrics, log=log)
            flow = DotFlow(config=config, name=f"flow-{number % 3}")
            flow.task.add([good, bad, good])
            flow.start()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    runs = threads * each
    assert measured.by_label(conventions.WORKFLOW_STARTED, "workflow") == {
        "flow-0": 3 * each,
        "flow-1": 3 * each,
        "flow-2": 2 * each,
    }
    assert measured.total(conventions.WORKFLOW_FAILED) == runs
    assert measured.by_label(conventions.TASK_STARTED, "task") == {"good": runs, "bad": runs}
    assert measured.total(conventions.TASK_RETRIED, error_type="KeyError") == runs
    assert measured.total(conventions.TASK_FAILED, error_type="KeyError") == runs
    assert measured.total(conventions.TASK_COMPLETED) == runs
    assert measured.total(conventions.TASK_SKIPPED) == runs
    assert measured.total(conventions.WORKFLOW_IN_PROGRESS) == 0
    assert measured.total(conventions.TASK_IN_PROGRESS) == 0
    assert measured.total(conventions.WORKFLOW_OLDEST_START) == 0
    measured.check_agreement()
