"""Contract section 11: the Manager."""

from __future__ import annotations

import contextlib
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from dotflow import Config, DotFlow, Task, action
from dotflow.core.exception import ExecutionModeNotExist, InvalidOnInputChange
from dotflow.core.workflow import Manager, grouper

if TYPE_CHECKING:
    import logging

Recorder = Any
Run = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


def _tasks(config: Config | None, *steps: Any, workflow_id: Any = None) -> list[Task]:
    return [
        Task(task_id=f"task-{index}", step=step, config=config, workflow_id=workflow_id)
        for index, step in enumerate(steps)
    ]


def test_manager_runs_in_its_constructor(quiet: Config) -> None:
    """Manager(tasks=...) has run the tasks when it is made."""
    tasks = _tasks(quiet, ok, ok)
    manager = Manager(tasks=tasks, config=quiet)
    assert [task.status for task in tasks] == ["Completed", "Completed"]
    assert manager.tasks == tasks


def test_attributes(quiet: Config) -> None:
    """A Manager carries its arguments, a start time, and no thread unless in background."""

    def good(tasks: list[Task]) -> None: ...

    def poor(tasks: list[Task]) -> None: ...

    before = datetime.now()
    manager = Manager(
        tasks=_tasks(quiet, ok),
        on_success=good,
        on_failure=poor,
        workflow_id="etl",
        on_input_change="raise",
        fingerprint="v1",
        config=quiet,
        workflow_name="billing",
    )
    assert (manager.on_success, manager.on_failure, manager.workflow_id, manager.config) == (
        good,
        poor,
        "etl",
        quiet,
    )
    assert (manager.on_input_change, manager.fingerprint) == ("raise", "v1")
    assert isinstance(manager.started, datetime)
    assert before.timestamp() - 0.01 <= manager.started.timestamp() <= datetime.now().timestamp()
    assert getattr(manager, "thread", None) is None


def test_generated_workflow_id(quiet: Config) -> None:
    """Without workflow_id a Manager has a fresh UUID4."""
    one, other = Manager(tasks=[], config=quiet), Manager(tasks=[], config=quiet)
    assert isinstance(one.workflow_id, UUID)
    assert one.workflow_id.version == 4
    assert one.workflow_id != other.workflow_id


def test_thread_in_background(quiet: Config) -> None:
    """In background mode `thread` is a threading.Thread, and the call returns at once."""
    gate = threading.Event()

    @action
    def waits() -> bool:
        return gate.wait(20)

    flow = DotFlow(config=quiet)
    flow.task.add(waits)
    manager = flow.start(mode="background")
    assert isinstance(manager.thread, threading.Thread)
    assert manager.thread.is_alive()
    assert flow.result_task()[0].status != "Completed"
    gate.set()
    manager.thread.join(20)
    assert flow.result_storage() == [True]


def test_without_config_no_provider_is_called(recorder: Recorder) -> None:
    """config=None runs the tasks with their own config, and calls no workflow hook."""
    tasks = _tasks(recorder.config(), ok)
    Manager(tasks=tasks, workflow_id=uuid4(), config=None)
    assert tasks[0].status == "Completed"
    assert [name for name in recorder.names() if "workflow" in name] == []


