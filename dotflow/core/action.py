"""The decorator that makes a step: how often it is tried, and how long an attempt may take."""

from __future__ import annotations

import sys
from functools import WRAPPER_ASSIGNMENTS, partial
from itertools import count
from threading import TIMEOUT_MAX
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from dotflow.core.arguments import own_parameters, parameters_of, refuse_unknown
from dotflow.core.context import Context, uuid_or_none
from dotflow.core.exception import InvalidOption, MissingActionDecorator, NotCallableObject
from dotflow.core.user_objects import (
    attribute_of,
    defined_by,
    exactly_text,
    is_a,
    is_plain,
    mro_of,
    name_of,
    namespace_of,
)

# 2 ** 32 times the first delay is past any wait that ends; it keeps floats finite.
_MAX_DOUBLINGS = 32

# A sleep ends at a time of the clock, which so has to reach farther than the sleep lasts.
_LONGEST_WAIT: Final = min(TIMEOUT_MAX, 100 * 365 * 86_400)


class RetryPolicy(NamedTuple):
    """The options of an action, checked.

    Attributes:
        attempts: How many times at most, at least 1.
        timeout: Seconds for one attempt, 0 for no limit.
        delay: Seconds between attempts.
        backoff: Whether the delay doubles after each attempt.
    """

    attempts: int = 1
    timeout: float = 0
    delay: float = 1
    backoff: bool = False

    @classmethod
    def checked(
        cls, *, retry: int, timeout: float, retry_delay: float, backoff: bool
    ) -> RetryPolicy:
        """Make a policy of an action's options.

        Raises:
            InvalidOption: A number is negative or none, or more than the clock can take, or
                `backoff` is no bool.
        """
        if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
            raise InvalidOption("retry", retry, "give a whole number of attempts, 0 or more")
        _check_seconds("timeout", timeout)
        _check_seconds("retry_delay", retry_delay)
        if not isinstance(backoff, bool):
            raise InvalidOption("backoff", backoff, "give True or False")
        return cls(max(1, retry), timeout, retry_delay, backoff)

    def delay_after(self, attempt: int) -> float:
        """Return the seconds to wait after that attempt (from 1) failed."""
        delay = self.delay
        if self.backoff:
            delay *= float(2 ** min(attempt - 1, _MAX_DOUBLINGS))
        return min(delay, _LONGEST_WAIT)


def _check_seconds(option: str, value: float) -> None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and value >= 0):
        raise InvalidOption(option, value, "give a number of seconds, 0 or more")
    if value > TIMEOUT_MAX:
        hint = f"the clock can take {TIMEOUT_MAX:.0f} seconds at most"
        raise InvalidOption(option, value, hint)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Never, Protocol, overload

    # Type checkers know it, and its defaults let a bare `Action` stand for any; Python's own
    # has them from 3.13 on.
    from typing_extensions import ParamSpec, TypeVar

    Params = ParamSpec("Params", default=...)
    Returned_co = TypeVar("Returned_co", covariant=True, default=Any)
else:
    from typing import ParamSpec, TypeVar

    Params = ParamSpec("Params")
    Returned_co = TypeVar("Returned_co", covariant=True)

_Value = TypeVar("_Value")

INITIAL: Final = "initial_context"
PREVIOUS: Final = "previous_context"

_OPTIONS: Final = ("retry", "timeout", "retry_delay", "backoff")
_CALL_KEYWORDS: Final = {"task", INITIAL, PREVIOUS}

# Actions are numbered as they are made, so that the methods of a class step keep the order of
# their definition also where the class travelled to another process, which loses it.
_numbers = count()

_CO_VARARGS: Final = 0x04  # of `inspect`
_CO_ASYNC: Final = 0x80 | 0x200  # of `inspect`: CO_COROUTINE, CO_ASYNC_GENERATOR

# How many wrappers of a function are looked through: an object may wrap itself.
_MOST_WRAPPERS: Final = 100

_NAMES: Final = ("__module__", "__name__", "__qualname__")

