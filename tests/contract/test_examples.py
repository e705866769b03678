"""Contract section 19: small facts by example, and its table of outcomes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.core.exception import (
    ExecutionModeNotExist,
    ImportModuleError,
    InvalidOnInputChange,
    MissingActionDecorator,
    NotCallableObject,
)

if TYPE_CHECKING:
    import logging

Run = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


@action
def v() -> str:
    """Return a value."""
    return "v"


@action
def p(previous_context: Context) -> Any:
    """Return what came before."""
    return previous_context.storage


def _statuses(flow: DotFlow) -> list[str]:
    return [task.status for task in flow.result_task()]


def test_two_steps(quiet: Config, records: list[logging.LogRecord]) -> None:
    """A list of steps is run in order; start() again gives the first Manager with a warning."""
    calls: list[str] = []

    @action
    def one(initial_context: Context) -> dict[str, Any]:
        calls.append("one")
        return {"n": initial_context.storage}

    @action
    def two(previous_context: Context, initial_context: Context) -> Any:
        calls.append("two")
        return previous_context.storage["n"] + initial_context.storage

    flow = DotFlow(config=quiet)
    flow.task.add([one, two], initial_context=5)
    manager = flow.start()
    assert flow.result_storage() == [{"n": 5}, 10]
    assert records == []
    assert flow.start() is manager
    assert [record.levelname for record in records] == ["WARNING"]
    assert calls == ["one", "two"]


def test_class_step(quiet: Config) -> None:
    """The second result is [3, 6]; source order; the inner contexts have 26-character ids."""

    class Pipe:
        def __init__(self) -> None:
            self.k = 3

        @action
        def b_first(self) -> int:
            return self.k

        @action
        def a_second(self, previous_context: Context) -> Any:
            return previous_context.storage * 2

        def helper(self) -> None: ...

    @action
    def build() -> Pipe:
        return Pipe()

    @action
    def after(previous_context: Context) -> list[Any]:
        return [context.storage for context in previous_context.storage]

    flow = DotFlow(config=quiet)
    flow.task.add([build, after])
    flow.start()
    first, second = flow.result_storage()
    assert second == [3, 6]
    assert [len(context.task_id) for context in first] == [26, 26]


def test_flaky_step(quiet: Config) -> None:
    """Status, retry count and errors of a step that succeeds at the third attempt."""
    calls: list[int] = []

    @action(retry=3, retry_delay=0)
    def flaky() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise KeyError("k")
        return "ok"

    flow = DotFlow(config=quiet)
    flow.task.add(flaky)
    flow.start()
    [task] = flow.result_task()
    assert (task.status, task.retry_count) == ("Completed", 2)
    assert [(e.attempt, e.exception, e.message) for e in task.errors] == [
        (1, "KeyError", "'k'"),
        (2, "KeyError", "'k'"),
    ]
    result = flow.result()["tasks"][0]
    assert result["current_context"] == '"ok"'
    assert result["error"]["exception"] == "KeyError"


def test_rows(quiet: Config) -> None:
    """A list is given as a dictionary in results."""

    @action
    def rows() -> list[Any]:
        return [1, {"a": 2}]

    flow = DotFlow(config=quiet)
    flow.task.add(rows)
    flow.start()
    assert flow.result()["tasks"][0]["current_context"] == {"raw:0": "1", "raw:1": '{"a": 2}'}


def test_nested_context() -> None:
    """A Context in a Context is unwrapped, with its own id."""
    outer = Context(storage=Context(storage=1, task_id="x"), task_id="y")
    assert (outer.storage, outer.task_id) == (1, "x")


def test_async_echo(quiet: Config) -> None:
    """Async steps mix with sync ones."""

    @action
    async def echo(previous_context: Context) -> Any:
        return previous_context.storage

    flow = DotFlow(config=quiet)
    flow.task.add([v, echo, p])
    flow.start()
    assert flow.result_storage() == ["v", "v", "v"]


@pytest.mark.parametrize(
    ("keep_going", "expected"),
    [
        (False, ["Failed", "Not started", "Completed", "Completed"]),
        (True, ["Failed", "Completed", "Completed", "Completed"]),
    ],
)
def test_groups_with_a_failure(
    keep_going: bool, expected: list[str], mode: str, quiet: Config, run: Run
) -> None:
    """Groups a: [bad, ok], b: [ok, ok], without and with keep_going, in every mode."""
    flow = DotFlow(config=quiet)
    flow.task.add([bad, ok], group_name="a")
    flow.task.add([ok, ok], group_name="b")
    outcome: list[str] = []
    run(
        flow,
        mode,
        keep_going=keep_going,
        on_success=lambda tasks: outcome.append("success"),
        on_failure=lambda tasks: outcome.append("failure"),
    )
    assert _statuses(flow) == expected
    assert outcome == ["failure"]


def test_parallel_with_a_failure(quiet: Config, run: Run) -> None:
    """[bad, ok] in parallel: Failed, Completed; on_failure."""
    flow = DotFlow(config=quiet)
    flow.task.add([bad, ok])
    outcome: list[str] = []
    run(
        flow,
        "parallel",
        on_success=lambda tasks: outcome.append("success"),
        on_failure=lambda tasks: outcome.append("failure"),
    )
    assert _statuses(flow) == ["Failed", "Completed"]
    assert outcome == ["failure"]


def test_two_groups_in_a_row(quiet: Config) -> None:
    """Two groups of one 0.1 s task each run one after the other with start(): for 0.2 s."""

    @action
    def slow() -> None:
        time.sleep(0.1)

    flow = DotFlow(config=quiet)
    flow.task.add(slow, group_name="a")
    flow.task.add(slow, group_name="b")
    begun = time.monotonic()
    flow.start()
    assert time.monotonic() - begun >= 0.2
    first, second = flow.result_task()
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


def test_previous_contexts_of_two_groups(mode: str, quiet: Config, run: Run) -> None:
    """Group a: [v, p], group b: [p]: p in a gets v's value, p in b gets None."""
    flow = DotFlow(config=quiet)
    flow.task.add([v, p], group_name="a")
    flow.task.add(p, group_name="b")
    run(flow, mode)
    assert flow.result_storage() == ["v", "v", None]


