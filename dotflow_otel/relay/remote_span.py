"""The span of an attempt in a worker: sent along with it, and returned with its outcome.

Each attempt pays for what is sent and returned, so both are small: what is the same for a
whole run is shared data, which a worker reads once, and of a span to which the step added
nothing only its two times come back.
"""

from __future__ import annotations

import os
import socket
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import baggage
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from dotflow import __version__
from dotflow.abc.scope import RemoteScope
from dotflow.core.failure import Failure
from dotflow.core.process import once
from dotflow_otel import conventions as names
from dotflow_otel._process import is_forked_from
from dotflow_otel.relay.buffers import Returned
from dotflow_otel.relay.span_relay import SpanBuffer, relay_here, worker_limits
from dotflow_otel.span_ids import SpanClock
from dotflow_otel.spans.attributes import MethodScope, mark_failed
from dotflow_otel.spans.record import record_of
from dotflow_otel.spans.sdk_access import FastSpan, FastSpanFactory, fast_factory
from dotflow_otel.spans.sdk_tracer import (
    PresetIdSpan,
    instrumentation_of,
    is_switched_on,
    limits_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.sdk.trace import Span as SdkSpan
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Span

    from dotflow.core.action import Action
    from dotflow_otel._process import Process
    from dotflow_otel.spans.record import SpanRecord


class HostTracer:
    """Makes spans that go where the worker's owner has them go, and nowhere else.

    Of an attempt the worker knows all but the time that it waited, which the run reckons.

    Args:
        tracer: Of the provider that is set there.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def started(
        self, name: str, own: SpanContext, parent: SpanContext, attributes: dict[str, Any]
    ) -> PresetIdSpan:
        """Begin the span of an attempt, with the ids that its run has chosen."""
        tracer = self._tracer
        here: dict[str, Any] = {
            names.PROCESS_PID: os.getpid(),
            names.HOST_NAME: socket.gethostname(),
        }
        span = PresetIdSpan(
            name,
            own,
            parent,
            tracer.sampler,
            resource=tracer.resource,
            attributes={**attributes, **here},
            kind=SpanKind.INTERNAL,
            span_processor=tracer.span_processor,
            limits=limits_of(tracer),
            instrumentation_scope=instrumentation_of(tracer),
        )
        span.start(parent_context=set_span_in_context(NonRecordingSpan(parent)))
        return span

    def started_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        """Begin a span below the current one."""
        return self._tracer.start_span(name, None, SpanKind.INTERNAL, attributes)


def host_tracer(provider: TracerProvider, owner: Process) -> HostTracer | None:
    """Return what makes spans with a provider that is set in this process.

    None where it makes none, or is not of this process: a forked child has that of the run,
    whose processors may never export there.
    """
    tracer = provider.get_tracer(names.SCOPE, __version__)
    if is_forked_from(owner) or not isinstance(tracer, Tracer) or not is_switched_on(tracer):
        return None
    return HostTracer(tracer)


_ids = RandomIdGenerator()


class AttemptHere(Protocol):
    """Begins spans of the application's where an attempt runs in a thread of the run's process."""

    def begin(self) -> Span:
        """Begin the span of the attempt, for processors to see it before what is below it."""

    def start_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        """Begin a span below the current one."""


class SharedSpanData(Protocol):
    """What the spans of a run's attempts have in common: see `RemoteSpans`."""

    recording: bool
    baggage: Mapping[str, Any]
    owner: Process
    run: int

    @property
    def is_away(self) -> bool:
        """Whether this is another process than the run's."""
        ...

    @property
    def sampled(self) -> bool:
        """Whether the spans are exported."""
        ...

    @property
    def sampler(self) -> Sampler | None:
        """The application's sampler, where it is asked here."""
        ...

    def apply_set_up(self) -> None:
        """Set up in a worker what the application has set up, once."""

    def ids(self, span_id: int, *, is_remote: bool) -> SpanContext:
        """Return the context of one of the spans."""
        ...

    def scope(self, *arguments: Any) -> RemoteScope:
        """Return the scope of an attempt."""
        ...


class RemoteSpan(RemoteScope):
    """Makes the span of an attempt, and makes it the current one, where the attempt runs.

    Args:
        shared: What it has in common with the run's other attempts.
        parent_id: The id of the task's span.
        span_id: Its own id, which the run has chosen.
        attributes: What it begins with.

    Attributes:
        here: What begins the span as one of the application's, where the attempt runs in a thread
            of the run's process. It does not travel.
    """

    shared: SharedSpanData
    here: AttemptHere | None = None

    def __init__(
        self, shared: SharedSpanData, parent_id: int, span_id: int, attributes: dict[str, Any]
    ) -> None:
        self.shared = shared
        self.arguments = parent_id, span_id, attributes
        self._span: SdkSpan | None = None
        self._clock: SpanClock | None = None
        self._methods: list[ReadableSpan] = []
        self._buffer: SpanBuffer | None = None
        self._host: HostTracer | None = None
        self._here: Span | None = None
        self._token: Token[Context] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteSpan, (self.shared, *self.arguments)

    def prepare(self) -> None:
        """Record the spans that the step opens here, where nobody else does."""
        if self.shared.is_away:
            self.open_buffer().enter()

    def open_buffer(self, *, is_late: bool = False) -> SpanBuffer:
        """Record spans that are opened below this one; return where they are kept.

        Args:
            is_late: Whether the attempt has ended, and what it recorded has been collected.
        """
        shared = self.shared
        relay = relay_here()
        buffer = SpanBuffer(
            shared.owner,
            shared.run,
            self.on_recorded,
            sampled=shared.sampled,
            sampler=shared.sampler,
            baggage=shared.baggage,
        )
        relay.begin(buffer, self.arguments[1], is_late=is_late)
        self._buffer = buffer
        shared.apply_set_up()
        if relay.host is not None:
            self._host = host_tracer(relay.host, shared.owner)
        return buffer

    def __enter__(self) -> None:
        self._token = attach(self.begin())

    def begin(self, started: int | None = None, clock: SpanClock | None = None) -> Context:
        """Begin the span, and return the context of the step, with it as the current span.

        Args:
            started: When it began, in nanoseconds since the epoch, where that was before there was
                a current context; None: now, in that.
            clock: Tells the time since then; None: one of its own.
        """
        shared = self.shared
        parent_id, span_id, attributes = self.arguments
        ids = shared.ids(span_id, is_remote=False)
        span: Span
        if self.here is not None and shared.recording and not shared.is_away:
            span = self._here = self.here.begin()
        elif shared.recording:
            parent = shared.ids(parent_id, is_remote=True)
            if self._host is None:
                span = _started(names.ATTEMPT_SPAN, ids, parent, dict(attributes), started)
            else:
                span = self._host.started(names.ATTEMPT_SPAN, ids, parent, dict(attributes))
            self._span = span
            self._clock = clock or SpanClock()
        else:
            span = NonRecordingSpan(ids)
        current = get_current() if started is None else Context()
        for name, value in shared.baggage.items():
            current = baggage.set_baggage(name, value, current)
        return set_span_in_context(span, current)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            detach(self._token)
        span = self._span
        if span is None or self._clock is None:
            return
        if self._host is not None and error is not None:
            mark_failed(span, Failure.of(error), self._clock.now())
        self.end(self._clock.now())

    def end(self, ended: int) -> None:
        """End the span, if there is one, at a time in nanoseconds since the epoch."""
        span = self._span
        if type(span) is FastSpan:
            span.end_without_processors(ended)
        elif span is not None:
            span.end(ended)

    def method_scope(self, action: Action, attempt: int | None) -> MethodScope | None:
        """Return what makes a span of a method of a class step, or of a try of it."""
        if self._span is None and self._here is None:
            return None
        return MethodScope(self._start_below, action, attempt)

    def _start_below(self, name: str, attributes: Mapping[str, Any]) -> Span:
        if self.here is not None and self._here is not None:
            return self.here.start_below(name, attributes)
        if self._host is not None:
            return self._host.started_below(name, attributes)
        if self._buffer is not None:
            # It comes by itself, also where its thread is abandoned and it ends late.
            return relay_here().started_below(name, attributes)
        parent = get_current_span().get_span_context()
        own = SpanContext(
            parent.trace_id,
            _ids.generate_span_id(),
            is_remote=False,
            trace_flags=parent.trace_flags,
            trace_state=parent.trace_state,
        )
        span = _started(name, own, parent, dict(attributes))
        self._methods.append(span)
        return span

    def drain(self) -> bytes | None:
        """Return some of what was recorded below the span, as `Returned` packs it."""
        found = None if self._buffer is None else relay_here().take_some(self._buffer)
        if found is None:
            return None
        (ended, dropped), begun = found
        started = 0 if self._span is None else self._span.start_time or 0
        is_theirs = self._host is not None and self._span is not None
        return Returned((started, 0), None, ended, dropped, (), is_theirs, begun).packed()

    def collect(self) -> bytes | None:
        """Return what was recorded, as `Returned` packs it, called after the exit."""
        buffer = self._buffer
        records, dropped, others = ((), 0, ()) if buffer is None else relay_here().end(buffer)
        # A method's span is open where its thread was abandoned.
        methods = [record_of(span, None) for span in self._methods if span.end_time is not None]
        below = (*records, *methods)
        is_theirs = self._host is not None and self._span is not None
        times, own = (None, None) if is_theirs else self._told()
        if not (times or own or below or dropped or others or is_theirs):
            return None
        return Returned(times, own, below, dropped, others, is_theirs).packed()

    def _told(self) -> tuple[tuple[int, int] | None, SpanRecord | None]:
        span = self._span
        if span is None or span.start_time is None or span.end_time is None:
            return None, None
        if self._is_untouched(span):
            return (span.start_time, span.end_time), None
        return None, record_of(span, None)

    def _is_untouched(self, span: ReadableSpan) -> bool:
        if type(span) is FastSpan:
            return span.is_unmodified(names.ATTEMPT_SPAN, self.arguments[2])
        return (
            span.attributes == self.arguments[2]
            and not span.events
            and not span.links
            and span.status.is_unset
            and span.name == names.ATTEMPT_SPAN
        )


def _started(
    name: str,
    own: SpanContext,
    parent: SpanContext,
    attributes: dict[str, Any],
    started: int | None = None,
) -> SdkSpan:
    tracer, factory = _factories()
    if started is None:
        started = time_ns()
    if factory is not None:
        made = factory.start_preset(name, own, parent, None, attributes, started)
        if made is not None:
            return made
    span = PresetIdSpan(
        name,
        own,
        parent,
        resource=tracer.resource,
        attributes=attributes,
        limits=worker_limits(),
    )
    span.start(started)
    return span


@once
def _factories() -> tuple[Tracer, FastSpanFactory | None]:
    # Nothing is exported from here, so there is no processor, nor a resource.
    provider = TracerProvider(
        ALWAYS_ON, Resource.get_empty(), shutdown_on_exit=False, span_limits=worker_limits()
    )
    tracer = provider.get_tracer(names.SCOPE)
    if not isinstance(tracer, Tracer):
        raise TypeError(f"the SDK gave a {type(tracer).__name__} where it should give a Tracer")
    return tracer, fast_factory(tracer, tracer.start_span(names.ATTEMPT_SPAN), SpanClock())