# What travels of an action beside its function: all but what that, or the other process, has.
_TRAVELLING: Final = (
    *("number", "options", "params", "unmet", "is_step"),
    *("wants_initial", "wants_previous", "sends_initial", "sends_previous"),
    *_NAMES,
)
_OF_FUNCTION: Final = tuple(name for name in WRAPPER_ASSIGNMENTS if name not in _NAMES)

_ABSENT: Final = object()


class _Option(Generic[_Value]):
    """An option of a step; one that is set later is checked, and counts from then on."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, step: Action, owner: type | None = None) -> _Value:
        value: _Value = step.options[self._name]
        return value

    def __set__(self, step: Action, value: _Value) -> None:
        options = {**step.options, self._name: value}
        step.policy = RetryPolicy.checked(**options)
        step.options = options


class Action(Generic[Params, Returned_co]):
    """A step: a function, coroutine or generator function, or class; and how it is to be tried.

    Used as `@action` or `@action(retry=3, ...)`. A function gets `initial_context` and
    `previous_context`, each a `Context`, exactly where it has a parameter of that name.

    Args:
        func: The function or class.
        task: Not used; accepted because dotflow 1.x did.
        retry: How many attempts at most; 0 and 1 both mean one.
        timeout: Seconds for one attempt; 0: no limit.
        retry_delay: Seconds between attempts.
        backoff: Whether the delay doubles after each attempt.

    Attributes:
        func: The function or class; None before one is decorated.
        params: The names of the parameters that can be passed by keyword.
        unmet: The first parameter without a default that no workflow passes, after the name of
            the function that has it; None where there is none.
        is_step: Whether a workflow can run it.
        wants_initial: Whether the function, or the class's `__init__`, takes `initial_context`.
        wants_previous: Likewise of `previous_context`.
        sends_initial: Whether it, or a method of the class that is a step, takes that.
        sends_previous: Likewise of `previous_context`.

    Raises:
        InvalidOption: An option is negative, or of another type.
        MissingActionDecorator: `func` cannot be called.
        TypeError: There is no such option.
    """

    func: Callable[Params, Returned_co] | None

    # As of the function or class that is decorated.
    __name__: str
    __qualname__: str
    __wrapped__: Callable[Params, Returned_co]

    retry = _Option[int]()
    timeout = _Option[float]()
    retry_delay = _Option[float]()
    backoff = _Option[bool]()

    def __init__(
        self,
        func: Callable[Params, Returned_co] | None = None,
        task: object = None,
        retry: int = 1,
        timeout: float = 0,
        retry_delay: float = 1,
        backoff: bool = False,
        **unknown: Never,
    ) -> None:
        if unknown:
            refuse_unknown("action", unknown, _OPTIONS)
        self.task = task
        self.number = next(_numbers)
        self.options: Mapping[str, Any] = {
            "retry": retry,
            "timeout": timeout,
            "retry_delay": retry_delay,
            "backoff": backoff,
        }
        self.policy = RetryPolicy.checked(**self.options)
        self.params: tuple[str, ...] = ()
        self.unmet: tuple[str, str] | None = None
        self.is_step = False
        self.wants_initial = self.wants_previous = False
        self.sends_initial = self.sends_previous = False
        self.func = None
        if func is not None:
            self._wrap(func)

    def _wrap(self, func: Callable[Params, Returned_co]) -> None:
        if not callable(func):
            raise MissingActionDecorator(func)
        self.func = func
        self.params = parameters_of(func)
        self.unmet = _unmet(func, self.name)
        self.is_step = self.unmet is None
        self.wants_initial = INITIAL in self.params
        self.wants_previous = PREVIOUS in self.params
        methods = methods_of(func) if isinstance(func, type) else ()
        self.sends_initial = self.wants_initial or any(each.wants_initial for each in methods)
        self.sends_previous = self.wants_previous or any(each.wants_previous for each in methods)
        for name in WRAPPER_ASSIGNMENTS:
            found = _attribute(func, name, _ABSENT)
            if found is not _ABSENT and (type(found) is str or name not in _NAMES):
                setattr(self, name, found)
        self.__wrapped__ = func

    @property
    def name(self) -> str:
        """The name of the function or class."""
        name = _attribute(self.func, "__name__")
        text = exactly_text(name) if is_a(name, str) else ""
        return text or name_of(type(self.func))

    @property
    def is_coroutine(self) -> bool:
        """Whether the step is an `async def` function, be it a generator."""
        code = _code_of(self.func)
        return code is not None and bool(code.co_flags & _CO_ASYNC)

    def with_func(self, func: Callable[..., Any]) -> Action:
        """Return an action with the same options around another function."""
        return Action(
            func,
            **self.options,
        )

    if TYPE_CHECKING:

        def __call__(
            self,
            *,
            task: Any = None,
            initial_context: object = None,
            previous_context: object = None,
        ) -> Context:
            """Run the function once; see below."""

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Decorate a function, where none is wrapped yet; else run it once.

            Running takes the keywords `task` (anything with `task_id` and `workflow_id`),
            `initial_context` and `previous_context`, and returns a `Context` with the returned
            value. It neither retries nor times out: a workflow does that.

            Raises:
                AttributeError: `task` has no ids.
                TypeError: It got another argument, or a positional one.
            """
            if self.func is None:
                return self._decorate(*args, **kwargs)
            if args or not kwargs.keys() <= _CALL_KEYWORDS:
                raise TypeError(_wrong_call(self.name, args, kwargs))
            return self._run_once(**kwargs)

    def _decorate(self, func: Any = None, *args: Any, **kwargs: Any) -> Action:
        if func is None or args or kwargs:
            raise MissingActionDecorator
        if is_a(func, Action) and func.func is not None:
            func = func.func
        return self.with_func(func)

    def _run_once(
        self, task: Any = None, initial_context: object = None, previous_context: object = None
    ) -> Context:
        ids = () if task is None else (task.task_id, uuid_or_none(task.workflow_id))
        return Context(self.run(initial_context, previous_context), *ids)

    def run(self, initial: object = None, previous: object = None) -> Any:
        """Call the function with the contexts that it wants; return the bare value.

        A coroutine that it returns is run to its end, whatever made it; of a generator, which is
        run likewise, the value is the list of what it yielded.
        """
        value = self.call(initial, previous)
        if is_plain(value):
            return value
        from dotflow.core.unfinished import finished  # noqa: PLC0415 - few values need it

        return finished(value, methods_of)

    def call(self, initial: object, previous: object) -> Any:
        """Call the function; return what it returned, be that still to be run."""
        func: Any = self.func
        if not (self.wants_initial or self.wants_previous):
            return func()
        return func(**self._wanted(initial, previous))

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
        # What was found out of the function goes along: a worker makes the step for each attempt.
        known = self.__dict__
        state = {name: known[name] for name in _TRAVELLING if name in known}
        return _remade, (self.func, tuple(self.policy), state)

    def __repr__(self) -> str:
        return f"<action {self.name if self.func is not None else 'without a function'}>"


