"""Where spans go that a step opens in a worker: into records that return with the outcome.

A worker has no exporter and no configuration, so in ours the relay is the global tracer
provider. Where a provider is set already (in the application's own process, or in a worker
that its owner configured) that one is used, and nothing is relayed.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import baggage, trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import get_current_span

from dotflow import __version__
from dotflow.core.process import fork_safe_lock, once
from dotflow_otel import conventions as names
from dotflow_otel._process import is_forked_from
from dotflow_otel.hidden_variables import hidden_variables
from dotflow_otel.plain import to_plain
from dotflow_otel.relay.buffers import AttemptBuffer, BufferRegistry, Drained
from dotflow_otel.span_ids import deferred
from dotflow_otel.spans.record import Begun, SpanRecord, plain_attributes, record_of, scope_of
from dotflow_otel.spans.sdk_tracer import replace_processors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from dotflow_otel._process import Process


# A span whose parent began longer ago than so many others is known by its context alone.
_REMEMBERED: Final = 10_000

# The attempt that this code runs for, also in what has a copy of its context.
_current: Final[ContextVar[SpanBuffer | None]] = ContextVar("dotflow_spans", default=None)


def _buffer_here() -> SpanBuffer | None:
    found = _current.get()
    if found is None:
        # Where the attempt began before OpenTelemetry was imported.
        attempt = deferred.get()
        found = None if attempt is None else attempt.buffer
    return found


class SpanBuffer(AttemptBuffer[SpanRecord]):
    """The buffer of an attempt's spans.

    Args:
        owner: Tells the process that owns the run.
        run: Tells the run from others of that process.
        on_put: As of `AttemptBuffer`.
        sampled: What the run's sampler decided; spans without a parent follow it where there is
            no `sampler`.
        sampler: The application's, where that decides here; None: it does in the run's process.
        baggage: The caller's, which spans have unless the step sets another.
    """

    __slots__ = ("announced", "baggage", "begun", "sampled", "sampler")

    def __init__(
        self,
        owner: Process,
        run: int,
        on_put: Callable[[int], object] | None = None,
        *,
        sampled: bool,
        sampler: Sampler | None = None,
        baggage: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(owner, run, on_put)
        self.sampled = sampled
        self.sampler = sampler
        self.baggage = baggage or {}
        # Spans that have begun and not ended, by their ids, and those of them that the run knows.
        self.begun: dict[int, Begun] = {}
        self.announced: set[int] = set()

    def enter(self) -> None:
        """Assign what runs in this context from now on to the attempt."""
        _current.set(self)

    def unannounced(self) -> list[SpanRecord]:
        """Return the spans that have begun and that the run does not know; it does from now on."""
        # The copy is made in one step, while other spans begin.
        new = [each for each in list(self.begun.items()) if each[0] not in self.announced]
        self.announced.update(span_id for span_id, _ in new)
        return [begun.record() for _, begun in new]


class SpanBufferRegistry:
    """Finds the buffer of a span: that of its parent, else that of the code that opens it."""

    def __init__(self) -> None:
        self._by_span: dict[int, SpanBuffer | None] = {}

    def begin(self, buffer: SpanBuffer, span_id: int) -> None:
        """Assign what runs below the span of an attempt to that."""
        if len(self._by_span) >= _REMEMBERED:
            self._forget_some()
        self._by_span[span_id] = buffer

    def end(self) -> None:
        """Assign what runs in this context to no attempt."""
        _current.set(None)

    def note(self, span: ReadableSpan) -> SpanBuffer | None:
        """Note whose a span is that begins now, and return its buffer."""
        above = None if span.parent is None else self._by_span.get(span.parent.span_id)
        if span.context is None:
            return None
        if len(self._by_span) >= _REMEMBERED:
            self._forget_some()
        buffer = self._by_span[span.context.span_id] = above or _buffer_here()
        return buffer

    def _forget_some(self) -> None:
        # Others may note spans meanwhile: the list is made in one go.
        for span_id in list(self._by_span)[: _REMEMBERED // 10]:
            self._by_span.pop(span_id, None)

    def buffer_of(self, span: ReadableSpan) -> SpanBuffer | None:
        """Return the buffer of a span that has begun."""
        here = _buffer_here()
        return here if span.context is None else self._by_span.get(span.context.span_id, here)

    def buffer_below(self, context: Context | None) -> SpanBuffer | None:
        """Return the buffer for a span that begins in a context; None: the current one."""
        above = self._by_span.get(get_current_span(context).get_span_context().span_id)
        return above or _buffer_here()

    def buffer_here(self) -> SpanBuffer | None:
        """Return the buffer of the code that runs now, by its context, else by its current span."""
        here = _buffer_here()
        if here is not None:
            return here
        return self._by_span.get(get_current_span().get_span_context().span_id)


_MOST_IN_A_SPAN: Final = 10_000


class Collected(NamedTuple):
    """What an outcome takes along.

    Attributes:
        spans: Those of its attempt, and late ones of its run.
        dropped: How many more there were than there was room for.
        others: Orphans of other runs of its application, each with the run.
    """

    spans: Sequence[SpanRecord]
    dropped: int
    others: Sequence[tuple[int, SpanRecord]]


_NOTHING: Final = Collected((), 0, ())
_NONE_DRAINED: Final[Drained[SpanRecord]] = Drained((), 0)

# Spans of an attempt that never end are bounded as well.
_MOST_BEGUN: Final = 10_000


class Relay:
    """Records the spans that steps open in this process.

    Args:
        buffers: Where finished spans wait to be taken.

    Attributes:
        host: The provider of the SDK that somebody else has set in this process, if any, and
            that is not the run's own in a forked child.
    """

    def __init__(self, buffers: BufferRegistry[SpanRecord] | None = None) -> None:
        self._buffers: BufferRegistry[SpanRecord] = buffers or BufferRegistry()
        self._whose = SpanBufferRegistry()
        self._roots = _LikeTheRun(self._buffers, self._whose)
        sampler = _AsTheApplication(self._whose, ParentBased(self._roots))
        self._has_looked = False
        self._looking = fork_safe_lock()
        self.host: TracerProvider | None = None
        # Whose spans they are, the application knows.
        self._provider = TracerProvider(
            sampler,
            Resource.get_empty(),
            shutdown_on_exit=False,
            span_limits=worker_limits(),
        )
        self._recorder = _Recorder(self._buffers, self._whose)
        self._provider.add_span_processor(self._recorder)
        self._tracer = self._provider.get_tracer(names.SCOPE, __version__)

    def begin(self, buffer: SpanBuffer, span_id: int, *, is_late: bool = False) -> None:
        """Become the global provider where there is none, and record for an attempt.

        Args:
            buffer: Where its spans are kept.
            span_id: The id of its own span.
            is_late: Whether its outcome has been sent: what comes goes along with the next one.
        """
        # It is set once in a process, and so looked for once.
        if not self._has_looked:
            self._look(buffer.owner)
        if is_late:
            buffer.is_open = False
        else:
            self._roots.sampled = buffer.sampled
            self._buffers.open(buffer)
        self._whose.begin(buffer, span_id)

    def _look(self, owner: Process) -> None:
        # No step runs before it is done, whose spans would go nowhere.
        with self._looking:
            if self._has_looked:
                return
            found = _global_provider()
            if isinstance(found, trace.ProxyTracerProvider):
                trace.set_tracer_provider(self._provider)
            elif isinstance(found, TracerProvider) and not self._diverts(found, owner):
                self.host = found
            self._has_looked = True

    def _diverts(self, provider: TracerProvider, owner: Process) -> bool:
        # A forked child has the run's own. Its exporters would send what they have got when
        # they please, and lose the rest at the child's end.
        if not (is_forked_from(owner) and replace_processors(provider, self._recorder)):
            return False
        # It has the application's sampler.
        self._recorder.is_decided = True
        return True

    def end(self, buffer: SpanBuffer) -> Collected:
        """Return what was recorded for an attempt, and what is late of its application, once."""
        self._whose.end()
        found = self._buffers.close(buffer)
        if found is None:
            return _NOTHING
        own, late = found
        if not late.items:
            return Collected(own.items, own.dropped + late.dropped, ())
        of_run = (each.item for each in late.items if each.run in (None, buffer.run))
        others = [
            (each.run, each.item) for each in late.items if each.run not in (None, buffer.run)
        ]
        return Collected((*of_run, *own.items), own.dropped + late.dropped, others)

    def take_some(
        self, buffer: SpanBuffer
    ) -> tuple[Drained[SpanRecord], Sequence[SpanRecord]] | None:
        """Return some of what was recorded for an attempt that goes on, if anything.

        Returns:
            Spans that have ended, and the others that have begun since this was last called.
        """
        # Together: the run knows of a span's beginning before it gets those below it.
        with self._buffers.lock:
            taken = self._buffers.take_some(buffer)
            begun = buffer.unannounced()
        return (taken or _NONE_DRAINED, begun) if taken or begun else None

    def started_below(self, name: str, attributes: Mapping[str, Any]) -> trace.Span:
        """Begin a span of our own below the current one."""
        return self._tracer.start_span(name, None, trace.SpanKind.INTERNAL, attributes)

    def owner_here(self) -> Process | None:
        """Return the application whose attempt this code runs for, if a span or context tells."""
        buffer = self._whose.buffer_here()
        return None if buffer is None else buffer.owner


@cache
def worker_limits() -> SpanLimits:
    """Return limits that only keep a span from filling the memory.

    Those of the application count, where the spans arrive.
    """
    return SpanLimits(
        max_attributes=_MOST_IN_A_SPAN,
        max_events=_MOST_IN_A_SPAN,
        max_links=_MOST_IN_A_SPAN,
        max_span_attributes=_MOST_IN_A_SPAN,
        max_event_attributes=_MOST_IN_A_SPAN,
        max_link_attributes=_MOST_IN_A_SPAN,
        max_attribute_length=SpanLimits.UNSET,
        max_span_attribute_length=SpanLimits.UNSET,
    )


@once
def relay_here() -> Relay:
    """Return the relay of this process."""
    return Relay()


def _global_provider() -> trace.TracerProvider:
    # The look-up would make a provider where this variable names one. The application's has
    # done so; here nobody would hear of its spans.
    with hidden_variables((OTEL_PYTHON_TRACER_PROVIDER,)):
        return trace.get_tracer_provider()


class _Recorder(SpanProcessor):
    def __init__(self, buffers: BufferRegistry[SpanRecord], whose: SpanBufferRegistry) -> None:
        self._buffers = buffers
        self._whose = whose
        self._places = count(1)
        # Whether the provider asks the application's sampler about every span.
        self.is_decided = False

    def _decided(self, buffer: SpanBuffer | None) -> bool:
        return self.is_decided or (buffer is not None and buffer.sampler is not None)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        buffer = self._whose.note(span)
        if buffer is None or span.context is None or len(buffer.begun) >= _MOST_BEGUN:
            return
        attributes = plain_attributes(span.attributes)
        # Processors of the application may look for it: those that copy it to spans do.
        own = baggage.get_all(parent_context)
        told = None if own == buffer.baggage else {name: to_plain(own[name]) for name in own}
        begun = Begun(next(self._places), span.name, attributes, span, self._decided(buffer), told)
        buffer.begun[span.context.span_id] = begun
        if buffer.on_put is not None and buffer.is_open:
            buffer.on_put(0)

    def on_end(self, span: ReadableSpan) -> None:
        buffer = self._whose.buffer_of(span)
        decided = self._decided(buffer)
        if buffer is None or span.context is None:
            self._buffers.put(buffer, record_of(span, scope_of(span), is_decided=decided))
            return
        span_id = span.context.span_id
        begun, place = buffer.begun.get(span_id), next(self._places)
        record = record_of(span, scope_of(span), begun, place, is_decided=decided)
        with self._buffers.lock:
            buffer.begun.pop(span_id, None)
            buffer.announced.discard(span_id)
            self._buffers.put(buffer, record)


class _AsTheApplication(Sampler):
    """Asks the application's sampler, where that has come along with the attempt.

    Args:
        whose: Tells whose attempt's a span is.
        otherwise: Decides where it has not; then it is asked in the run's process.
    """

    def __init__(self, whose: SpanBufferRegistry, otherwise: Sampler) -> None:
        self._whose = whose
        self._otherwise = otherwise

    def should_sample(
        self, parent_context: Context | None, *about: Any, **more: Any
    ) -> SamplingResult:
        buffer = self._whose.buffer_below(parent_context)
        found = None if buffer is None else buffer.sampler
        # What else the SDK tells differs between its releases, and a sampler takes what it needs.
        return (found or self._otherwise).should_sample(parent_context, *about, **more)

    def get_description(self) -> str:
        return "AsTheApplication"


class _LikeTheRun(Sampler):
    """Samples spans without a parent as the run is sampled whose step opens them.

    Where nothing tells which run that is, and it may be one of several applications, none gets
    the span.
    """

    def __init__(self, buffers: BufferRegistry[SpanRecord], whose: SpanBufferRegistry) -> None:
        self._buffers = buffers
        self._whose = whose
        self.sampled = True

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        decided = ALWAYS_ON if self._is_sampled() else ALWAYS_OFF
        return decided.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def _is_sampled(self) -> bool:
        buffer = self._whose.buffer_here()
        if buffer is not None:
            return buffer.sampled
        return self.sampled and self._buffers.only_owner is not None

    def get_description(self) -> str:
        return "LikeTheRun"
