"""Contract sections 7 and 8: Task and TaskBuilder."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.core.exception import (
    ImportModuleError,
    MissingActionDecorator,
    NotCallableObject,
    TaskError,
)
from dotflow.core.task import TaskBuilder

if TYPE_CHECKING:
    from pathlib import Path

Recorder = Any
Run = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action(retry=1)
def configured() -> str:
    """Return a value."""
    return "configured"


@action
async def later() -> str:
    """Return a value."""
    return "later"


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a package with steps, a callback and a plain function."""
    package = tmp_path / "shop_steps"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "daily.py").write_text(
        "from dotflow import action\n"
        "@action\n"
        "def step(): return 'imported'\n"
        "@action(retry=2)\n"
        "def other(): return 'other'\n"
        "called = []\n"
        "def told(task): called.append(task)\n"
        "number = 5\n"
    )
    (package / "broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "shop_steps"


class TestTask:
    """One task."""

    def test_attributes_of_a_new_task(self, quiet: Config) -> None:
        """A new task has its arguments, empty contexts, and no times."""
        workflow_id = uuid4()
        task = Task(task_id="t", step=ok, workflow_id=workflow_id, config=quiet, group_name="g")
        assert (task.task_id, task.workflow_id, task.step, task.group_name) == (
            "t",
            workflow_id,
            ok,
            "g",
        )
        assert task.config is quiet
        assert (task.status, task.retry_count, task.errors) == ("Not started", 0, [])
        assert (task.started_at, task.finished_at, task.duration) == (None, None, None)
        assert isinstance(task.created_at, datetime)
        assert task.created_at.tzinfo is None
        assert callable(task.callback)

    def test_default_group(self) -> None:
        """The group is "default" unless given."""
        assert Task(task_id="t", step=ok).group_name == "default"

    def test_contexts_are_empty_contexts_when_unset(self) -> None:
        """The three contexts read as a Context with storage None."""
        task = Task(task_id="t", step=ok)
        for context in (task.initial_context, task.previous_context, task.current_context):
            assert isinstance(context, Context)
            assert context.storage is None

    @pytest.mark.parametrize("name", ["initial_context", "previous_context", "current_context"])
    def test_setting_a_context_wraps_the_value(self, name: str) -> None:
        """Any value set as a context reads as a Context that holds it; a Context stays."""
        task = Task(task_id="t", step=ok)
        setattr(task, name, {"a": 1})
        assert isinstance(getattr(task, name), Context)
        assert getattr(task, name).storage == {"a": 1}
        setattr(task, name, Context(storage=2, task_id="x"))
        assert (getattr(task, name).storage, getattr(task, name).task_id) == (2, "x")

    def test_initial_context_argument_is_wrapped(self) -> None:
        """initial_context= is wrapped too, and a Context given is unwrapped once only."""
        assert Task(task_id="t", step=ok, initial_context=5).initial_context.storage == 5
        given = Task(task_id="t", step=ok, initial_context=Context(storage=6))
        assert given.initial_context.storage == 6

    def test_errors_setter(self) -> None:
        """A list replaces the errors; a TaskError or an exception is appended as TaskError."""
        task = Task(task_id="t", step=ok)
        first = TaskError(error=ValueError("1"), attempt=1)
        task.errors = [first]
        second: Any = TaskError(error=ValueError("2"))
        task.errors = second
        third: Any = KeyError("3")
        task.errors = third
        assert task.errors[:2] == [first, second]
        assert isinstance(task.errors[2], TaskError)
        assert [(error.exception, error.message) for error in task.errors] == [
            ("ValueError", "1"),
            ("ValueError", "2"),
            ("KeyError", "'3'"),
        ]
        task.errors = []
        assert task.errors == []

    def test_error_is_deprecated(self) -> None:
        """`error` warns on reading and writing: it is the last TaskError, or an empty one."""
        task = Task(task_id="t", step=ok)
        with pytest.warns(DeprecationWarning, match="error"):
            empty = task.error
        assert isinstance(empty, TaskError)
        assert (empty.attempt, empty.exception, empty.message) == (None, "", "")
        failure: Any = ValueError("v")
        with pytest.warns(DeprecationWarning, match="error"):
            task.error = failure
        with pytest.warns(DeprecationWarning, match="error"):
            last = task.error
        assert (last.exception, last.message) == ("ValueError", "v")

    def test_setters_have_no_side_effects(self, recorder: Recorder) -> None:
        """Making a task and setting status, contexts and errors calls no provider."""
        task = Task(task_id="t", step=ok, initial_context=1, config=recorder.config())
        task.status = "Completed"
        task.status = "Failed"
        task.status = "Retry"
        task.current_context = {"a": 1}
        task.previous_context = 1
        failure: Any = ValueError("v")
        task.errors = failure
        assert recorder.events == []
        assert recorder.stored == {}
        assert task.status == "Retry"

    def test_step_that_is_no_action(self) -> None:
        """A step that `action` did not make raises MissingActionDecorator."""
        step: Any = len
        with pytest.raises(MissingActionDecorator):
            Task(task_id="t", step=step)

    @pytest.mark.parametrize("callback", [None, 5, [1]])
    def test_callback_that_is_not_callable(self, callback: Any) -> None:
        """A callback that cannot be called raises NotCallableObject with its text."""
        with pytest.raises(NotCallableObject) as caught:
            Task(task_id="t", step=ok, callback=callback)
        assert str(callback) in str(caught.value)

    @pytest.mark.parametrize("text", ["{0}.daily:step", "{0}.daily.step"])
    def test_import_string_as_step(self, text: str, importable: str) -> None:
        """A step may be named as pkg.mod:attr or pkg.mod.attr."""
        task = Task(task_id="t", step=text.format(importable))
        assert task.step(task=task).storage == "imported"
        assert task.name == "step"

    @pytest.mark.parametrize("text", ["{0}.daily:told", "{0}.daily.told"])
    def test_import_string_as_callback(self, text: str, importable: str) -> None:
        """A callback may be named so too."""
        task = Task(task_id="t", step=ok, callback=text.format(importable))
        assert callable(task.callback)
        assert task.callback.__name__ == "told"

    def test_import_string_of_a_callback_that_is_not_callable(self, importable: str) -> None:
        """A callback string that names no callable raises NotCallableObject."""
        with pytest.raises(NotCallableObject):
            Task(task_id="t", step=ok, callback=f"{importable}.daily:number")

    @pytest.mark.parametrize(
        "text",
        [
            "nope.x",
            "nope:x",
            "nope",
            "{0}.daily:nothing",
            "{0}.daily.nothing",
            "{0}.nothing:step",
            "{0}.broken:step",
            "",
            ":",
            "{0}.daily:",
        ],
    )
    def test_import_string_that_leads_nowhere(self, text: str, importable: str) -> None:
        """A string that cannot be imported raises ImportModuleError, which contains it."""
        given = text.format(importable)
        with pytest.raises(ImportModuleError) as caught:
            Task(task_id="t", step=given)
        assert given in str(caught.value)
        with pytest.raises(ImportModuleError):
            Task(task_id="t", step=ok, callback=given)

    def test_import_string_of_a_plain_function(self, importable: str) -> None:
        """A step string that names a function without decorator: MissingActionDecorator."""
        with pytest.raises(MissingActionDecorator):
            Task(task_id="t", step=f"{importable}.daily:told")

    def test_without_config_there_is_one_default(self) -> None:
        """config=None gives a Config, the same at each access."""
        task = Task(task_id="t", step=ok)
        assert isinstance(task.config, Config)
        assert task.config is task.config

    def test_tasks_without_config_share_their_results(self) -> None:
        """A Manager over tasks without a config hands results on: the default is one."""
        from dotflow.core.workflow import Manager

        @action
        def second(previous_context: Context) -> object:
            return previous_context.storage

        workflow_id = uuid4()
        tasks = [
            Task(task_id="1", step=ok, workflow_id=workflow_id),
            Task(task_id="2", step=second, workflow_id=workflow_id),
        ]
        Manager(tasks=tasks, workflow_id=workflow_id)
        assert [task.current_context.storage for task in tasks] == ["ok", "ok"]

    def test_names(self) -> None:
        """A task's name is that of its function or class unless given."""

        @action
        class Pipe: ...

        steps: list[Any] = [ok, configured, later, Pipe]
        tasks = [Task(task_id="t", step=step) for step in steps]
        assert [task.name for task in tasks] == ["ok", "configured", "later", "Pipe"]


class TestTaskBuilder:
    """The queue of a flow."""

    def test_attributes(self, quiet: Config) -> None:
        """A builder carries its config, id and name, and an empty queue."""
        workflow_id = uuid4()
        builder = TaskBuilder(config=quiet, workflow_id=workflow_id, workflow_name="billing")
        assert (builder.config, builder.workflow_id, builder.workflow_name, builder.queue) == (
            quiet,
            workflow_id,
            "billing",
            [],
        )

    def test_add_gives_the_builder(self, quiet: Config) -> None:
        """add(...) returns the builder, so that calls can be chained."""
        flow = DotFlow(config=quiet)
        assert flow.task.add(ok) is flow.task
        assert flow.task.add(step=ok).add(ok).count() == 3

    def test_add_sets_what_it_was_given(self, quiet: Config) -> None:
        """Step, callback, initial context and group are those given."""

        def told(task: Task) -> None: ...

        flow = DotFlow(config=quiet)
        flow.task.add(ok, told, 5, "g")
        flow.task.add(step=ok, callback=told, initial_context=6, group_name="h", name="again")
        first, second = flow.task.queue
        assert (first.step, first.callback, first.initial_context.storage, first.group_name) == (
            ok,
            told,
            5,
            "g",
        )
        assert (second.initial_context.storage, second.group_name, second.name) == (6, "h", "again")
        assert {task.workflow_id for task in flow.task.queue} == {flow.workflow_id}
        assert isinstance(first, Task)

    def test_lists_may_be_nested(self, quiet: Config, importable: str) -> None:
        """A list of steps, nested as it may be, adds each with the same other arguments."""
        flow = DotFlow(config=quiet)
        flow.task.add(
            [ok, [configured, [later, f"{importable}.daily:other"]]],
            initial_context=1,
            group_name="g",
        )
        assert [task.name for task in flow.task.queue] == ["ok", "configured", "later", "other"]
        assert {task.group_name for task in flow.task.queue} == {"g"}
        assert [task.initial_context.storage for task in flow.task.queue] == [1, 1, 1, 1]
        flow.start()
        assert flow.result_storage() == ["ok", "configured", "later", "other"]

    def test_empty_list_adds_nothing(self, quiet: Config) -> None:
        """An empty list is allowed, and adds nothing."""
        flow = DotFlow(config=quiet)
        assert flow.task.add([]).count() == 0

    def test_ids_are_unique_and_26_characters_long(self, quiet: Config) -> None:
        """Each task gets an id of its own, a text of 26 characters."""
        flow = DotFlow(config=quiet)
        flow.task.add([ok] * 200)
        ids = [task.task_id for task in flow.task.queue]
        assert len(set(ids)) == 200
        assert {len(task_id) for task_id in ids} == {26}
        assert {type(task_id) for task_id in ids} == {str}

    def test_count_clear_reverse(self, quiet: Config) -> None:
        """count, clear and reverse act on the queue."""
        flow = DotFlow(config=quiet)
        flow.task.add([ok, configured, later])
        flow.task.reverse()
        assert [task.name for task in flow.task.queue] == ["later", "configured", "ok"]
        assert flow.task.count() == 3
        flow.task.clear()
        assert (flow.task.count(), list(flow.task.queue)) == (0, [])

    def test_reversed_queue_runs_reversed(self, quiet: Config) -> None:
        """A reversed queue is run in its new order."""
        flow = DotFlow(config=quiet)
        flow.task.add([ok, configured])
        flow.task.reverse()
        flow.start()
        assert flow.result_storage() == ["configured", "ok"]

    def test_adding_announces_the_task(self, recorder: Recorder) -> None:
        """add(...) announces each item of a list: one notify, one log.info, one create_task."""
        flow = DotFlow(config=recorder.config(), workflow_id=uuid4())
        flow.task.add([ok, configured])
        assert [(event.name, event.task, event.status) for event in recorder.events] == [
            ("notify", "ok", "Not started"),
            ("log.info", "ok", "Not started"),
            ("server.create_task", "ok", "Not started"),
            ("notify", "configured", "Not started"),
            ("log.info", "configured", "Not started"),
            ("server.create_task", "configured", "Not started"),
        ]

    def test_a_step_that_is_refused_announces_nothing(self, recorder: Recorder) -> None:
        """A refused step is neither queued nor announced."""
        flow = DotFlow(config=recorder.config(), workflow_id=uuid4())
        step: Any = len
        with pytest.raises(MissingActionDecorator):
            flow.task.add(step)
        assert recorder.events == []


def test_a_task_is_shown_by_vars(quiet: Config) -> None:
    """`vars(task)` and `task.__dict__` are the attributes as they are; a copy."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok, initial_context=5)
    flow.start()
    [task] = flow.result_task()
    shown = vars(task)
    assert shown.keys() == task.__dict__.keys()
    assert sorted(shown) == [
        "callback",
        "config",
        "created_at",
        "current_context",
        "duration",
        "errors",
        "finished_at",
        "group_name",
        "initial_context",
        "name",
        "previous_context",
        "retry_count",
        "started_at",
        "status",
        "step",
        "task_id",
        "workflow_id",
    ]
    assert (shown["status"], shown["name"], shown["current_context"].storage) == (
        "Completed",
        "ok",
        "ok",
    )
    shown["status"] = "Failed"
    assert task.status == "Completed"
    assert copy.copy(task).status == "Completed"


def test_a_tuple_of_steps(quiet: Config) -> None:
    """A tuple is a list of steps, nested as well."""
    flow = DotFlow(config=quiet)
    flow.task.add((ok, [ok, (ok,)]))
    assert [task.name for task in flow.task.queue] == ["ok", "ok", "ok"]
