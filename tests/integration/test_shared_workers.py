"""The gauges of the workers, where several runs share them."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from dotflow import Config, Context, DotFlow, action
from dotflow.core.hooks import WorkersListener
from dotflow.providers import ExecutorLocal
from dotflow.providers.executor_local import shared_executor
from dotflow.testing import Recording
from dotflow_otel import MetricsPrometheus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow import Task


@action(timeout=20)
def until(initial_context: Context) -> None:
    """Run until a file is there."""
    while not Path(initial_context.storage).exists():
        time.sleep(0.005)


@action
def one() -> int:
    """Return at once."""
    return 1


@pytest.fixture
def executor() -> Iterator[ExecutorLocal]:
    """Return two workers, the only ones of this process."""
    shared_executor().close()
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


class SharingRun:
    """A run in a thread, whose one step ends when it is told to."""

    def __init__(self, registry: CollectorRegistry, executor: ExecutorLocal, end: Path) -> None:
        self.registry = registry
        self._end = end
        quiet = Recording().providers
        metrics = MetricsPrometheus(registry)
        config = Config(executor=executor, metrics=metrics, log=quiet["log"])
        self._flow = DotFlow(config=config)
        self._flow.task.add(until, initial_context=str(end), callback=self._note)
        self._thread = threading.Thread(target=self._flow.start, kwargs={"mode": "parallel"})
        self._thread.start()

    def _note(self, task: Task) -> None:
        assert task.failure is None

    def workers(self) -> tuple[float | None, float | None]:
        """Return the gauges: live workers, busy workers."""
        value = self.registry.get_sample_value
        return value("dotflow_workers"), value("dotflow_workers_busy")

    def wait_for_busy(self, busy: int) -> None:
        """Wait until the gauge tells of so many busy workers."""
        until_then = time.monotonic() + 10
        while self.workers()[1] != busy:
            assert time.monotonic() < until_then, self.workers()
            time.sleep(0.005)

    def end(self) -> None:
        """Have the step end, and wait for the run."""
        self._end.touch()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("first_ends_first", [True, False])
def test_no_worker_is_busy_in_the_end(
    shared: bool, first_ends_first: bool, executor: ExecutorLocal, tmp_path: Path
) -> None:
    """After two runs on one pool no gauge tells of a busy worker, whoever ended first.

    Neither does that of a run that ended before the other, in a registry of its own.
    """
    registry = CollectorRegistry()
    first = SharingRun(registry, executor, tmp_path / "first")
    first.wait_for_busy(1)
    other = registry if shared else CollectorRegistry()
    second = SharingRun(other, executor, tmp_path / "second")
    for run in (first, second):
        run.wait_for_busy(2)
    one, another = (first, second) if first_ends_first else (second, first)
    one.end()
    assert one.workers() == another.workers() == (2, 1)
    another.end()
    assert one.workers() == another.workers() == (2, 0)


def test_pools_are_added_up(executor: ExecutorLocal, tmp_path: Path) -> None:
    """One registry shows the workers of all pools; the runs of each may end in any order."""
    registry = CollectorRegistry()
    own = ExecutorLocal(workers=1)
    first = SharingRun(registry, executor, tmp_path / "first")
    first.wait_for_busy(1)
    second = SharingRun(registry, own, tmp_path / "second")
    second.wait_for_busy(2)
    assert first.workers() == (2, 2)
    first.end()
    assert first.workers() == (2, 1)
    second.end()
    assert first.workers() == (2, 0)
    own.close()
    assert first.workers() == (1, 0)


def test_a_closed_pool_has_no_workers(executor: ExecutorLocal, tmp_path: Path) -> None:
    """The gauge is back at 0 when the workers are ended, long after the runs."""
    run = SharingRun(CollectorRegistry(), executor, tmp_path / "end")
    run.wait_for_busy(1)
    run.end()
    assert run.workers() == (1, 0)
    executor.close()
    assert run.workers() == (0, 0)


def test_each_change_is_notified_once(executor: ExecutorLocal) -> None:
    """A provider hears of a change of the workers one time, also where two of them share series."""
    heard: list[tuple[int, int]] = []
    set_by: list[str] = []
    registry = CollectorRegistry()

    class Noting(MetricsPrometheus):
        def workers_changed(self, workers: int, busy: int) -> None:
            heard.append((workers, busy))
            super().workers_changed(workers, busy)
            set_by.append(f"{registry.get_sample_value('dotflow_workers'):g}")

    config = Config(executor=executor, metrics=Noting(registry), log=Recording().providers["log"])
    for _ in range(3):
        flow = DotFlow(config=config)
        flow.task.add(one)
        flow.start(mode="parallel")
    executor.close()
    assert heard == [*[(1, 1), (1, 0)] * 3, (0, 0)]
    assert set_by == ["1"] * 6 + ["0"]


def test_a_provider_that_raises_is_notified_to_the_end(
    executor: ExecutorLocal, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error ends nothing, during the run and after it, and the next one is notified."""

    class Broken(MetricsPrometheus):
        def workers_changed(self, workers: int, busy: int) -> None:
            raise KeyError(workers, busy)

    registry = CollectorRegistry()
    config = Config(executor=executor, metrics=Broken(registry), log=Recording().providers["log"])
    flow = DotFlow(config=config)
    flow.task.add(one)
    flow.start(mode="parallel")
    assert [task.status for task in flow.result_task()] == ["Completed"]
    assert "Broken.workers_changed raised KeyError" in caplog.text
    executor.close()
    errors = registry.get_sample_value(
        "dotflow_telemetry_errors_total", {"provider": "Broken", "hook": "workers_changed"}
    )
    assert errors == 3


def test_a_provider_outlives_its_configuration(caplog: pytest.LogCaptureFixture) -> None:
    """Workers may live longer: it is notified still, and the first error of it is logged."""

    class Broken(MetricsPrometheus):
        def workers_changed(self, workers: int, busy: int) -> None:
            raise KeyError(workers, busy)

    listener = WorkersListener.of(Config(metrics=Broken(CollectorRegistry())))
    gc.collect()
    assert listener is not None
    for busy in (0, 1, 0):
        listener(1, busy)
    assert caplog.text.count("a provider could not be notified of workers") == 1
