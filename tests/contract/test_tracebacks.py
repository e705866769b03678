"""What a failed step's exception holds: its frames while the run goes on, and not beyond."""

from __future__ import annotations

import logging
import sys
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Iterator

Run = Any


class Large:
    """What a step has in a local variable."""


@pytest.fixture(params=["sequential", "sequential_group", "background", "threads"])
def config_and_mode(
    request: pytest.FixtureRequest, silent_log: Any
) -> Iterator[tuple[Config, str]]:
    """Every mode whose exceptions are those of this process."""
    if request.param != "threads":
        yield Config(log=silent_log), request.param
        return
    with ThreadPoolExecutor(2) as threads:
        yield Config(log=silent_log, executor=threads), "parallel"


def _failing(error: BaseException, **options: Any) -> tuple[Any, list[weakref.ref[Large]]]:
    held: list[weakref.ref[Large]] = []

    @action(**options)
    def step() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise error

    return step, held


def _frames(error: BaseException | None) -> list[str]:
    assert error is not None
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize(
    "options", [{}, {"retry": 2, "retry_delay": 0}, {"timeout": 30}], ids=["one", "two", "timeout"]
)
def test_locals_of_a_failed_step_go_with_the_run(
    options: dict[str, Any], config_and_mode: tuple[Config, str], run: Run
) -> None:
    """The exception and the text of its traceback stay; what the step had does not."""
    config, mode = config_and_mode
    step, held = _failing(ValueError("no"), **options)
    flow = DotFlow(config=config)
    flow.task.add(step)
    run(flow, mode)
    [task] = flow.result_task()
    assert task.failure is not None
    assert isinstance(task.failure.exception, ValueError)
    assert task.failure.exception.__traceback__ is None
    assert [ref() for ref in held] == [None] * task.attempt
    assert "in step\n    raise error\n" in task.errors[-1].traceback
    assert task.failure.traceback == task.errors[-1].traceback


def test_the_end_of_the_run_still_sees_it(config_and_mode: tuple[Config, str], run: Run) -> None:
    """The callbacks of the task and of the workflow find the traceback whole."""
    config, mode = config_and_mode
    step, _ = _failing(ValueError("no"))
    seen: list[list[str]] = []
    flow = DotFlow(config=config)
    flow.task.add(step, callback=lambda task: seen.append(_frames(task.failure.exception)))
    run(flow, mode, on_failure=lambda tasks: seen.append(_frames(tasks[0].failure.exception)))
    assert [frames[-1] for frames in seen] == ["step", "step"]


def test_causes_let_go_as_well(config_and_mode: tuple[Config, str], run: Run) -> None:
    """So do the causes, the contexts and the members of groups, also where they form a ring."""
    config, mode = config_and_mode
    held: list[weakref.ref[Large]] = []
    raised: list[BaseException] = []

    def fail(name: str) -> None:
        large = Large()
        held.append(weakref.ref(large))
        error = ValueError(name)
        raised.append(error)
        raise error

    @action
    def step() -> None:
        try:
            fail("context")
        except ValueError:
            try:
                fail("member")
            except ValueError as member:
                group = ExceptionGroup("several", [member])
                cause = KeyError("cause")
                cause.__cause__ = group
                group.__context__ = cause
                raise RuntimeError("no") from cause

    flow = DotFlow(config=config)
    flow.task.add(step)
    run(flow, mode)
    assert [error.__traceback__ for error in raised] == [None, None]
    assert [ref() for ref in held] == [None, None]


def test_an_exception_that_defends_itself(in_process_mode: str, quiet: Config, run: Run) -> None:
    """A class that overrides what exceptions have breaks nothing, and holds nothing."""

    class Hostile(Exception):
        @property
        def __cause__(self) -> Any:
            raise RuntimeError("do not look")

        def __setattr__(self, name: str, value: object) -> None:
            raise RuntimeError("do not set")

        def with_traceback(self, *_: object) -> Any:
            raise RuntimeError("do not set")

    step, held = _failing(Hostile())
    flow = DotFlow(config=quiet)
    flow.task.add(step)
    run(flow, in_process_mode)
    assert flow.result_task()[0].status == "Failed"
    assert [ref() for ref in held] == [None]


def test_what_the_caller_handles_keeps_its_own(quiet: Config) -> None:
    """A flow that is run while an error is handled leaves that error as it was."""
    step, held = _failing(ValueError("in the step"))
    flow = DotFlow(config=quiet)
    flow.task.add(step)

    def fail() -> None:
        raise KeyError("the caller's")

    def go_on() -> None:
        try:
            fail()
        except KeyError:
            flow.start()
            raise

    with pytest.raises(KeyError) as caught:
        go_on()
    failure = flow.result_task()[0].failure
    assert failure is not None
    assert failure.exception is not None
    assert failure.exception.__context__ is caught.value
    assert _frames(caught.value)[-1] == "fail"
    assert [ref() for ref in held] == [None]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_raised_to_the_caller_keeps_its_own(
    kind: type[BaseException], quiet: Config
) -> None:
    """An interrupt in a step arrives at the caller with the step's frame."""
    step, _ = _failing(kind())
    flow = DotFlow(config=quiet)
    flow.task.add(step)
    with pytest.raises(kind) as caught:
        flow.start()
    assert _frames(caught.value)[-1] == "step"


def test_what_ends_a_run_in_the_background(
    quiet: Config, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There nobody gets it, and the log alone has told it: it lets go as well."""
    # pytest keeps the records that it captures, with their exceptions' frames.
    monkeypatch.setattr(logging.getLogger("dotflow"), "propagate", False)
    step, held = _failing(SystemExit(3))
    flow = DotFlow(config=quiet)
    flow.task.add(step)
    run(flow, "background")
    [task] = flow.result_task()
    assert task.failure is not None
    assert isinstance(task.failure.exception, SystemExit)
    assert [ref() for ref in held] == [None]


def test_what_a_callback_raises_keeps_its_own(quiet: Config) -> None:
    """`on_failure` may raise the step's own error, which shows where the step failed."""
    first, _ = _failing(ValueError("first"))
    second, held = _failing(ValueError("second"))
    flow = DotFlow(config=quiet)
    flow.task.add([first, second])

    def raise_first(tasks: list[Any]) -> None:
        raise tasks[0].failure.exception

    with pytest.raises(ValueError, match="first") as caught:
        flow.start(on_failure=raise_first, keep_going=True)
    assert "step" in _frames(caught.value)
    assert [ref() for ref in held] == [None]
    assert sys.exception() is None
