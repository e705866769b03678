"""Whose a span is that is opened in a worker: which attempt's, of which run."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import get_current_span

from dotflow_otel.relay.boxes import Box
from dotflow_otel.span_ids import deferred
from dotflow_otel.spans.record import Begun, SpanRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler

    from dotflow_otel.relay.process import Process

# A span whose parent began longer ago than so many others is known by its context alone.
_REMEMBERED: Final = 10_000

# The attempt that this code runs for, also in what has a copy of its context.
_current: Final[ContextVar[SpanBox | None]] = ContextVar("dotflow_spans", default=None)


def _box_here() -> SpanBox | None:
    found = _current.get()
    if found is None:
        # Where the attempt began before OpenTelemetry was imported.
        attempt = deferred.get()
        found = None if attempt is None else attempt.box
    return found


class SpanBox(Box[SpanRecord]):
    """The box of an attempt's spans.

    Args:
        owner: Tells the process that owns the run.
        run: Tells the run from others of that process.
        on_put: As of `Box`.
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


class SpanBoxes:
    """Finds the box of a span: that of its parent, else that of the code that opens it."""

    def __init__(self) -> None:
        self._by_span: dict[int, SpanBox | None] = {}

    def begin(self, box: SpanBox, span_id: int) -> None:
        """Assign what runs below the span of an attempt to that."""
        if len(self._by_span) >= _REMEMBERED:
            self._forget_some()
        self._by_span[span_id] = box

    def end(self) -> None:
        """Assign what runs in this context to no attempt."""
        _current.set(None)

    def note(self, span: ReadableSpan) -> SpanBox | None:
        """Note whose a span is that begins now, and return its box."""
        above = None if span.parent is None else self._by_span.get(span.parent.span_id)
        if span.context is None:
            return None
        if len(self._by_span) >= _REMEMBERED:
            self._forget_some()
        box = self._by_span[span.context.span_id] = above or _box_here()
        return box

    def _forget_some(self) -> None:
        # Others may note spans meanwhile: the list is made in one go.
        for span_id in list(self._by_span)[: _REMEMBERED // 10]:
            self._by_span.pop(span_id, None)

    def box_of(self, span: ReadableSpan) -> SpanBox | None:
        """Return the box of a span that has begun."""
        here = _box_here()
        return here if span.context is None else self._by_span.get(span.context.span_id, here)

    def box_below(self, context: Context | None) -> SpanBox | None:
        """Return the box of a span that is about to begin in a context; None: the current one."""
        above = self._by_span.get(get_current_span(context).get_span_context().span_id)
        return above or _box_here()

    def box_here(self) -> SpanBox | None:
        """Return the box of the code that runs now, by its context, else by its current span."""
        here = _box_here()
        if here is not None:
            return here
        return self._by_span.get(get_current_span().get_span_context().span_id)