@pytest.mark.parametrize("empty", [True, False])
def test_order_of_the_workflow_events(empty: bool, mode: str, run: Run, recorder: Recorder) -> None:
    """Start events, the run, end events, callback: in the promised order, each once."""
    flow = DotFlow(config=recorder.config(), workflow_id="etl")
    flow.task.add([] if empty else [ok, ok])
    recorder.clear()
    run(
        flow,
        mode,
        on_success=lambda tasks: recorder.add("on_success", count=len(tasks)),
        on_failure=lambda tasks: recorder.add("on_failure", count=len(tasks)),
    )
    names = [name for name in recorder.names() if "workflow" in name or name.startswith("on_")]
    assert names == [
        "tracer.start_workflow",
        "metrics.workflow_started",
        "server.update_workflow",
        "tracer.end_workflow",
        "metrics.workflow_completed",
        "server.update_workflow",
        "on_success",
    ]
    started, ended = recorder.of("tracer.start_workflow")[0], recorder.of("tracer.end_workflow")[0]
    assert started.seen["workflow_id"] == "etl"
    assert started.seen["kwargs"] == {"mode": mode, "tasks_count": 0 if empty else 2}
    assert set(ended.seen["kwargs"]) == {"duration", "failed"}
    assert ended.seen["kwargs"]["failed"] is False
    assert ended.seen["kwargs"]["duration"] > 0
    assert recorder.of("metrics.workflow_started")[0].seen["kwargs"] == {"mode": mode}
    completed = recorder.of("metrics.workflow_completed")[0].seen
    assert completed["workflow_id"] == "etl"
    assert completed["duration"] == ended.seen["kwargs"]["duration"]
    assert [event.seen for event in recorder.of("server.update_workflow")] == [
        {"workflow": "etl", "status": "In progress"},
        {"workflow": "etl", "status": "Completed"},
    ]


def test_events_of_a_failed_workflow(mode: str, run: Run, recorder: Recorder) -> None:
    """A failed task makes the workflow Failed: metrics.workflow_failed, on_failure."""
    flow = DotFlow(config=recorder.config(), workflow_id="etl")
    flow.task.add([ok, bad])
    recorder.clear()
    run(
        flow,
        mode,
        on_success=lambda tasks: recorder.add("on_success"),
        on_failure=lambda tasks: recorder.add("on_failure"),
    )
    names = [name for name in recorder.names() if "workflow" in name or name.startswith("on_")]
    assert names == [
        "tracer.start_workflow",
        "metrics.workflow_started",
        "server.update_workflow",
        "tracer.end_workflow",
        "metrics.workflow_failed",
        "server.update_workflow",
        "on_failure",
    ]
    assert recorder.of("tracer.end_workflow")[0].seen["kwargs"]["failed"] is True
    assert recorder.of("server.update_workflow")[-1].seen == {"workflow": "etl", "status": "Failed"}


def test_workflow_callbacks_get_the_tasks_by_keyword(mode: str, quiet: Config, run: Run) -> None:
    """on_success(tasks=[...]) gets the tasks, all of them where all ran."""
    given: list[dict[str, Any]] = []
    flow = DotFlow(config=quiet)
    flow.task.add([ok, ok])
    run(flow, mode, on_success=lambda **kwargs: given.append(kwargs))
    assert given == [{"tasks": flow.result_task()}]


def test_tasks_after_a_failure(mode: str, quiet: Config, run: Run) -> None:
    """`tasks` holds what was executed; in modes but sequential it holds all."""
    flow = DotFlow(config=quiet)
    flow.task.add([ok, bad, ok])
    manager = run(flow, mode)
    all_of_them = flow.result_task()
    assert manager.tasks[:2] == all_of_them[:2]
    if mode != "sequential":
        assert manager.tasks == all_of_them


def test_empty_list_succeeds(mode: str, quiet: Config, run: Run) -> None:
    """No tasks: on_success(tasks=[]) and manager.tasks == []."""
    given: list[object] = []
    manager = run(
        DotFlow(config=quiet), mode, on_success=lambda **kwargs: given.append(kwargs["tasks"])
    )
    assert (given, manager.tasks) == ([[]], [])


@pytest.mark.parametrize("mode", ["nope", "", None, 5, "Sequential"])
def test_unknown_mode_is_refused_before_anything(mode: Any, recorder: Recorder) -> None:
    """An unknown mode raises before any event."""
    flow = DotFlow(config=recorder.config(), workflow_id="etl")
    flow.task.add(ok)
    recorder.clear()
    with pytest.raises(ExecutionModeNotExist):
        flow.start(mode=mode)
    assert recorder.events == []
    assert flow.result_task()[0].status == "Not started"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("policy", ["nope", "", None])
