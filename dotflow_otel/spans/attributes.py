"""What spans tell of code and of failures, and the span of a method of a class step."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.context import attach, detach
from opentelemetry.trace import StatusCode, set_span_in_context

from dotflow.core.action import Action
from dotflow.core.failure import Failure
from dotflow.core.user_objects import attribute_of, is_a, namespace_of
from dotflow_otel import conventions as names
from dotflow_otel.conventions import CODE_FILE, CODE_FUNCTION, CODE_LINE, TASK_TIMEOUT
from dotflow_otel.plain import bounded, escape_unencodable
from dotflow_otel.span_ids import SpanClock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span


_MAX_WRAPPERS: Final = 32
_METHODS: Final = (FunctionType, staticmethod, classmethod, Action)


def step_attributes(step: Action) -> Mapping[str, str | int | float]:
    """Return the attributes that are the same for every task of a step."""
    return {**code_attributes(step), TASK_TIMEOUT: float(step.timeout)}


def code_attributes(step: Action) -> Mapping[str, str | int | float]:
    """Return the attributes that tell where the code of a step, or of a method of it, stands."""
    return _location(step.func)


def _location(function: Any) -> dict[str, str | int | float]:
    function = _unwrapped(function)
    module = attribute_of(function, "__module__")
    name = attribute_of(function, "__qualname__")
    if not (type(module) is str and type(name) is str):
        return {}
    location: dict[str, str | int | float] = {CODE_FUNCTION: escape_unencodable(f"{module}.{name}")}
    file, line = _place_of_class(function) if is_a(function, type) else _place(function)
    if file is not None:
        location[CODE_FILE] = escape_unencodable(file)
    if line is not None:
        location[CODE_LINE] = line
    return location


def _unwrapped(function: Any) -> Any:
    # A limit, because an object may answer to any name with itself.
    for _ in range(_MAX_WRAPPERS):
        inner = attribute_of(function, "__wrapped__")
        if inner is None:
            break
        function = inner
    return function


def _place(function: Any) -> tuple[str | None, int | None]:
    code = attribute_of(function, "__code__")
    return (code.co_filename, code.co_firstlineno) if type(code) is CodeType else (None, None)


def _place_of_class(kind: type) -> tuple[str | None, int | None]:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    # Python before 3.13 does not know a class's line; the first of its methods is inside.
    # Other attributes may be lazy ones, which are not to be evaluated.
    own = (each for each in namespace_of(kind).values() if type(each) in _METHODS)
    lines = [line for _, line in map(_place, map(_unwrapped, own)) if line]
    line = getattr(kind, "__firstlineno__", None) or min(lines, default=None)
    return file, line


def mark_failed(span: Span, failure: Failure, timestamp: int | None = None) -> None:
    """Write a failure into a span: its status, its type and the exception.

    Args:
        span: The span.
        failure: The failure.
        timestamp: When it happened, in nanoseconds since the epoch; None: now.
    """
    if not span.is_recording():
        return
    span.set_attribute(names.ERROR_TYPE, failure.error_type)
    span.add_event(names.EXCEPTION_EVENT, exception_attributes(failure), timestamp)
    span.set_status(StatusCode.ERROR, description_of(failure))


def exception_attributes(failure: Failure) -> Mapping[str, str]:
    """Return the attributes of the event that tells of an exception."""
    return {
        names.EXCEPTION_TYPE: failure.exception_type,
        names.EXCEPTION_MESSAGE: bounded(failure.message),
        names.EXCEPTION_STACKTRACE: bounded(failure.traceback),
    }


def description_of(failure: Failure) -> str:
    """Return the description of the status of a span that failed."""
    text = f"{failure.name}: {failure.message}" if failure.message else failure.name
    return bounded(text)


class StartSpan(Protocol):
    """Starts a span below the current one."""

    def __call__(self, name: str, attributes: Mapping[str, Any], /) -> Span:
        """Start it."""
        ...


class MethodScope:
    """Makes a span of a method of a class step, or of one of several tries of it.

    Args:
        start: Starts the span.
        action: The method.
        attempt: The number of the try; None: the method as a whole.
    """

    __slots__ = ("_action", "_attempt", "_clock", "_span", "_start", "_token")

    def __init__(self, start: StartSpan, action: Action, attempt: int | None) -> None:
        self._start = start
        self._action = action
        self._attempt = attempt
        self._span: Span | None = None
        self._clock: SpanClock | None = None
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        self._span = span = self._start(*self._told())
        self._clock = SpanClock()
        self._token = attach(set_span_in_context(span))

    def _told(self) -> tuple[str, Mapping[str, Any]]:
        if self._attempt is not None:
            return names.ATTEMPT_SPAN, {names.ATTEMPT_NUMBER: self._attempt}
        action = self._action
        return names.METHOD_SPAN.format(action.name), code_attributes(action)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._span is None or self._token is None or self._clock is None:
            return
        detach(self._token)
        if error is not None:
            mark_failed(self._span, Failure.of(error), self._clock.now())
        self._span.end(self._clock.now())
