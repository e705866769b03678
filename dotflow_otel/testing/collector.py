"""Keeps spans in memory: those of a recording, and those that steps open meanwhile."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span


class SpanCollector(SpanProcessor):
    """Keeps what ends, and knows what has begun."""

    def __init__(self) -> None:
        self._finished: list[ReadableSpan] = []
        self._open: dict[int, str] = {}
        self._traces: set[int] = set()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Note that a span begins."""
        context = span.get_span_context()
        if context is not None:
            self._traces.add(context.trace_id)
            self._open[context.span_id] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span. One that ended in a worker is told of at its end alone."""
        context = span.get_span_context()
        if context is not None:
            self._traces.add(context.trace_id)
            self._open.pop(context.span_id, None)
        self._finished.append(span)

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        """What has ended, in that order."""
        return tuple(self._finished)

    @property
    def open(self) -> tuple[str, ...]:
        """The names of the spans that have begun and not ended."""
        return tuple(self._open.copy().values())

    def holds(self, trace_id: int) -> bool:
        """Tell whether a span of that trace was seen here."""
        return trace_id in self._traces

    def clear(self) -> None:
        """Forget what has ended."""
        self._finished.clear()


def provider_of(processor: SpanProcessor) -> TracerProvider:
    """Make a provider that samples everything, whatever OTEL_* variables say."""
    # A provider that is made where this says "true" makes nothing for ever.
    disabled = os.environ.pop(OTEL_SDK_DISABLED, None)
    try:
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.get_empty(), shutdown_on_exit=False
        )
    finally:
        if disabled is not None:
            os.environ[OTEL_SDK_DISABLED] = disabled
    provider.add_span_processor(processor)
    return provider


class Router(SpanProcessor):
    """Hands the spans of the global provider to the recording that they belong to.

    That is the one that knows their trace; for the first span of a trace, the one that was
    opened in this context, else the latest. Without a recording they are dropped.
    """

    def __init__(self) -> None:
        self._opened: tuple[SpanCollector, ...] = ()
        self._begun: dict[int, SpanCollector] = {}
        self._lock = Lock()
        self._here: ContextVar[SpanCollector | None] = ContextVar("recording", default=None)

    @contextmanager
    def to(self, collector: SpanCollector) -> Iterator[None]:
        """Hand spans to a collector, for a while."""
        outer = self._here.get()
        self._here.set(collector)
        with self._lock:
            self._opened = (*self._opened, collector)
        try:
            yield
        finally:
            with self._lock:
                self._opened = tuple(one for one in self._opened if one is not collector)
            self._here.set(outer)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Find the recording of a span that begins."""
        context = span.get_span_context()
        found = None if context is None else self._find(context.trace_id)
        if context is not None and found is not None:
            self._begun[context.span_id] = found
            found.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Hand a span on."""
        context = span.get_span_context()
        if context is None:
            return
        found = self._begun.pop(context.span_id, None) or self._knowing(context.trace_id)
        if found is not None:
            found.on_end(span)

    def _find(self, trace_id: int) -> SpanCollector | None:
        opened, here = self._opened, self._here.get()
        latest = opened[-1] if opened else None
        return self._knowing(trace_id) or (here if here in opened else latest)

    def _knowing(self, trace_id: int) -> SpanCollector | None:
        return next((one for one in reversed(self._opened) if one.holds(trace_id)), None)


# As global as the provider that it listens to.
_router: Final = Router()
_heard: Final[WeakSet[trace.TracerProvider]] = WeakSet()
_lock: Final = Lock()


@contextmanager
def global_spans_to(collector: SpanCollector) -> Iterator[None]:
    """Hand the spans of the global provider to a collector, for a while.

    Where the application has set no provider, one is set that stays, because the API has no
    way back; between recordings it drops what it is given. One of the application's own
    stays in its place and gets one more processor, if it takes any.
    """
    _hear_global_provider()
    with _router.to(collector):
        yield


def _hear_global_provider() -> None:
    with _lock:
        current = trace.get_tracer_provider()
        if current in _heard:
            return
        if isinstance(current, trace.ProxyTracerProvider):
            current = provider_of(_router)
            trace.set_tracer_provider(current)
        elif isinstance(current, TracerProvider):
            current.add_span_processor(_router)
        _heard.add(current)
