"""What is said of users' objects, and what of an interrupt while it is found out."""

from __future__ import annotations

import copy
import logging
import pickle
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from odd_objects import ERRORS, RESULTS, Halt, Leaves, Markup, raising

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.notify import Notify
from dotflow.core.exception import InvalidOption, MissingActionDecorator, TaskError, UnstableInput
from dotflow.core.failure import Failure
from dotflow.core.fingerprint import fingerprint_of
from dotflow.core.limit import LimitError, is_abandoned, is_limit_error
from dotflow.core.user_objects import (
    attribute_of,
    exc_info_of,
    guarded,
    qualified_name_of,
    repr_of,
    text_of,
)
from dotflow_otel.testing import record_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, Halt])
def test_what_an_object_raises_is_returned(kind: type[BaseException]) -> None:
    """Be that an interrupt: the object's own comes again."""
    value, error = guarded(raising(kind))
    assert value is None
    assert type(error) is kind


def _once(interrupt: Callable[[], object]) -> Any:
    calls: list[int] = []

    def call(*_: object) -> str:
        calls.append(1)
        if len(calls) == 1:
            interrupt()
        return "text"

    return call


def _press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_meanwhile_interrupts() -> None:
    """It comes once, and so it is not the object's own."""
    with pytest.raises(KeyboardInterrupt):
        guarded(_once(_press_ctrl_c))


def test_what_a_handler_of_a_signal_raises_interrupts() -> None:
    """As one of SIGTERM does that ends the program."""
    with pytest.raises(SystemExit, match="7"):
        guarded(_once(lambda: sys.exit(7)))


def test_ctrl_c_while_an_error_is_told_ends_the_run() -> None:
    """As at any other moment."""
    error = type("Slow", (Exception,), {"__str__": _once(_press_ctrl_c)})

    @action
    def failing() -> None:
        raise error

    with record_telemetry(global_tracer=False) as telemetry:
        flow = DotFlow(config=telemetry.config)
        flow.task.add([failing, failing])
        with pytest.raises(KeyboardInterrupt):
            flow.start(keep_going=True)
        assert [task.status for task in flow.task.queue] == ["Failed", "Not started"]
        telemetry.assert_balanced()


def test_texts_are_of_the_type_itself() -> None:
    """Whatever a user's subclass of `str` makes of itself."""
    texts = [text_of(Markup("m")), repr_of(object()), qualified_name_of(Markup)]
    assert [type(each) for each in texts] == [str] * 3
    assert qualified_name_of(Markup) == "odd_objects.Markup"
    assert qualified_name_of(int) == "int"
    assert attribute_of(Leaves(), "nothing", 3) == 3
    assert attribute_of(ERRORS["closed"].make(), "args", 3) == 3


@pytest.mark.parametrize("name", ERRORS)
def test_any_error_can_be_told(name: str) -> None:
    """As a failure, as the record of one and as the `exc_info` of a log record."""
    odd = ERRORS[name]
    error = odd.make()
    failure = Failure.of(error)
    assert [type(each) for each in failure[:5]] == [str] * 5
    assert (failure.kind, failure.name) == ("error", odd.name)
    assert failure.exception is error
    assert TaskError(error).message == failure.message
    kind, shown, trace = exc_info_of(error)
    assert "".join(traceback.format_exception(kind, shown, trace))


@pytest.mark.parametrize("name", RESULTS)
def test_any_object_can_be_named_in_an_error(name: str) -> None:
    """In the messages of dotflow's own, and in a `Context`."""
    value = RESULTS[name].make()
    assert str(InvalidOption("option", value, "give another")).startswith("option=")
    assert str(MissingActionDecorator(value))
    assert str(UnstableInput(value))
    assert repr(Context(value))


