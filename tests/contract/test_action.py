"""Contract section 6: what `action` makes, and calling it directly."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import re
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.core.action import Action
from dotflow.core.exception import MissingActionDecorator

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = SimpleNamespace(task_id="a-task", workflow_id=uuid4())


def test_defaults_of_the_bare_form() -> None:
    """@action alone gives an Action with func, params and the default options."""

    def step() -> int:
        return 1

    made = action(step)
    assert isinstance(made, Action)
    assert made.func is step
    assert hasattr(made, "params")
    assert (made.retry, made.timeout, made.retry_delay, made.backoff) == (1, 0, 1, False)


def test_configured_form_carries_its_options() -> None:
    """@action(...) gives an object with the options as they were given."""

    @action(retry=3, timeout=0.5, retry_delay=0.25, backoff=True)
    def step() -> int:
        return 1

    assert (step.retry, step.timeout, step.retry_delay, step.backoff) == (3, 0.5, 0.25, True)


def test_options_may_be_positional() -> None:
    """Action(func, task, retry, timeout, retry_delay, backoff) is the order of arguments."""

    def step() -> int:
        return 1

    made = Action(step, None, 2, 3, 4, True)
    assert (made.func, made.retry, made.timeout, made.retry_delay, made.backoff) == (
        step,
        2,
        3,
        4,
        True,
    )


def test_both_forms_are_accepted_as_steps(quiet: Config) -> None:
    """Functions, coroutine functions and classes, bare or configured, can be added."""

    @action
    def bare() -> None: ...

    @action()
    def empty() -> None: ...

    @action(retry=2)
    async def configured() -> None: ...

    @action
    class Plain: ...

    @action(timeout=1)
    class Configured: ...

    flow = DotFlow(config=quiet)
    steps: list[Any] = [bare, empty, configured, Plain, Configured]
    flow.task.add(steps)
    assert flow.task.count() == 5


def _plain() -> None: ...


@action
def _decorated() -> None: ...


class _LooksLikeAction:
    retry, timeout, retry_delay, backoff = 1, 0, 1, False

    def __call__(self, **_: object) -> Context:
        return Context()


@pytest.mark.parametrize(
    "step",
    [
        len,
        _plain,
        lambda: None,
        None,
        5,
        SimpleNamespace,
        "json.dumps",
        functools.partial(_decorated),
        _LooksLikeAction(),
        action,
    ],
    ids=lambda step: re.sub(" at 0x.*", "", repr(step)),
)
def test_nothing_else_is_accepted_as_a_step(step: Any, quiet: Config) -> None:
    """Whatever `action` did not make raises MissingActionDecorator, and is not queued."""
    flow = DotFlow(config=quiet)
    with pytest.raises(MissingActionDecorator, match="@action"):
        flow.task.add(step=step)
    assert flow.task.count() == 0


def test_call_gives_a_context_with_the_ids_of_the_task() -> None:
    """Calling with task= runs the function once and wraps its value with both ids."""

    @action
    def step() -> list[int]:
        return [1]

    context = step(task=TASK)
    assert isinstance(context, Context)
    assert (context.storage, context.task_id, context.workflow_id) == (
        [1],
        "a-task",
        TASK.workflow_id,
    )


def test_call_of_the_configured_form_gives_a_context() -> None:
    """The object of @action(...) is called in the same way."""

    @action(retry=2)
    def step(initial_context: Context) -> int:
        return int(initial_context.storage) + 1

    context = step(task=TASK, initial_context=Context(storage=1))
    assert (context.storage, context.task_id, context.workflow_id) == (
        2,
        "a-task",
        TASK.workflow_id,
    )


def test_call_with_a_workflow_id_that_is_no_uuid() -> None:
    """A task of the workflow "etl-daily" can be called for; the context has no workflow id."""

    @action
    def step() -> int:
        return 1

    context = step(task=SimpleNamespace(task_id="t", workflow_id="etl-daily"))
    assert (context.storage, context.task_id, context.workflow_id) == (1, "t", None)


def test_call_without_a_task() -> None:
    """A direct call without task gives a Context too."""

    @action
    def step() -> int:
        return 1

    context = step()
    assert isinstance(context, Context)
    assert context.storage == 1


def test_call_neither_retries_nor_times_out() -> None:
    """A direct call runs the function once, whatever retry and timeout say."""
    calls = []

    @action(retry=3, retry_delay=0)
    def fails() -> None:
        calls.append(1)
        raise ValueError("no")

    @action(timeout=0.01)
    def slow() -> str:
        time.sleep(0.05)
        return "done"

    with pytest.raises(ValueError, match="no"):
        fails(task=TASK)
    assert calls == [1]
    assert slow(task=TASK).storage == "done"


@pytest.mark.parametrize("decorate", [action, action(retry=2)], ids=["bare", "configured"])
def test_error_of_the_function_propagates_unchanged(decorate: Callable[..., Any]) -> None:
    """The very exception that the function raised comes out of the call."""
    error = LookupError("initial_context previous_context self")

    @decorate
    def step() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        step(task=TASK)
    assert caught.value is error


def test_contexts_are_passed_by_signature() -> None:
    """initial_context and previous_context go to the parameters of these names."""

    @action
    def both(previous_context: Context, initial_context: Context) -> tuple[object, object]:
        return previous_context.storage, initial_context.storage

    @action
    def keyword(*, previous_context: Context) -> object:
        return previous_context.storage

    @action
    def neither() -> str:
        return "nothing"

    given = {"initial_context": Context(storage="i"), "previous_context": Context(storage="p")}
    assert both(task=TASK, **given).storage == ("p", "i")
    assert keyword(task=TASK, **given).storage == "p"
    assert neither(task=TASK, **given).storage == "nothing"


def test_contexts_are_always_contexts() -> None:
    """An absent context is an empty Context; a plain value given is wrapped in one."""

    @action
    def step(initial_context: Context, previous_context: Context) -> list[Context]:
        return [initial_context, previous_context]

    initial, previous = step(task=TASK, initial_context=5).storage
    assert isinstance(initial, Context)
    assert isinstance(previous, Context)
    assert (initial.storage, previous.storage) == (5, None)


def test_nothing_but_the_contexts_is_passed() -> None:
    """Other parameters keep their defaults, and catch-all parameters get nothing."""

    @action
    def step(
        only: str = "d", /, task: str = "own", *args: object, **kwargs: object
    ) -> tuple[object, ...]:
        return only, task, args, kwargs

    @action
    def positional_only(initial_context: str = "default", /) -> str:
        return initial_context

    given = {"initial_context": Context(storage=1), "previous_context": Context(storage=2)}
    assert step(task=TASK, **given).storage == ("d", "own", (), {})
    assert positional_only(task=TASK, **given).storage == "default"


def test_contexts_for_a_class_are_looked_up_in_its_constructor() -> None:
    """A decorated class gets the contexts that its __init__ names."""

    @action
    class Step:
        def __init__(self, initial_context: Context) -> None:
            self.value = initial_context.storage

    step: Any = Step
    assert step(task=TASK, initial_context=Context(storage=7)).storage.value == 7


def test_coroutine_function_is_run_to_its_end() -> None:
    """Calling an async step gives the value that the coroutine returned."""

    @action
    async def step(initial_context: Context) -> object:
        await asyncio.sleep(0)
        return initial_context.storage

    assert step(task=TASK, initial_context=Context(storage=3)).storage == 3


def test_coroutine_function_inside_a_running_loop() -> None:
    """Inside a running loop an async step runs in another thread, in the caller's contextvars."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    @action
    async def step() -> tuple[int, str]:
        await asyncio.sleep(0)
        return threading.get_ident(), variable.get("unset")

    async def main() -> Any:
        variable.set("set")
        return step(task=TASK).storage

    thread, value = asyncio.run(main())
    assert thread != threading.get_ident()
    assert value == "set"


def test_step_keeps_the_names_of_its_function() -> None:
    """Name, docstring and the function itself stay readable on the step."""

    def step() -> None:
        """Do it."""

    made: Any
    for made in (action(step), action(retry=2)(step)):
        assert made.__name__ == "step"
        assert made.__doc__ == "Do it."
        assert made.__wrapped__ is step


@pytest.mark.parametrize("retry", [0, 1])
def test_retry_of_zero_or_one_is_allowed(retry: int) -> None:
    """retry=0 and retry=1 are no errors."""

    @action(retry=retry)
    def step() -> int:
        return 1

    assert step.retry == retry


def test_options_that_are_set_later(quiet: Config) -> None:
    """An option of a step that is set after it was decorated counts from then on."""
    calls: list[int] = []

    @action(retry_delay=0)
    def unsteady() -> None:
        calls.append(1)
        raise ValueError("no")

    unsteady.retry = 3
    flow = DotFlow(config=quiet)
    flow.task.add(unsteady)
    flow.start()
    assert (len(calls), unsteady.retry, unsteady.retry_delay) == (3, 3, 0)
