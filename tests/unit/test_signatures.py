"""What a callable takes, whatever kind of callable it is."""

from __future__ import annotations

import subprocess
import sys
from functools import partial, wraps
from typing import Any, NamedTuple
from unittest.mock import Mock, patch

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.core.action import check_callback
from dotflow.core.arguments import Parameters, own_parameters, parameters_of
from dotflow.core.exception import NotCallableObject, ParameterNotPassed
from dotflow.core.modes import MODE_OPTIONS, RUN_OPTIONS
from dotflow.core.options import ModeOptions, RunOptions, Slots


def plain(a: int, b: int = 1, *args: int, c: int, d: int = 2, **kwargs: int) -> None:
    """Take all kinds of parameters."""


def by_position(a: int, /, b: int = 1) -> None:
    """Take one by position only."""


class Owner:
    def __init__(self, a: int, b: int = 1) -> None: ...

    def method(self, a: int = 1) -> None: ...

    @classmethod
    def of(cls, a: int) -> None: ...

    def __call__(self, a: int) -> None: ...


class Empty:
    pass


class Row(NamedTuple):
    a: int
    b: int = 1


def supplies(func: Any) -> Any:
    """Decorate as a library does that passes an argument itself."""

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, session="open", **kwargs)

    return wrapper


@supplies
def with_session(session: str, previous_context: Context) -> str:
    """Need what the decorator supplies."""
    return f"{session} {previous_context.storage}"


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (plain, Parameters(("a", "b", "c", "d"), ("a", "c"), any_keyword=True)),
        (by_position, Parameters(("b",), ("a",), any_keyword=False)),
        (lambda: None, Parameters((), (), any_keyword=False)),
        (Owner, Parameters(("a", "b"), ("a",), any_keyword=False)),
        (Owner(1).method, Parameters(("a",), (), any_keyword=False)),
        (Owner.method, Parameters(("self", "a"), ("self",), any_keyword=False)),
        (Owner.of, Parameters(("a",), ("a",), any_keyword=False)),
        (Owner(1), Parameters(("a",), ("a",), any_keyword=False)),
        (Empty, Parameters((), (), any_keyword=False)),
        (Row, Parameters(("a", "b"), ("a",), any_keyword=False)),
        (partial(plain, 1, c=3), Parameters(("b", "c", "d"), (), any_keyword=True)),
        (with_session, Parameters((), (), any_keyword=True)),
        (Mock(), Parameters((), (), any_keyword=True)),
        (len, Parameters((), ("obj",), any_keyword=False)),
    ],
)
def test_own_parameters(func: Any, expected: Parameters) -> None:
    """They are those of a call of exactly this callable."""
    assert own_parameters(func) == expected


def test_a_callable_that_tells_nothing() -> None:
    """Where the parameters cannot be told nothing is known, and nothing is refused."""
    assert own_parameters(dict.fromkeys) is not None
    assert own_parameters(type) is None
    check_callback(type, ["tasks"], "on_success=type")


def test_parameters_follow_what_is_wrapped() -> None:
    """Contexts reach a function through a wrapper made with `functools.wraps`."""
    assert parameters_of(with_session) == ("session", "previous_context")
    flow = DotFlow()
    flow.task.add([action(lambda: 7), action(with_session)])
    flow.start()
    assert flow.result_storage() == [7, "open 7"]


def test_steps_that_need_nothing_else_are_taken() -> None:
    """A step whose further parameters have defaults, or are supplied, is no mistake."""

    def defaults(initial_context: Context, scale: float = 1.0, *rest: int, **more: int) -> float:
        return scale

    class Bound:
        def run(self, previous_context: Context) -> int:
            return 1

    class Steps:
        @action
        def first(self) -> int:
            return 1

        @action
        def second() -> int:  # type: ignore[misc]
            return 2

        @staticmethod
        @action
        def third(previous_context: Context) -> int:
            return 3

    @patch("os.sep", new_callable=Mock)
    def patched(sep: Mock) -> int:
        return 4

    steps = [defaults, Bound().run, Steps, patched, partial(plain, 1, c=2)]
    flow = DotFlow()
    flow.task.add([action(step) for step in steps])
    flow.start()
    assert [task.status for task in flow.result_task()] == ["Completed"] * 5


def test_a_method_that_needs_more() -> None:
    """A class is refused for the parameter of one of its methods, by both names."""

    @action
    class Steps:
        @action
        def first(self, *, table: str) -> str:
            return table

    with pytest.raises(ParameterNotPassed, match=r"^The step 'Steps\.first' needs .* 'table'"):
        DotFlow().task.add(Steps)


@pytest.mark.parametrize(
    "callback",
    [
        lambda tasks: None,
        lambda **kwargs: None,
        lambda *args, tasks=(), **kwargs: None,
        Mock(),
        partial(lambda other, tasks: None, 1),
    ],
)
def test_callbacks_that_can_be_called(callback: Any) -> None:
    """Whatever takes the keyword alone is accepted."""
    check_callback(callback, ["tasks"], "")


@pytest.mark.parametrize("callback", [lambda: None, lambda tasks, /: None, Owner, print, 3, None])
def test_callbacks_that_cannot(callback: Any) -> None:
    """Whatever would raise at its call is refused before."""
    with pytest.raises(NotCallableObject):
        check_callback(callback, ["tasks"], "")


def test_plain_functions_need_no_inspect() -> None:
    """`inspect` is not imported for steps, callbacks and classes with an `__init__`."""
    code = """
import sys
from dotflow import DotFlow, action
@action
def step(initial_context): pass
@action
class Steps:
    def __init__(self, initial_context): pass
    @action
    def run(self): pass
def done(tasks): pass
def each(task): pass
flow = DotFlow()
flow.task.add([step, Steps], callback=each)
flow.start(on_success=done)
sys.exit("inspect" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_names_of_options() -> None:
    """The options that are checked at run time are those that type checkers know."""
    assert tuple(RunOptions.__annotations__) == RUN_OPTIONS
    assert tuple(ModeOptions.__annotations__) == MODE_OPTIONS
    assert tuple(Slots.__annotations__) == parameters_of(Config)