def _remade(func: Any, policy: Sequence[Any], state: Mapping[str, Any]) -> Action:
    action = Action.__new__(Action)
    known = action.__dict__
    known.update(state)
    action.policy = RetryPolicy._make(policy)
    action.task = None
    action.func = func
    if func is not None:
        known["__wrapped__"] = func
        for name in _OF_FUNCTION:
            found = _attribute(func, name, _ABSENT)
            if found is not _ABSENT:
                known[name] = found
    return action


def takes_self(action: Action) -> bool:
    """Return whether a method's first parameter is the instance.

    Wrappers are looked through, as for the names of the parameters.
    """
    function: Any = action.func
    for _ in range(_MOST_WRAPPERS):
        if type(function) is MethodType:
            return False
        inner = _attribute(function, "__wrapped__")
        if inner is None:
            break
        function = inner
    code = _attribute(function, "__code__")
    if type(code) is not CodeType or defined_by(type(function), "__get__") is None:
        return False
    if not code.co_argcount:
        return bool(code.co_flags & _CO_VARARGS)
    return code.co_varnames[0] not in (INITIAL, PREVIOUS)


def _code_of(func: Any) -> CodeType | None:
    while type(func) in (partial, MethodType):
        func = func.func if type(func) is partial else func.__func__
    if type(func) is not FunctionType:
        called = defined_by(type(func), "__call__")  # of an instance
        func = called if type(called) is FunctionType else func
    code = _attribute(func, "__code__")
    return code if type(code) is CodeType else None


