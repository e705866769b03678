"""Makes the spans of a worker, which nothing there exports: their attempt takes them."""

from __future__ import annotations

import os
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import RandomIdGenerator, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from dotflow_otel import conventions as names
from dotflow_otel.span_values import values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Link, Span, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from dotflow_otel.span_values import SpanValues


class Recorder(Protocol):
    """What takes the spans of one attempt.

    Attributes:
        sampled: Whether its trace is sampled.
    """

    sampled: bool

    def take(self, values: SpanValues) -> None:
        """Take a span that has ended."""


# Whose step this code runs in. A thread that a step started has no copy of its context: it
# belongs to the only attempt that runs, if there is no other.
_current: Final[ContextVar[Recorder | None]] = ContextVar("dotflow_recorder", default=None)
_active: Final[list[Recorder]] = []

_planned_id: Final[ContextVar[int | None]] = ContextVar("dotflow_planned_id", default=None)


class Recording:
    """While it is entered, spans that end in this context belong to a recorder."""

    __slots__ = ("_recorder", "_token")

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._token: Any = None

    def begin(self) -> None:
        """Begin."""
        self._token = _current.set(self._recorder)
        _active.append(self._recorder)

    def end(self) -> None:
        """End: what comes later has come too late."""
        _active.remove(self._recorder)
        _current.reset(self._token)


def recorder_here() -> Recorder | None:
    """Give what takes a span that ends here, or None where it is too late."""
    found = _current.get()
    if found is None:
        return _active[0] if len(_active) == 1 else None
    return found if found in _active else None


class RelayProvider(TracerProvider):
    """A tracer provider whose spans go to the attempt that they belong to."""

    def __init__(self) -> None:
        super().__init__(
            sampler=_CallersDecision(),
            # Each run's own stands in its place when the spans have arrived there.
            resource=Resource.get_empty(),
            shutdown_on_exit=False,
            id_generator=_Ids(),
        )
        super().add_span_processor(_Relay())

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Do nothing: the processors are in the run's process, where all spans go."""

    def shutdown(self) -> None:
        """Do nothing: further attempts are to come."""


class _Relay(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        recorder = recorder_here()
        if recorder is not None and span.context is not None and span.context.trace_flags.sampled:
            recorder.take(values_of(span))


class _CallersDecision(Sampler):
    """Samples what is sampled in the run's process; a new trace as that of its attempt."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,  # noqa: ARG002 - the signature of the interface
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Decide."""
        parent = trace.get_current_span(parent_context).get_span_context()
        if parent.is_valid:
            sampled = parent.trace_flags.sampled
        else:
            recorder = recorder_here()
            sampled = recorder is not None and recorder.sampled
        decision = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
        return SamplingResult(decision, attributes if sampled else None, parent.trace_state)

    def get_description(self) -> str:
        """Name it."""
        return "dotflow.CallersDecision"


class _Ids(RandomIdGenerator):
    def generate_span_id(self) -> int:
        planned = _planned_id.get()
        return super().generate_span_id() if planned is None else planned


def start_planned(name: str, span_id: int, context: Context, attributes: Attributes) -> Span:
    """Start a span with an id that was given out beforehand."""
    token = _planned_id.set(span_id)
    try:
        return relay_tracer().start_span(name, context, attributes=attributes)
    finally:
        _planned_id.reset(token)


@cache
def relay_provider() -> RelayProvider:
    """Give the one of this process; made when it is first asked for."""
    return RelayProvider()


@cache
def relay_tracer() -> trace.Tracer:
    """Give what makes the spans of attempts."""
    from dotflow import __version__  # noqa: PLC0415 - the package imports its providers

    return relay_provider().get_tracer(names.SCOPE, __version__)


@cache
def install() -> None:
    """Make the relay the global provider of a worker process, unless there is one."""
    # Asking for the global one would make the one that this variable names, which has no
    # exporter here.
    named = os.environ.pop(OTEL_PYTHON_TRACER_PROVIDER, None)
    try:
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(relay_provider())
    finally:
        if named is not None:
            os.environ[OTEL_PYTHON_TRACER_PROVIDER] = named
