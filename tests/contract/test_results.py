"""Contract section 9: the dictionaries that results are given as."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from dotflow import Config, Context, DotFlow, Task, action

TASK_FIELDS = {
    "task_id",
    "id",
    "workflow_id",
    "status",
    "duration",
    "initial_context",
    "current_context",
    "previous_context",
    "group_name",
    "retry_count",
    "created_at",
    "started_at",
    "finished_at",
    "errors",
    "error",
}
EXCEEDED = {"message": "Context size exceeded"}
Run = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


def _task_with(storage: object, config: Config) -> Task:
    task = Task(task_id="t", step=ok, workflow_id=uuid4(), config=config)
    task.current_context = storage
    return task


def test_result_of_a_flow(quiet: Config) -> None:
    """A flow's result has exactly these keys, ids as text, and one entry a task."""
    flow = DotFlow(config=quiet, name="billing")
    flow.task.add([ok, bad])
    flow.start()
    result = flow.result()
    assert set(result) == {"id", "workflow_id", "name", "workflow_name", "tasks"}
    assert (result["id"], result["workflow_id"]) == (str(flow.workflow_id), str(flow.workflow_id))
    assert (result["name"], result["workflow_name"]) == ("billing", "billing")
    assert [task["status"] for task in result["tasks"]] == ["Completed", "Failed"]
    assert flow.task.result() == result


def test_result_of_a_task(quiet: Config) -> None:
    """A task's result has exactly these keys, and equal ids."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok, initial_context={"a": 1}, group_name="g", name="first")
    flow.start()
    [task] = flow.task.queue
    result = task.result()
    assert set(result) == TASK_FIELDS | {"name"}
    assert result == flow.result()["tasks"][0]
    assert (result["task_id"], result["id"]) == (task.task_id, task.task_id)
    assert result["workflow_id"] == str(flow.workflow_id)
    assert (result["status"], result["group_name"], result["retry_count"], result["name"]) == (
        "Completed",
        "g",
        0,
        "first",
    )
    assert (result["initial_context"], result["current_context"], result["previous_context"]) == (
        '{"a": 1}',
        '"ok"',
        None,
    )
    assert (result["errors"], result["error"]) == ([], None)
    assert isinstance(result["duration"], float)
    for name in ("created_at", "started_at", "finished_at"):
        assert datetime.fromisoformat(result[name]) == getattr(task, name)


def test_result_is_json(mode: str, quiet: Config, run: Run) -> None:
    """The result of a flow can be written as JSON after any mode."""
    flow = DotFlow(config=quiet)
    flow.task.add([ok, bad], initial_context={1, 2})
    run(flow, mode)
    text = json.dumps(flow.result())
    assert [task["status"] for task in json.loads(text)["tasks"]] == ["Completed", "Failed"]


def test_result_before_the_start(quiet: Config) -> None:
    """A task that did not run has no times, no context and no error."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok)
    [result] = flow.result()["tasks"]
    assert (result["status"], result["started_at"], result["finished_at"], result["duration"]) == (
        "Not started",
        None,
        None,
        None,
    )
    assert (result["initial_context"], result["current_context"], result["error"]) == (
        None,
        None,
        None,
    )


def test_errors_in_a_result(quiet: Config) -> None:
    """Errors are dictionaries of four keys; error is the last of them."""

    @action(retry=2, retry_delay=0)
    def twice() -> None:
        raise KeyError("k")

    flow = DotFlow(config=quiet)
    flow.task.add(twice)
    flow.start()
    [result] = flow.result()["tasks"]
    assert [set(error) for error in result["errors"]] == [
        {"attempt", "exception", "traceback", "message"}
    ] * 2
    assert [error["attempt"] for error in result["errors"]] == [1, None]
    assert (result["error"]["exception"], result["error"]["message"]) == ("KeyError", "'k'")
    assert result["error"] == result["errors"][-1]
    assert "Traceback" in result["error"]["traceback"]


class _Silent:
    def __str__(self) -> str:
        return "silent"


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (None, None),
        ("ok", '"ok"'),
        (0, "0"),
        (False, "false"),
        ("", '""'),
        ({"a": [1, 2]}, '{"a": [1, 2]}'),
        ({}, "{}"),
        (_Silent(), "silent"),
        ({1}, "{1}"),
        ([], {}),
        ((), {}),
        ([1, {"a": 2}], {"raw:0": "1", "raw:1": '{"a": 2}'}),
        (("x", None), {"raw:0": '"x"', "raw:1": "null"}),
        ([_Silent()], {"raw:0": "silent"}),
        ([Context(storage=1, task_id="x")], {"x": "1"}),
        ([Context(storage=1, task_id=None)], {"ctx:0": "1"}),
        (
            [5, Context(storage={"a": 1}, task_id="x"), Context(storage="s", task_id=None)],
            {"raw:0": "5", "x": '{"a": 1}', "ctx:2": '"s"'},
        ),
        (
            [Context(storage=[1, Context(storage=2, task_id="y")], task_id="x")],
            {"x": {"raw:0": "1", "y": "2"}},
        ),
    ],
)
def test_form_of_a_context(storage: object, expected: object, quiet: Config) -> None:
    """A context is None, JSON text, str() where JSON refuses, or a dictionary for lists."""
    assert _task_with(storage, quiet).result()["current_context"] == expected


