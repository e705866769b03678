"""The decorator that makes a step."""

from __future__ import annotations

import sys
from functools import WRAPPER_ASSIGNMENTS
from itertools import count
from types import CoroutineType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context, uuid_or_none
from dotflow.core.exception import MissingActionDecorator
from dotflow.core.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

INITIAL: Final = "initial_context"
PREVIOUS: Final = "previous_context"

# Actions are numbered as they are made, so that the methods of a class step keep the order of
# their definition also where the class travelled to another process, which loses it.
_numbers = count()

_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE


class Action:
    """A step: a function, coroutine function or class, with how it is to be tried.

    Used as `@action` or `@action(retry=3, ...)`. A function is given `initial_context`
    and `previous_context`, each a `Context`, exactly where it has a parameter of that name.

    Args:
        func: The function or class.
        task: Not used; accepted because dotflow 1.x did.
        retry: How many attempts at most; 0 and 1 both mean one.
        timeout: Seconds for one attempt; 0: no limit.
        retry_delay: Seconds between attempts.
        backoff: Whether the delay doubles after each attempt.

    Raises:
        InvalidOption: An option is negative or not a number.
        MissingActionDecorator: `func` cannot be called.
    """

    func: Callable[..., Any] | None

    def __init__(
        self,
        func: Callable[..., Any] | None = None,
        task: object = None,
        retry: int = 1,
        timeout: float = 0,
        retry_delay: float = 1,
        backoff: bool = False,
    ) -> None:
        self.task = task
        self.number = next(_numbers)
        self.policy = RetryPolicy.checked(
            retry=retry, timeout=timeout, retry_delay=retry_delay, backoff=backoff
        )
        self.retry = retry
        self.timeout = timeout
        self.retry_delay = retry_delay
        self.backoff = backoff
        self.params: tuple[str, ...] = ()
        self.wants_initial = self.wants_previous = False
        self.func = None
        if func is not None:
            self._wrap(func)

    def _wrap(self, func: Callable[..., Any]) -> None:
        if not callable(func):
            raise MissingActionDecorator(func)
        self.func = func
        self.params = parameters_of(func)
        self.wants_initial = INITIAL in self.params
        self.wants_previous = PREVIOUS in self.params
        for name in WRAPPER_ASSIGNMENTS:
            if hasattr(func, name):
                setattr(self, name, getattr(func, name))
        self.__wrapped__ = func

    @property
    def name(self) -> str:
        """The name of the function or class."""
        return getattr(self.func, "__name__", None) or type(self.func).__name__

    @property
    def is_coroutine(self) -> bool:
        """Whether the step is an `async def` function."""
        code = getattr(self.func, "__code__", None)
        return code is not None and bool(code.co_flags & _CO_COROUTINE)

    def with_func(self, func: Callable[..., Any]) -> Action:
        """Give an action with the same options around another function."""
        return Action(
            func,
            retry=self.retry,
            timeout=self.timeout,
            retry_delay=self.retry_delay,
            backoff=self.backoff,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function, where none is wrapped yet; else run it once.

        Running takes the keywords `task` (anything with `task_id` and `workflow_id`),
        `initial_context` and `previous_context`, and gives a `Context` with the returned
        value. It neither retries nor times out: a workflow does that.
        """
        if self.func is None:
            return self._decorate(*args, **kwargs)
        return self._run_once(*args, **kwargs)

    def _decorate(self, func: Callable[..., Any]) -> Action:
        if isinstance(func, Action) and func.func is not None:
            func = func.func
        return self.with_func(func)

    def _run_once(
        self,
        *,
        task: Any = None,
        initial_context: object = None,
        previous_context: object = None,
    ) -> Context:
        value = self.run(initial_context, previous_context)
        if task is None:
            return Context(value)
        return Context(value, task.task_id, uuid_or_none(task.workflow_id))

    def run(self, initial: object = None, previous: object = None) -> Any:
        """Call the function with the contexts that it wants; give the bare value."""
        assert self.func is not None  # noqa: S101 - an Action without one is no step
        if not (self.wants_initial or self.wants_previous):
            value = self.func()
        else:
            value = self.func(**self._wanted(initial, previous))
        return _finished(value) if type(value) is CoroutineType else value

    def _wanted(self, initial: object, previous: object) -> dict[str, Context]:
        wanted = {}
        if self.wants_initial:
            wanted[INITIAL] = Context.of(initial)
        if self.wants_previous:
            wanted[PREVIOUS] = Context.of(previous)
        return wanted

    def __get__(self, instance: object, owner: type | None = None) -> Action:
        """Bind a method to its instance; one written without `self` stays as it is."""
        if instance is None or self.func is None or not takes_self(self):
            return self
        return self.with_func(MethodType(self.func, instance))

    def __reduce__(self) -> str | tuple[Any, ...]:
        if _is_found_by_name(self):
            name: str = getattr(self, "__qualname__", "")
            return name
        options = (self.retry, self.timeout, self.retry_delay, self.backoff)
        return _remade, (self.number, self.func, *options)

    def __repr__(self) -> str:
        return f"<action {self.name}>"


def _remade(number: int, func: Callable[..., Any], *options: Any) -> Action:
    action = Action(func, None, *options)
    action.number = number
    return action


def takes_self(action: Action) -> bool:
    """Tell whether a method's first parameter is the instance."""
    code = getattr(action.func, "__code__", None)
    if not isinstance(action.func, FunctionType) or code is None:
        return False
    first = code.co_varnames[: code.co_argcount][:1]
    return bool(first) and first[0] not in (INITIAL, PREVIOUS)


def parameters_of(func: Callable[..., Any]) -> tuple[str, ...]:
    """Give the names of the parameters that can be passed by keyword.

    For a class those of its `__init__`. Read from the code object where that tells all,
    because `inspect` takes as long to import as everything else here together.
    """
    target: Any = func.__init__ if isinstance(func, type) else func  # type: ignore[misc]
    plain = isinstance(target, (FunctionType, MethodType)) and not hasattr(target, "__wrapped__")
    if plain and not hasattr(target, "__signature__"):
        code = target.__code__
        return tuple(
            code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        )
    return _signature_of(target)


def _signature_of(target: Any) -> tuple[str, ...]:
    if target is object.__init__:
        return ()
    import inspect  # noqa: PLC0415 - only for callables that are no plain function

    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return ()
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(each.name for each in parameters if each.kind in by_keyword)


def _finished(coroutine: CoroutineType[Any, Any, Any]) -> Any:
    from dotflow.core.coroutine import run_coroutine  # noqa: PLC0415 - asyncio is slow to import

    return run_coroutine(coroutine)


def _is_found_by_name(action: Action) -> bool:
    # The decorated function's name leads to the action, not to the function, so the
    # function alone would not pickle by reference; the action itself does.
    module = getattr(action, "__module__", None)
    if module in (None, "__main__") or module not in sys.modules or travels_by_value(module):
        return False
    found: Any = sys.modules[module]
    for part in getattr(action, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is action


def travels_by_value(module: str) -> bool:
    """Return whether what a module defines must not go by name just now."""
    # It, or a package that it is in, is one that the other end cannot import.
    pickler = sys.modules.get("cloudpickle.cloudpickle")
    registered = () if pickler is None else pickler.list_registry_pickle_by_value()
    return any(module == name or module.startswith(f"{name}.") for name in registered)
