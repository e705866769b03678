"""Contract section 10: the DotFlow facade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.core.exception import InvalidOption
from dotflow.core.task import TaskBuilder
from dotflow.core.workflow import Manager

if TYPE_CHECKING:
    import logging
    from pathlib import Path

Recorder = Any
Run = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def none() -> None:
    """Return None."""


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


def test_attributes_of_a_flow(quiet: Config) -> None:
    """A flow has a TaskBuilder with its config and id, a fresh UUID4, and the name workflow."""
    flow = DotFlow(config=quiet)
    assert isinstance(flow.task, TaskBuilder)
    assert isinstance(flow.workflow_id, UUID)
    assert flow.workflow_id.version == 4
    assert (flow.name, flow.task.workflow_name) == ("workflow", "workflow")
    assert (flow.task.workflow_id, flow.task.config) == (flow.workflow_id, quiet)
    assert DotFlow(config=quiet).workflow_id != flow.workflow_id


def test_arguments_may_be_positional(quiet: Config) -> None:
    """DotFlow(config, workflow_id, name) is the order."""
    flow = DotFlow(quiet, "etl-daily", "billing")
    assert (flow.task.config, flow.workflow_id, flow.name) == (quiet, "etl-daily", "billing")


def test_without_config() -> None:
    """DotFlow() makes a default Config."""
    assert isinstance(DotFlow().task.config, Config)


@pytest.mark.parametrize(
    "workflow_id",
    ["etl-daily", uuid4(), str(uuid4()), "x" * 200],
    ids=["text", "uuid", "text of a uuid", "long text"],
)
def test_given_workflow_id_is_kept(workflow_id: Any, quiet: Config) -> None:
    """A workflow id that is given stays as it is, type included."""
    flow = DotFlow(config=quiet, workflow_id=workflow_id)
    assert flow.workflow_id == workflow_id
    assert type(flow.workflow_id) is type(workflow_id)
    assert flow.task.workflow_id == workflow_id


def test_workflow_id_from_the_environment(
    quiet: Config, monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    """Without an argument WORKFLOW_ID is the id, and no workflow is created; an argument wins."""
    monkeypatch.setenv("WORKFLOW_ID", "from-environment")
    flow = DotFlow(config=recorder.config())
    assert str(flow.workflow_id) == "from-environment"
    assert recorder.events == []
    assert DotFlow(config=quiet, workflow_id="given").workflow_id == "given"


def test_generated_id_is_announced_once(recorder: Recorder) -> None:
    """server.create_workflow(workflow=<flow>) is called once, at construction."""
    flow = DotFlow(config=recorder.config())
    assert recorder.names() == ["server.create_workflow"]
    assert recorder.events[0].seen["workflow"] is flow
    flow.start()
    assert recorder.count("server.create_workflow") == 1


def test_given_id_is_not_announced(recorder: Recorder) -> None:
    """With a given id no workflow is created."""
    DotFlow(config=recorder.config(), workflow_id=uuid4())
    assert recorder.events == []


@pytest.mark.parametrize("workflow_id", ["etl-daily", "a/b c", "../up", "ä"])
def test_any_text_works_as_workflow_id(
    workflow_id: str, mode: str, quiet: Config, run: Run
) -> None:
    """A flow whose id is no UUID runs in every mode; its contexts carry no workflow id."""
    flow = DotFlow(config=quiet, workflow_id=workflow_id)
    flow.task.add([ok, ok])
    manager = run(flow, mode)
    assert flow.result_storage() == ["ok", "ok"]
    assert manager.workflow_id == workflow_id
    assert flow.result()["workflow_id"] == workflow_id
    assert {context.workflow_id for context in flow.result_context()} == {None}


def test_start_gives_the_manager(quiet: Config) -> None:
    """start() gives a Manager with the flow's id, config and tasks."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok)
    manager = flow.start()
    assert isinstance(manager, Manager)
    assert (manager.workflow_id, manager.config) == (flow.workflow_id, quiet)
    assert manager.tasks == flow.task.queue


def test_start_again_gives_the_first_manager(
    mode: str, run: Run, recorder: Recorder, records: list[logging.LogRecord]
) -> None:
    """A repeated start of an unchanged queue runs nothing, warns, and gives the first Manager."""
    flow = DotFlow(config=recorder.config())
    flow.task.add(ok)
    manager = run(flow, mode)
    recorder.clear()
    warnings = len([record for record in records if record.levelname == "WARNING"])
    assert flow.start(mode=mode) is manager
    assert recorder.events == []
    after = [record for record in records if record.levelname == "WARNING"]
    assert len(after) == warnings + 1


def test_start_after_clear_and_add_runs_again(quiet: Config) -> None:
    """After task.clear() and add, start() runs."""
    flow = DotFlow(config=quiet, workflow_id="etl")
    flow.task.add(ok)
    first = flow.start()
    flow.task.clear()
    flow.task.add(ok)
    second = flow.start()
    assert second is not first
    assert flow.result_storage() == ["ok"]
    assert flow.task.queue[0].status == "Completed"


def test_start_after_another_add_runs_again(quiet: Config) -> None:
    """A queue that has grown is a changed queue: all of it runs, with fresh state."""
    calls: list[str] = []

    @action
    def step() -> None:
        calls.append("step")
        raise ValueError("no")

    flow = DotFlow(config=quiet)
    flow.task.add(step)
    first = flow.start(keep_going=True)
    flow.task.add(ok)
    second = flow.start(keep_going=True)
    assert second is not first
    assert calls == ["step", "step"]
    assert [len(task.errors) for task in flow.task.queue] == [1, 0]
    assert flow.result_storage() == [None, "ok"]


