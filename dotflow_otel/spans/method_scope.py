"""The span of one method of a class step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.context import attach, detach
from opentelemetry.trace import set_span_in_context

from dotflow.core.failure import Failure
from dotflow_otel import conventions as names
from dotflow_otel.spans.clock import SpanClock
from dotflow_otel.spans.code import code_attributes
from dotflow_otel.spans.failures import mark_failed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from dotflow.core.action import Action


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