def _attribute(func: object, name: str, default: Any = None) -> Any:
    if type(func) is FunctionType or type(func) is MethodType:
        return getattr(func, name, default)  # whose own code that runs
    return attribute_of(func, name, default)


def _wrong_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    passes = f"a step is called with the keywords {INITIAL} and {PREVIOUS}"
    if args:
        return f"{name}() takes no positional arguments ({len(args)} given): {passes}"
    unknown = next(each for each in kwargs if each not in _CALL_KEYWORDS)
    return f"{name}() takes no argument {unknown!r}: {passes}"


def check_callback(callback: object, keywords: Iterable[str], given: str) -> None:
    """Check that a callback can be called with some keywords, and that the call then runs it.

    Args:
        callback: The callback.
        keywords: The keywords.
        given: What was given as it, for the message.

    Raises:
        NotCallableObject: It cannot.
    """
    takes_them = f"a callable that takes {', '.join(f'{name}=' for name in keywords)}"
    if is_a(callback, Action):
        raise NotCallableObject(given, f"{takes_them}; it is a step: add steps as add([a, b])")
    if not callable(callback):
        raise NotCallableObject(given, takes_them)
    takes = own_parameters(callback)
    if takes is not None and not takes.take(*keywords):
        raise NotCallableObject(given, f"{takes_them} and needs nothing else")
    if takes is not None and takes.deferred:
        raise NotCallableObject(given, f"{takes_them} and runs at its call: no generator, no async")


def methods_of(kind: type) -> list[Action]:
    """Return the steps among a class's methods; when it is decorated all of them are known."""
    found = (value for owner in mro_of(kind) for value in namespace_of(owner).values())
    bare = (each.__func__ if type(each) in (staticmethod, classmethod) else each for each in found)
    return [each for each in bare if is_a(each, Action)]


def _unmet(func: Callable[..., Any], name: str) -> tuple[str, str] | None:
    own = own_parameters(func)
    if own is not None:
        passed = {INITIAL, PREVIOUS} & set(own.by_keyword)
        for parameter in own.required:
            if parameter not in passed:
                return name, parameter
    # The methods of a class that is a step are known by now; those that have an instance of
    # it as `self` get it.
    for method in namespace_of(func).values() if is_a(func, type) else ():
        if is_a(method, Action) and method.func is not None and takes_self(method):
            unmet = _unmet(MethodType(method.func, func), f"{name}.{method.name}")
            if unmet is not None:
                return unmet
    return None


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


if TYPE_CHECKING:
    _P = ParamSpec("_P")
    _R = TypeVar("_R")
    _C = TypeVar("_C")

    class ActionDecorator(Protocol):
        """What `action(...)` with options returns."""

        @overload
        def __call__(self, func: type[_C], /) -> type[_C]: ...  # type: ignore[overload-overlap]
        @overload
        def __call__(self, func: Callable[_P, _R], /) -> Action[_P, _R]: ...
        def __call__(self, func: Any, /) -> Any:
            """Make a step of a function or class."""

    # A class stays a type for type checkers, which look at nothing else in annotations.
    @overload
    def action(func: type[_C], /) -> type[_C]: ...  # type: ignore[overload-overlap]
    @overload
    def action(func: Callable[_P, _R], /) -> Action[_P, _R]: ...
    @overload
    def action(
        *, retry: int = 1, timeout: float = 0, retry_delay: float = 1, backoff: bool = False
    ) -> ActionDecorator: ...
    def action(*args: Any, **kwargs: Any) -> Any:
        """Make a step; see `Action`."""

else:
    # A class is its own decorator; type checkers need the two forms told apart.
    action = Action