def test_unknown_policy_is_refused_before_anything(
    policy: Any, resume: bool, recorder: Recorder
) -> None:
    """A wrong on_input_change raises before any event, with and without resume."""
    flow = DotFlow(config=recorder.config(), workflow_id="etl")
    flow.task.add(ok)
    recorder.clear()
    with pytest.raises(InvalidOnInputChange) as caught:
        flow.start(on_input_change=policy, resume=resume)
    assert repr(policy) in str(caught.value)
    assert recorder.events == []


def test_flow_can_start_after_a_refused_start(quiet: Config) -> None:
    """A start that was refused does not count: the next one runs."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok)
    with pytest.raises(ExecutionModeNotExist):
        flow.start(mode="nope")
    flow.start()
    assert flow.result_storage() == ["ok"]


def test_task_callback_gets_the_ended_task(mode: str, quiet: Config, run: Run) -> None:
    """callback(task=task) runs once for each executed task, completed or failed, here."""
    seen: list[tuple[str, str, int]] = []

    def told(task: Task) -> None:
        seen.append((task.name, task.status, len(task.errors)))

    flow = DotFlow(config=quiet)
    flow.task.add(ok, callback=told, group_name="a", name="first")
    flow.task.add(bad, callback=told, group_name="a", name="second")
    flow.task.add(ok, callback=told, group_name="b", name="third")
    flow.task.add(bad, callback=told, group_name="b", name="fourth")
    flow.task.add(ok, callback=told, group_name="b", name="never")
    run(flow, mode)
    assert sorted(seen) == [
        ("first", "Completed", 0),
        ("fourth", "Failed", 1),
        ("second", "Failed", 1),
        ("third", "Completed", 0),
    ]


def test_error_in_a_task_callback_is_logged(
    mode: str, quiet: Config, run: Run, records: list[logging.LogRecord]
) -> None:
    """An exception in a task callback is logged with its traceback; the flow goes on."""

    def fails(task: Task) -> None:
        raise RuntimeError("callback broke")

    outcome: list[str] = []
    flow = DotFlow(config=quiet)
    flow.task.add([ok, ok], callback=fails)
    run(
        flow,
        mode,
        on_success=lambda tasks: outcome.append("success"),
        on_failure=lambda tasks: outcome.append("failure"),
    )
    assert [task.status for task in flow.result_task()] == ["Completed", "Completed"]
    assert outcome == ["success"]
    logged = [record for record in records if record.exc_info]
    assert logged
    assert {str(record.exc_info[1]) for record in logged if record.exc_info} == {"callback broke"}


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
def test_error_in_a_workflow_callback_comes_after_the_end(
    mode: str, run: Run, recorder: Recorder
) -> None:
    """All end events have happened when a workflow callback fails."""

    def fails(tasks: list[Task]) -> None:
        recorder.add("on_success")
        raise RuntimeError("callback broke")

    flow = DotFlow(config=recorder.config())
    flow.task.add(ok)
    # Whether the error comes out of start() is not promised.
    with contextlib.suppress(RuntimeError):
        run(flow, mode, on_success=fails)
    assert recorder.names()[-4:] == [
        "tracer.end_workflow",
        "metrics.workflow_completed",
        "server.update_workflow",
        "on_success",
    ]
    assert flow.result_storage() == ["ok"]


def test_thread_covers_the_workflow_callback(quiet: Config) -> None:
    """In background, thread.join() returns after the workflow callback has run."""
    gate, outcome = threading.Event(), []

    def good(tasks: list[Task]) -> None:
        gate.wait(0.1)
        outcome.append("success")

    flow = DotFlow(config=quiet)
    flow.task.add(ok)
    flow.start(mode="background", on_success=good).thread.join(20)
    assert outcome == ["success"]


class _Stop(BaseException):
    pass


@pytest.mark.parametrize(
    "kind", [AssertionError, SystemExit, KeyboardInterrupt, GeneratorExit, _Stop]
)
def test_base_exceptions_fail_the_task_and_balance_the_events(
    kind: type[BaseException], recorder: Recorder
) -> None:
    """Whatever a step raises: the task and workflow are Failed and every start has its end."""

    @action(retry=1)
    def stops() -> None:
        raise kind("stop")

    outcome: list[str] = []
    flow = DotFlow(config=recorder.config())
    flow.task.add([ok, stops, ok])
    try:
        flow.start(
            on_success=lambda tasks: outcome.append("success"),
            on_failure=lambda tasks: outcome.append("failure"),
        )
    except kind as error:
        assert not isinstance(error, Exception)  # noqa: PT017 - only these may propagate
    assert [task.status for task in flow.result_task()] == ["Completed", "Failed", "Not started"]
    assert flow.result_task()[1].errors[-1].exception == kind.__name__
    assert outcome == ["failure"]
    for name in ("tracer.start_task", "tracer.end_task"):
        assert recorder.count(name) == 2
    for name in ("tracer.end_workflow", "metrics.workflow_failed"):
        assert recorder.count(name) == 1
    assert recorder.of("server.update_workflow")[-1].seen["status"] == "Failed"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_interruption_ends_the_run_and_is_raised_again(
    kind: type[BaseException], recorder: Recorder
) -> None:
    """An interruption is never retried, ends the run whatever keep_going says, and is raised."""
    calls: list[str] = []

    @action(retry=3, retry_delay=0)
    def stops() -> None:
        calls.append("stops")
        raise kind("stop")

    flow = DotFlow(config=recorder.config())
    flow.task.add(stops, group_name="a")
    flow.task.add(ok, group_name="a")
    flow.task.add(ok, group_name="b")
    with pytest.raises(kind, match="stop"):
        flow.start(keep_going=True)
    assert calls == ["stops"]
    assert [task.status for task in flow.result_task()] == ["Failed", "Not started", "Not started"]
    assert recorder.names()[-3:] == [
        "tracer.end_workflow",
        "metrics.workflow_failed",
        "server.update_workflow",
    ]


@pytest.mark.parametrize("kind", [AssertionError, SystemExit])
@pytest.mark.parametrize("mode", ["background", "parallel"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_exit_of_a_step_elsewhere_is_a_failure(
    kind: type[BaseException], mode: str, quiet: Config, run: Run
) -> None:
    """In a thread or a worker such a step fails, on_failure is called, and nothing propagates."""

    @action
    def stops() -> None:
        raise kind("stop")

    outcome: list[str] = []
    flow = DotFlow(config=quiet)
    flow.task.add(stops)
    run(
        flow,
        mode,
        on_success=lambda tasks: outcome.append("success"),
        on_failure=lambda tasks: outcome.append("failure"),
    )
    [task] = flow.result_task()
    assert (task.status, task.errors[-1].exception) == ("Failed", kind.__name__)
    assert outcome == ["failure"]


def test_grouper_keeps_the_order(quiet: Config) -> None:
    """grouper(tasks) gives the tasks by group name, both in order."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok, group_name="b")
    flow.task.add(ok, group_name="a")
    flow.task.add(bad, group_name="b")
    first, second, third = flow.task.queue
    groups = grouper(flow.task.queue)
    assert list(groups) == ["b", "a"]
    assert dict(groups) == {"b": [first, third], "a": [second]}
    assert dict(grouper([])) == {}


def test_tasks_that_ran_before_start_fresh(mode: str, quiet: Config) -> None:
    """A second Manager over the same tasks runs them with fresh status, errors and counts."""

    @action(retry=2, retry_delay=0)
    def fails() -> None:
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(fails)
    for _ in range(2):
        manager: Any = Manager(tasks=flow.task.queue, mode=mode, config=quiet)
        if mode == "background":
            manager.thread.join(20)
    [task] = flow.result_task()
    assert (task.status, task.retry_count, len(task.errors)) == ("Failed", 1, 2)
