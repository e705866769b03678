"""Contract section 4: the tree of errors, their messages, and TaskError."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.core import exception
from dotflow.core.exception import TaskError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "name",
    [
        "MissingActionDecorator",
        "ExecutionModeNotExist",
        "ImportModuleError",
        "NotCallableObject",
        "ModuleNotFound",
        "InputChangedError",
        "WorkflowInUse",
        "InvalidOnInputChange",
        "InvalidWorkflowFactory",
        "WorkflowFlagConflict",
        "InvalidOption",
        "ProblemOrdering",
        "ExecutionWithClassError",
    ],
)
def test_every_error_is_below_the_root(name: str) -> None:
    """Every error class is below DotflowError, which is below Exception."""
    assert issubclass(getattr(exception, name), exception.DotflowError)
    assert issubclass(exception.DotflowError, Exception)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (exception.MissingActionDecorator, ["@action"]),
        (lambda: exception.ImportModuleError("a.b:c"), ["a.b:c"]),
        (lambda: exception.NotCallableObject("storage"), ["storage"]),
        (
            lambda: exception.ModuleNotFound("opentelemetry", "dotflow[otel]"),
            ["opentelemetry", "dotflow[otel]"],
        ),
        (lambda: exception.InputChangedError("etl-daily"), ["etl-daily", "reset", "reuse"]),
        (
            lambda: exception.WorkflowInUse("etl-daily", "by process 4 on host"),
            ["etl-daily", "by process 4 on host", "workflow_id"],
        ),
        (lambda: exception.InvalidOnInputChange("nope"), ["nope"]),
        (lambda: exception.InvalidWorkflowFactory("pkg:make"), ["pkg:make"]),
        (lambda: exception.WorkflowFlagConflict("--callback"), ["--callback"]),
    ],
)
def test_message_contains_what_was_given(make: Callable[[], Exception], parts: list[str]) -> None:
    """An error made with the documented arguments names them in its message."""
    text = str(make())
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize(
    "name", ["ExecutionModeNotExist", "ProblemOrdering", "MissingActionDecorator"]
)
def test_error_can_be_made_as_in_1_x(name: str) -> None:
    """The errors that 1.x makes without arguments are made so here."""
    arguments = ("task",) if name == "ProblemOrdering" else ()
    assert isinstance(getattr(exception, name)(*arguments), Exception)


def test_unknown_mode_names_it_and_the_allowed_ones(quiet: Config) -> None:
    """start(mode="nope") raises an error that names "nope" and the four modes."""
    with pytest.raises(exception.ExecutionModeNotExist) as caught:
        DotFlow(config=quiet).start(mode="nope")
    for name in ("nope", "sequential", "sequential_group", "background", "parallel"):
        assert name in str(caught.value)


def test_task_error_of_an_exception() -> None:
    """TaskError takes type, text and traceback of the exception, and the attempt."""
    try:
        raise KeyError("k")
    except KeyError as error:
        made = TaskError(error=error, attempt=2)
    assert (made.attempt, made.exception, made.message) == (2, "KeyError", "'k'")
    assert made.traceback.startswith("Traceback (most recent call last)")
    assert "KeyError: 'k'" in made.traceback


def test_task_error_without_an_exception_is_empty() -> None:
    """TaskError() has attempt None and three empty texts."""
    made = TaskError()
    assert (made.attempt, made.exception, made.message, made.traceback) == (None, "", "", "")


def test_task_error_takes_positional_arguments() -> None:
    """TaskError(error, attempt) may be made by position."""
    made = TaskError(ValueError("v"), 1)
    assert (made.attempt, made.exception, made.message) == (1, "ValueError", "v")


def test_task_error_is_no_exception_and_pickles() -> None:
    """A TaskError is not an exception, and a pickled copy has the same attributes."""
    made = TaskError(error=ValueError("v"), attempt=1)
    copy: Any = pickle.loads(pickle.dumps(made))
    assert not isinstance(made, BaseException)
    assert (copy.attempt, copy.exception, copy.message, copy.traceback) == (
        made.attempt,
        made.exception,
        made.message,
        made.traceback,
    )


@pytest.mark.parametrize("option", ["retry", "timeout", "retry_delay"])
@pytest.mark.parametrize("value", [-1, "three", None])
def test_impossible_option_is_refused_when_decorating(option: str, value: object) -> None:
    """A negative or non-numeric option raises InvalidOption, a ValueError, at the decorator."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(exception.InvalidOption, match=option) as caught:

        @action(**options)
        def step() -> None: ...

    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, exception.DotflowError)