def test_empty_queue(quiet: Config) -> None:
    """start() with an empty queue: on_success(tasks=[]) and manager.tasks == []."""
    given: list[Any] = []
    manager = DotFlow(config=quiet).start(on_success=lambda **kwargs: given.append(kwargs))
    assert (given, manager.tasks) == ([{"tasks": []}], [])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"step": len}, MissingActionDecorator),
        ({"step": "json.dumps"}, MissingActionDecorator),
        ({"step": ok, "callback": "x"}, ImportModuleError),
        ({"step": "nope.x"}, ImportModuleError),
        ({"step": ok, "callback": None}, NotCallableObject),
    ],
)
def test_refused_tasks(arguments: dict[str, Any], error: type[Exception], quiet: Config) -> None:
    """What add() refuses, and with which error."""
    with pytest.raises(error):
        DotFlow(config=quiet).task.add(**arguments)


def test_refused_config() -> None:
    """Config(storage="x") raises NotCallableObject."""
    wrong: Any = "x"
    with pytest.raises(NotCallableObject):
        Config(storage=wrong)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": "nope"}, ExecutionModeNotExist),
        ({"on_input_change": "nope"}, InvalidOnInputChange),
        ({"unknown": 1}, TypeError),
    ],
)
def test_refused_starts(arguments: dict[str, Any], error: type[Exception], quiet: Config) -> None:
    """What start() refuses on a fresh queue, and with which error."""
    flow = DotFlow(config=quiet)
    flow.task.add(ok)
    with pytest.raises(error):
        flow.start(**arguments)
    assert _statuses(flow) == ["Not started"]


def test_timeout_shorter_than_the_step(quiet: Config) -> None:
    """A step that sleeps far over its timeout is Failed when the timeout is over."""

    @action(timeout=0.2)
    def sleeper() -> None:
        time.sleep(30)

    flow = DotFlow(config=quiet)
    flow.task.add(sleeper)
    begun = time.monotonic()
    flow.start()
    assert 0.19 <= time.monotonic() - begun < 20
    [task] = flow.result_task()
    assert (task.status, task.errors[-1].exception) == ("Failed", "TimeoutError")


def test_default_program(script: Any) -> None:
    """The first program of the documentation runs with default providers, and logs to stderr."""
    done = script("""
        from dotflow import DotFlow, action

        def my_callback(*args, task, **kwargs):
            print("callback", task.task_id == flow.task.queue[0].task_id)

        @action
        def my_task():
            return "task"

        flow = DotFlow()
        flow.task.add(step=my_task, callback=my_callback)
        flow.start()
        print(flow.result_storage())
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["callback True", "['task']"]
    assert done.stderr.count("Completed") == 1