def test_unknown_argument_of_start(quiet: Config) -> None:
    """start(unknown=1) on a fresh queue raises TypeError."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok)
    with pytest.raises(TypeError):
        flow.start(unknown=1)


def test_results_before_and_after_the_start(mode: str, quiet: Config, run: Run) -> None:
    """result_task, result_context, result_storage and result work before and after start()."""
    flow = DotFlow(config=quiet)
    flow.task.add([ok, none])
    tasks = flow.result_task()
    assert [type(task) for task in tasks] == [Task, Task]
    assert flow.result_storage() == [None, None]
    assert [context.storage for context in flow.result_context()] == [None, None]
    assert [task["status"] for task in flow.result()["tasks"]] == ["Not started"] * 2
    run(flow, mode)
    assert flow.result_task() == tasks
    assert flow.result_storage() == ["ok", None]
    assert [type(context) for context in flow.result_context()] == [Context, Context]
    assert [context.storage for context in flow.result_context()] == ["ok", None]
    assert [task["status"] for task in flow.result()["tasks"]] == ["Completed"] * 2


def test_results_of_an_empty_flow(quiet: Config) -> None:
    """Without tasks all results are empty lists."""
    flow = DotFlow(config=quiet)
    assert (flow.result_task(), flow.result_context(), flow.result_storage()) == ([], [], [])
    assert flow.result()["tasks"] == []


def test_schedule_hands_the_workflow_to_the_scheduler(recorder: Recorder) -> None:
    """schedule(**kwargs) calls config.scheduler.start(workflow=<callable>, **kwargs)."""
    flow = DotFlow(config=recorder.config())
    flow.schedule(mode="sequential", resume=False)
    [(workflow, kwargs)] = recorder.scheduled
    assert callable(workflow)
    assert kwargs == {"mode": "sequential", "resume": False}


def test_every_tick_runs_the_queue_anew(recorder: Recorder) -> None:
    """Each call of the scheduled callable runs all tasks with fresh state; start() does not."""
    calls: list[int] = []

    @action
    def step() -> int:
        calls.append(1)
        raise ValueError("no")

    flow = DotFlow(config=recorder.config())
    flow.task.add(step)
    flow.schedule()
    [(workflow, kwargs)] = recorder.scheduled
    for _ in range(3):
        workflow(**kwargs)
    assert len(calls) == 3
    [task] = flow.result_task()
    assert (task.status, len(task.errors), task.retry_count) == ("Failed", 1, 0)
    assert recorder.count("metrics.workflow_failed") == 3
    assert recorder.count("metrics.task_failed") == 3
    flow.start()
    assert len(calls) in (3, 4)
    flow.start()
    assert len(calls) in (3, 4)


def test_scheduled_ticks_resume_what_is_unfinished(recorder: Recorder, tmp_path: Path) -> None:
    """With resume a tick resumes an unfinished run, and starts anew after a completed one."""
    broken = tmp_path / "broken"
    broken.touch()
    calls: list[str] = []

    @action
    def first() -> str:
        calls.append("first")
        return "first"

    @action
    def second(previous_context: Context) -> object:
        calls.append("second")
        if broken.exists():
            raise ValueError("no")
        return previous_context.storage

    flow = DotFlow(config=recorder.config(), workflow_id="etl-daily")
    flow.task.add([first, second])
    flow.schedule(resume=True)
    [(workflow, kwargs)] = recorder.scheduled
    workflow(**kwargs)
    broken.unlink()
    workflow(**kwargs)
    assert calls == ["first", "second", "second"]
    assert flow.result_storage() == ["first", "first"]
    workflow(**kwargs)
    assert calls == ["first", "second", "second", "first", "second"]


@pytest.mark.parametrize("workflow_id", [None, "etl-daily"])
def test_start_with_resume_after_a_failure_runs_again(
    workflow_id: str | None, mode: str, quiet: Config, run: Run, tmp_path: Path
) -> None:
    """start(resume=True) on a flow whose run failed goes on from its checkpoints."""
    broken, tally = tmp_path / "broken", tmp_path / "tally"
    broken.touch()

    @action
    def first() -> str:
        with tally.open("a") as file:
            file.write("1")
        return "first"

    @action
    def second() -> str:
        with tally.open("a") as file:
            file.write("2")
        if broken.exists():
            raise ValueError("no")
        return "second"

    flow = DotFlow(config=quiet, workflow_id=workflow_id)
    flow.task.add(first, group_name="a")
    flow.task.add(second, group_name="a")
    failed = run(flow, mode)
    broken.unlink()
    resumed = run(flow, mode, resume=True)
    assert resumed is not failed
    assert sorted(tally.read_text()) == ["1", "2", "2"]
    assert flow.result_storage() == ["first", "second"]
    assert [task.status for task in flow.result_task()] == ["Completed", "Completed"]
    assert [len(task.errors) for task in flow.result_task()] == [0, 0]


def test_config_that_is_none() -> None:
    """A config that is no Config, as a function that was not called, is refused with its value."""
    with pytest.raises(InvalidOption, match=r"^config=<function .*> is not valid: give a Config"):
        DotFlow(config=lambda: None)  # type: ignore[arg-type]
