"""Design section 6: the hooks that take records, beside those of 1.x."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.abc.log import Log
from dotflow.abc.metrics import Metrics
from dotflow.abc.tracer import Tracer
from dotflow.providers import MetricsDefault, TracerDefault

if TYPE_CHECKING:
    from pathlib import Path

    from dotflow import Task
    from dotflow.core.run import Run as RunRecord

Run = Any
Recorder = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise LookupError("no")


class NewTracer(TracerDefault):
    """A tracer that overrides the new hooks too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Write down."""
        self.calls.append(("start_workflow", workflow_id))

    def run_started(self, run: RunRecord) -> None:
        """Write down."""
        self.calls.append(("run_started", run))

    def run_finished(self, run: RunRecord) -> None:
        """Write down."""
        self.calls.append(("run_finished", run))

    def task_restored(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_restored", task.name))


class NewMetrics(MetricsDefault):
    """Metrics that override the new hooks too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Any]] = []

    def task_started(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_started", task.name))

    def task_restored(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_restored", task.name))

    def task_skipped(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_skipped", task.name))

    def task_timed_out(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_timed_out", task.name))

    def task_retried(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_retried", task.failure and task.failure.kind))

    def task_failed(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_failed", task.failure and task.failure.kind))

    def telemetry_error(self, provider: str, hook: str) -> None:
        """Write down."""
        self.calls.append(("telemetry_error", hook))


class NewLog(Log):
    """A log that overrides the new hooks too."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def info(self, **kwargs: Any) -> None:
        """Say nothing."""

    def error(self, **kwargs: Any) -> None:
        """Say nothing."""

    def warning(self, **kwargs: Any) -> None:
        """Say nothing."""

    def run_started(self, run: RunRecord) -> None:
        """Write down."""
        self.calls.append(("run_started", run.name))

    def run_finished(self, run: RunRecord) -> None:
        """Write down."""
        self.calls.append(("run_finished", run.outcome))

    def task_skipped(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_skipped", task.name))

    def task_restored(self, task: Task) -> None:
        """Write down."""
        self.calls.append(("task_restored", task.name))


def test_run_record(mode: str, run: Run, silent_log: Log) -> None:
    """run_started and run_finished get a frozen record of the run, in place of the 1.x calls."""
    tracer = NewTracer()
    flow = DotFlow(config=Config(tracer=tracer, log=silent_log), workflow_id="etl", name="billing")
    flow.task.add([ok, bad])
    run(flow, mode)
    assert [name for name, _ in tracer.calls] == ["run_started", "run_finished"]
    started, finished = (record for _, record in tracer.calls)
    assert (started.workflow_id, started.name, started.mode, started.task_count) == (
        "etl",
        "billing",
        mode,
        2,
    )
    assert (started.duration, started.outcome) == (None, None)
    assert abs(started.started_at - time.time()) < 20
    assert started.id
    assert finished.id == started.id
    assert (finished.outcome, finished.failed) == ("failed", True)
    assert finished.duration > 0
    with pytest.raises(AttributeError):
        finished.name = "other"
    for task in flow.result_task():
        assert task.run is not None
        assert task.run.id == started.id


def test_each_run_has_an_id_of_its_own(run: Run, silent_log: Log) -> None:
    """Two runs of one workflow id differ in the id of the run."""
    tracer = NewTracer()
    for _ in range(2):
        flow = DotFlow(config=Config(tracer=tracer, log=silent_log), workflow_id="etl")
        run(flow)
    assert len({record.id for _, record in tracer.calls}) == 2


def test_skipped_tasks_are_told(mode: str, run: Run) -> None:
    """metrics.task_skipped and log.task_skipped hear of each task that its chain's end skipped."""
    metrics, log = NewMetrics(), NewLog()
    flow = DotFlow(config=Config(metrics=metrics, log=log), name="billing")
    flow.task.add(bad, group_name="a")
    flow.task.add(ok, group_name="a", name="skipped")
    flow.task.add(ok, group_name="b", name="ran")
    run(flow, mode)
    assert sorted(metrics.calls) == [
        ("task_failed", "error"),
        ("task_skipped", "skipped"),
        ("task_started", "bad"),
        ("task_started", "ran"),
    ]
    assert sorted(log.calls) == [
        ("run_finished", "failed"),
        ("run_started", "billing"),
        ("task_skipped", "skipped"),
    ]


def test_timeouts_are_told_before_the_failure(mode: str, run: Run, silent_log: Log) -> None:
    """metrics.task_timed_out comes first at each timed-out attempt; the failure's kind says so."""

    @action(timeout=0.1, retry=2, retry_delay=0)
    def slow() -> None:
        time.sleep(0.6)

    metrics = NewMetrics()
    flow = DotFlow(config=Config(metrics=metrics, log=silent_log))
    flow.task.add(slow)
    run(flow, mode)
    assert metrics.calls == [
        ("task_started", "slow"),
        ("task_timed_out", "slow"),
        ("task_retried", "timeout"),
        ("task_timed_out", "slow"),
        ("task_failed", "timeout"),
    ]


def test_own_timeout_error_is_no_timeout(mode: str, run: Run, silent_log: Log) -> None:
    """A TimeoutError that the step raised is an error like any other to the metrics."""

    @action(timeout=5)
    def step() -> None:
        raise TimeoutError("own")

    metrics = NewMetrics()
    flow = DotFlow(config=Config(metrics=metrics, log=silent_log))
    flow.task.add(step)
    run(flow, mode)
    assert metrics.calls == [("task_started", "step"), ("task_failed", "error")]


def test_lost_worker_is_told(run: Run, silent_log: Log) -> None:
    """The failure of a task whose worker died is of the kind worker_lost."""

    @action
    def dies() -> None:
        os._exit(3)

    metrics = NewMetrics()
    flow = DotFlow(config=Config(metrics=metrics, log=silent_log))
    flow.task.add(dies)
    run(flow, "parallel")
    assert ("task_failed", "worker_lost") in metrics.calls


def test_interruption_is_told(run: Run, silent_log: Log) -> None:
    """The failure of an interrupted task is of the kind interrupted."""

    @action
    def stops() -> None:
        raise KeyboardInterrupt

    metrics = NewMetrics()
    flow = DotFlow(config=Config(metrics=metrics, log=silent_log))
    flow.task.add(stops)
    with pytest.raises(KeyboardInterrupt):
        run(flow)
    assert metrics.calls == [("task_started", "stops"), ("task_failed", "interrupted")]


def test_restored_tasks_are_told(mode: str, run: Run, tmp_path: Path) -> None:
    """Tracer, metrics and log hear task_restored of each task taken from its checkpoint."""
    broken = tmp_path / "broken"
    broken.touch()

    @action
    def fails() -> None:
        if broken.exists():
            raise ValueError("no")

    storage = Config().storage
    for _ in range(2):
        tracer, metrics, log = NewTracer(), NewMetrics(), NewLog()
        config = Config(storage=storage, tracer=tracer, metrics=metrics, log=log)
        flow = DotFlow(config=config, workflow_id="etl")
        flow.task.add([ok, fails], group_name="a")
        run(flow, mode, resume=True)
        broken.unlink(missing_ok=True)
    assert ("task_restored", "ok") in tracer.calls
    assert metrics.calls == [("task_restored", "ok"), ("task_started", "fails")]
    assert ("task_restored", "ok") in log.calls


def test_every_error_of_a_hook_is_counted(run: Run, silent_log: Log) -> None:
    """metrics.telemetry_error is called at each error of a hook, with the hook's name."""

    class Broken(TracerDefault):
        def start_task(self, task: Task) -> None:
            raise RuntimeError("provider broke")

    metrics = NewMetrics()
    flow = DotFlow(config=Config(tracer=Broken(), metrics=metrics, log=silent_log))
    flow.task.add([ok, ok, ok])
    run(flow)
    assert metrics.calls.count(("telemetry_error", "start_task")) == 3


def test_defaults_call_the_hooks_of_1_x(run: Run, recorder: Recorder) -> None:
    """A provider without the new hooks is told through those of 1.x."""
    flow = DotFlow(config=recorder.config())
    run(flow)
    assert isinstance(recorder.config().tracer, Tracer)
    assert isinstance(recorder.config().metrics, Metrics)
    assert recorder.count("tracer.start_workflow") == recorder.count("tracer.end_workflow") == 1
