"""Providers that raise in every hook change nothing but the count of errors."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from log_records import own_records

from dotflow import Config, DotFlow, action
from dotflow.abc.log import Log
from dotflow.abc.metrics import Metrics
from dotflow.abc.notify import Notify
from dotflow.abc.scope import RemoteScope
from dotflow.abc.server import Server
from dotflow.abc.tracer import Tracer
from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Iterator

MODES = ("sequential", "sequential_group", "background", "parallel")


def _raise(*_: object, **__: object) -> Any:
    raise RuntimeError("backend")


def _broken(interface: type) -> Any:
    """Make a provider of an interface whose every hook raises."""
    hooks = [name for name in dir(interface) if not name.startswith("_")]
    return type(f"Broken{interface.__name__}", (interface,), dict.fromkeys(hooks, _raise))()


class Counting:
    """Counts the errors that it is told of, and raises in all else."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, str]] = Counter()

    def provider(self) -> Metrics:
        """Return it as a metrics provider."""
        metrics: Metrics = _broken(Metrics)

        def count(provider: str, hook: str) -> None:
            self.counted[provider, hook] += 1

        metrics.telemetry_error = count  # type: ignore[method-assign]
        return metrics


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorLocal]:
    """Return workers of this module's own."""
    made = ExecutorLocal(workers=1)
    yield made
    made.close()


@pytest.mark.parametrize("mode", MODES)
def test_run_is_unchanged(
    mode: str, executor: ExecutorLocal, caplog: pytest.LogCaptureFixture
) -> None:
    """Results, statuses and callbacks are right; each kind of error is logged once."""
    counting = Counting()
    ended: list[bool] = []

    @action(retry=2, retry_delay=0)
    def bad() -> None:
        raise ValueError("step")

    @action
    def good() -> int:
        return 1

    with caplog.at_level(logging.ERROR, logger="dotflow"):
        flow = DotFlow(
            config=Config(
                tracer=_broken(Tracer),
                metrics=counting.provider(),
                log=_broken(Log),
                notify=_broken(Notify),
                server=_broken(Server),
                executor=executor,
            )
        )
        flow.task.add(good)
        flow.task.add(bad, group_name="other")
        manager = flow.start(
            mode=mode,
            on_failure=lambda tasks: ended.append(False),
            on_success=lambda tasks: ended.append(True),
        )
        if mode == "background":
            manager.thread.join()
    assert [task.status for task in flow.result_task()] == ["Completed", "Failed"]
    assert ended == [False]
    assert flow.result_storage() == [1, None]
    scope = "remote_scope" if mode == "parallel" else "attempt_scope"
    assert counting.counted["BrokenTracer", scope] == 3
    assert counting.counted["BrokenTracer", "attempt_finished"] == 3
    assert counting.counted["BrokenTracer", "end_task"] == 2
    assert counting.counted["BrokenMetrics", "task_retried"] == 1
    logged = Counter(record.getMessage().split(" raised")[0] for record in own_records(caplog))
    assert logged == {f"{provider}.{hook}": 1 for provider, hook in counting.counted}


class _Scope(RemoteScope):
    def __init__(self, where: str) -> None:
        self.where = where
        self.entered = 0

    def __enter__(self) -> None:
        self.entered += 1
        if self.where == "enter":
            raise RuntimeError("enter")

    def __exit__(self, *_: object) -> None:
        if self.where == "exit":
            raise RuntimeError("exit")


@pytest.mark.parametrize("where", ["enter", "exit"])
def test_broken_scope(where: str) -> None:
    """A scope that raises at either end is counted, and the step's outcome stands."""
    counting = Counting()
    scope = _Scope(where)
    tracer = _broken(Tracer)
    tracer.attempt_scope = lambda task, attempt: scope
    metrics = counting.provider()

    @action
    def good() -> int:
        return 2

    flow = DotFlow(config=Config(tracer=tracer, metrics=metrics, log=_broken(Log)))
    flow.task.add(good)
    flow.start()
    assert (flow.result_storage(), scope.entered) == ([2], 1)
    assert counting.counted["BrokenTracer", "attempt_scope"] == 1