def test_schema_is_a_record_with_the_same_fields(quiet: Config) -> None:
    """schema() gives a typed record; model_dump and model_dump_json tell the same."""
    flow = DotFlow(config=quiet, name="billing")
    flow.task.add(bad, initial_context=[1])
    flow.start()
    [task] = flow.task.queue
    record, result = task.schema(), task.result()
    dumped = record.model_dump()
    assert set(dumped) >= TASK_FIELDS
    assert record.status == "Failed"
    assert str(record.task_id) == task.task_id
    assert record.errors[0].exception == "ValueError"
    written = json.loads(record.model_dump_json())
    for name in TASK_FIELDS:
        assert written[name] == result[name], name


def test_schema_of_a_flow(quiet: Config) -> None:
    """TaskBuilder.schema() gives the record of the whole."""
    flow = DotFlow(config=quiet, name="billing")
    flow.task.add(ok)
    record = flow.task.schema()
    assert record.workflow_name == "billing"
    assert [task.status for task in record.tasks] == ["Not started"]
    written = json.loads(record.model_dump_json())
    assert written["workflow_id"] == str(flow.workflow_id)
    assert record.model_dump()["workflow_name"] == "billing"


def _sized(config: Config, *, initial: int, current: int, message: int = 0) -> Task:
    task = Task(
        task_id="t", step=ok, workflow_id=uuid4(), initial_context="i" * initial, config=config
    )
    task.current_context = "c" * current
    if message:
        task.errors = ValueError("e" * message)
    return task


def test_max_that_is_not_reached_changes_nothing(quiet: Config) -> None:
    """A result within the limit is the same as without one."""
    task = _sized(quiet, initial=100, current=100)
    assert task.result(max=10_000) == task.result()


def test_max_replaces_the_largest_context_first(quiet: Config) -> None:
    """Over the limit the largest context is replaced, and the smaller one kept if that does."""
    task = _sized(quiet, initial=100, current=5000)
    result = task.result(max=2000)
    assert result["current_context"] == EXCEEDED
    assert result["initial_context"] == json.dumps("i" * 100)
    assert len(json.dumps(result)) <= 2000
    other = _sized(quiet, initial=5000, current=100).result(max=2000)
    assert (other["initial_context"], other["current_context"]) == (
        EXCEEDED,
        json.dumps("c" * 100),
    )


def test_max_replaces_further_contexts(quiet: Config) -> None:
    """Where one is not enough, the next largest is replaced too."""
    result = _sized(quiet, initial=4000, current=5000).result(max=2000)
    assert (result["initial_context"], result["current_context"]) == (EXCEEDED, EXCEEDED)


def test_max_then_drops_the_errors(quiet: Config) -> None:
    """Contexts replaced and still over: errors become [] and error None."""
    result = _sized(quiet, initial=3000, current=5000, message=5000).result(max=2000)
    assert (result["errors"], result["error"]) == ([], None)
    assert (result["initial_context"], result["current_context"]) == (EXCEEDED, EXCEEDED)


def test_max_at_last_drops_the_contexts(quiet: Config) -> None:
    """Still over: the contexts become None."""
    result = _sized(quiet, initial=3000, current=5000, message=5000).result(max=10)
    assert (result["initial_context"], result["current_context"], result["previous_context"]) == (
        None,
        None,
        None,
    )
    assert (result["errors"], result["error"]) == ([], None)
    assert result["status"] == "Not started"


def test_max_of_zero_keeps_the_messages(quiet: Config) -> None:
    """With max=0 the replaced contexts stay."""
    result = _sized(quiet, initial=3000, current=5000, message=5).result(max=0)
    assert (result["initial_context"], result["current_context"]) == (EXCEEDED, EXCEEDED)
    assert (result["errors"], result["error"]) == ([], None)


def test_max_does_not_change_the_task(quiet: Config) -> None:
    """Limiting a result leaves the task as it was."""
    task = _sized(quiet, initial=100, current=5000, message=50)
    task.result(max=10)
    task.schema(max=10)
    assert task.current_context.storage == "c" * 5000
    assert len(task.errors) == 1
    assert task.result()["current_context"] == json.dumps("c" * 5000)