def test_an_input_without_a_fingerprint_is_told_of() -> None:
    """Whatever it raises when it is looked at."""
    refused = []
    for name, odd in RESULTS.items():
        try:
            assert len(fingerprint_of([odd.make()])) == 64
        except UnstableInput:
            refused.append(name)
    assert {"local proxy", "text", "exit text", "ctrl-c text", "itself", "lock"} <= set(refused)
    assert not {"huge number", "surrogate"} & set(refused)


# --- the error of a limit -------------------------------------------------------------


def test_the_error_of_a_limit_is_a_timeout_error_to_users() -> None:
    """In its name, text and traceback; and it is the same out of a pickle."""
    error = LimitError.of("step", 1.5)
    error.is_abandoned = True
    assert isinstance(error, TimeoutError)
    assert Failure.of(error)[:3] == ("timeout", "TimeoutError", "TimeoutError")
    shown = "".join(traceback.format_exception(error))
    assert shown == "TimeoutError: step did not end within its timeout of 1.5 s\n"
    for read in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert is_limit_error(read)
        assert str(read) == str(error)
        assert not is_abandoned(read)  # which was said of a call in the other process


@pytest.mark.parametrize("name", ["timeout", "pretender", "lenient"])
def test_no_error_of_a_step_is_one_of_a_limit(name: str) -> None:
    """Whatever it answers when it is asked."""
    error = ERRORS[name].make()
    assert not is_limit_error(error)
    assert not is_abandoned(error)


# --- the errors of callbacks and providers --------------------------------------------

# Those of `Exception`, which a callback may raise and the run goes on.
_ERRORS = [name for name, odd in ERRORS.items() if issubclass(type(odd.make()), Exception)]


@pytest.mark.parametrize("name", _ERRORS)
def test_any_error_of_a_callback_or_a_provider_is_logged(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once with its traceback, by any handler; the run goes on."""

    class Odd(Notify):
        def hook_status_task(self, task: Any) -> None:
            raise ERRORS[name].make()

    def callback(task: Any) -> None:
        raise ERRORS[name].make()

    @action
    def step() -> int:
        return 1

    with record_telemetry(global_tracer=False) as telemetry:
        flow = DotFlow(config=telemetry.observe(notify=Odd()))
        flow.task.add(step, callback=callback)
        flow.start()
        assert flow.result_storage() == [1]
        telemetry.assert_balanced()
    told = [record for record in caplog.records if record.name == "dotflow"]
    assert [record.levelno for record in told] == [logging.ERROR] * 2
    assert all("Traceback" in logging.Formatter().format(record) for record in told)


class _Quits(SystemExit):
    def __bool__(self) -> bool:
        return False

    __str__ = raising(ValueError)
    __getattr__ = raising(Halt)


def test_an_exit_that_is_false_ends_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """As any other; in the background there is nobody to raise it to, so it is logged."""

    @action
    def leaving() -> None:
        raise _Quits

    with record_telemetry(global_tracer=False) as telemetry:
        flow = DotFlow(config=telemetry.config)
        flow.task.add([leaving, leaving])
        with pytest.raises(_Quits):
            flow.start()
        behind = DotFlow(config=telemetry.config)
        behind.task.add([leaving, leaving])
        behind.start(mode="background").thread.join(30)
        for each in (flow, behind):
            assert [task.status for task in each.task.queue] == ["Failed", "Not started"]
        telemetry.assert_balanced()
    assert [record.message for record in caplog.records if record.name == "dotflow"] == [
        "a background run ended with an error"
    ]


def test_a_method_that_is_tried_again_after_an_odd_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told of in a warning, and tried again."""
    calls: list[int] = []

    class Pipe:
        @action(retry=2, retry_delay=0)
        def method(self) -> int:
            calls.append(1)
            if len(calls) == 1:
                raise Leaves
            return 3

    @action
    def build() -> Pipe:
        return Pipe()

    flow = DotFlow(config=Config())
    flow.task.add(build)
    flow.start()
    assert flow.result_storage()[0][0].storage == 3
    assert "<odd_objects.Leaves object at 0x" in caplog.text