@pytest.mark.parametrize("where", ["enter", "exit"])
def test_interrupted_scope(where: str) -> None:
    """An interruption while scopes are entered or left still leaves those that were entered."""
    told: list[str] = []

    class Scope:
        def __init__(self, name: str, interrupted: str | None) -> None:
            self.name = name
            self.interrupted = interrupted

        def __enter__(self) -> None:
            self.tell("enter")

        def __exit__(self, *_: object) -> None:
            self.tell("exit")

        def tell(self, moment: str) -> None:
            told.append(f"{moment} {self.name}")
            if moment == self.interrupted:
                raise KeyboardInterrupt

    tracer, log = _broken(Tracer), _broken(Log)
    tracer.attempt_scope = lambda task, attempt: Scope("tracer's", None)
    log.attempt_scope = lambda task, attempt: Scope("log's", where)

    @action
    def good() -> int:
        return 4

    flow = DotFlow(config=Config(tracer=tracer, log=log, metrics=Counting().provider()))
    flow.task.add(good)
    with pytest.raises(KeyboardInterrupt):
        flow.start()
    left = ["exit log's"] if where == "exit" else []
    assert told == ["enter tracer's", "enter log's", *left, "exit tracer's"]
    assert flow.result_task()[0].status == "Failed"


def test_counter_that_raises() -> None:
    """Even a broken counter of errors leaves the run alone."""

    @action
    def good() -> int:
        return 3

    flow = DotFlow(config=Config(metrics=_broken(Metrics), log=_broken(Log)))
    flow.task.add(good)
    flow.start()
    assert flow.result_storage() == [3]


class _WithMethods(RemoteScope):
    """A scope that gives scopes for methods, which raise where they are told to."""

    def __init__(self, raising: str) -> None:
        self.raising = raising

    def __enter__(self) -> None:
        """Enter."""

    def __exit__(self, *_: object) -> None:
        """Leave."""

    def method_scope(self, action: object, attempt: int | None) -> Any:
        if self.raising == "giving":
            _raise()
        return _Scope(self.raising)

    def collect(self) -> None:
        _raise()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("raising", ["enter", "exit", "giving"])
def test_scopes_of_methods(executor: ExecutorLocal, mode: str, raising: str) -> None:
    """Whatever scopes raise around a method of a class step, the step runs as it does without."""

    class Tracing(Tracer):
        start_workflow = end_workflow = start_task = end_task = _nothing

        def attempt_scope(self, task: object, attempt: int) -> Any:
            return _WithMethods(raising)

        remote_scope = attempt_scope

    @action
    class Step:
        @action(retry=2, retry_delay=0)
        def method(self) -> int:
            return 1

    flow = DotFlow(config=Config(tracer=Tracing(), executor=executor, log=_broken(Log)))
    flow.task.add(Step)
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join(20)
    (contexts,) = flow.result_storage()
    assert [context.storage for context in contexts] == [1]


def test_scopes_of_another_kind(executor: ExecutorLocal, caplog: pytest.LogCaptureFixture) -> None:
    """What is no scope of a worker is refused with an error that says what to do; steps run."""

    class Tracing(Tracer):
        start_workflow = end_workflow = start_task = end_task = _nothing

        def remote_scope(self, task: object, attempt: int) -> Any:
            return nullcontext()

    @action
    def good() -> int:
        return 1

    flow = DotFlow(config=Config(tracer=Tracing(), executor=executor))
    flow.task.add(good)
    flow.start(mode="parallel")
    assert flow.result_storage() == [1]
    (record,) = own_records(caplog)
    assert record.exc_info is not None
    assert str(record.exc_info[1]).endswith(
        " is no dotflow.abc.scope.RemoteScope: derive it from that"
    )


def _nothing(*_: object, **__: object) -> None:
    """Do nothing."""


class _SharedData:
    def scope(self, *_: object) -> _Scope:
        return _Scope("nowhere")


class _OfSharedData(_Scope):
    shared = _SharedData()
    arguments = (threading.Lock(),)

    def collect(self) -> None:
        """Return nothing."""


def test_what_goes_along_of_a_scope_cannot_fail_a_step(
    executor: ExecutorLocal, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps run without the scopes whose values do not travel; one record says so."""

    class Tracing(Tracer):
        start_workflow = end_workflow = start_task = end_task = _nothing

        def remote_scope(self, task: object, attempt: int) -> Any:
            return _OfSharedData("nowhere")

    @action
    def good() -> int:
        return 1

    flow = DotFlow(config=Config(tracer=Tracing(), executor=executor, log=_broken(Log)))
    for group in "abc":
        flow.task.add(good, group_name=group)
    flow.start(mode="parallel")
    assert flow.result_storage() == [1, 1, 1]
    warned = [
        record.getMessage() for record in own_records(caplog) if "pickled" in record.getMessage()
    ]
    assert warned == ["the scopes of attempts cannot be pickled; steps run without them"]
