"""The spans of a run that steps open in workers, while they go on, in the run's process.

What a worker sends tells of starts and ends. Here they happen again, in the order in which they
happened there: a processor sees a parent begin before its children, and end after them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.trace import NonRecordingSpan, StatusCode

from dotflow_otel._process import for_each
from dotflow_otel.conventions import ERROR_TYPE
from dotflow_otel.relay.relaying import relaying

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext

    from dotflow_otel.relay.handover import Handover
    from dotflow_otel.spans.record import SpanRecord

# A span that began more than so many others ago is told by its ids alone.
_REMEMBERED: Final = 10_000


class _Moment(NamedTuple):
    """The start or the end of a span; they sort as they happened."""

    place: int
    is_end: bool
    time: int
    number: int
    record: SpanRecord


class LiveSpans:
    """Begins and ends what workers tell of.

    Args:
        handover: Makes the spans.
        context: The run's, with the caller's baggage.

    Attributes:
        handover: As above.
    """

    def __init__(self, handover: Handover, context: Context) -> None:
        self.handover = handover
        self._context = context
        # Those that have begun, also some of those that have ended: what is below one of these
        # finds it. And of those without an end how many links they began with.
        self._spans: dict[int, Span] = {}
        self._open: dict[int, int] = {}

    def add(self, context: SpanContext, span: Span | None) -> None:
        """Know a span, or of one that is not recorded the ids."""
        while len(self._spans) >= _REMEMBERED:
            try:
                forgotten = next(iter(self._spans))
            except RuntimeError:  # another thread adds one at this moment
                continue
            self._spans.pop(forgotten, None)
            self._open.pop(forgotten, None)
        self._spans[context.span_id] = NonRecordingSpan(context) if span is None else span

    def span_of(self, span_id: int) -> Span:
        """Return a span that is known, by its id."""
        return self._spans[span_id]

    def take_in(self, ended: Sequence[SpanRecord], begun: Sequence[SpanRecord] = ()) -> None:
        """Start and end spans.

        Args:
            ended: Those that have ended; some of them may be known to have begun.
            begun: Those that have begun and not ended.
        """
        moments = [
            _Moment(each.order[0], False, each.started, number, each)
            for number, each in enumerate((*ended, *begun))
            if each.context.span_id not in self._open
        ]
        moments += [
            _Moment(each.order[1], True, each.ended, number, each)
            for number, each in enumerate(ended)
        ]
        moments.sort()
        with relaying():
            for_each(self._happen, moments)

    def _happen(self, moment: _Moment) -> None:
        record = moment.record
        if moment.is_end:
            self.end(record)
        else:
            self._begin(record)

    def _begin(self, record: SpanRecord) -> None:
        above = None if record.parent is None else self._spans.get(record.parent.span_id)
        self.begin(record, above)

    def begin(self, record: SpanRecord, above: Span | None) -> None:
        """Start a span.

        Args:
            record: The span.
            above: Its parent, where that is a span of this process.
        """
        span = self.handover.start(record, above, self._context)
        self.add(record.context.restored(), span)
        self._open[record.context.span_id] = len(record.links)

    def end(self, record: SpanRecord) -> None:
        """End a span that has begun, if it has."""
        links = self._open.pop(record.context.span_id, None)
        span = self._spans.get(record.context.span_id)
        if links is not None and span is not None:
            self.handover.end(span, record, links)

    def lose(self, begun: Collection[int], ended: int, error_type: str, description: str) -> None:
        """End spans that their worker will not.

        Args:
            begun: The ids of spans that had begun; some of them may have ended.
            ended: When, in nanoseconds since the epoch.
            error_type: Why.
            description: Likewise, in words.
        """
        # Children began after their parents.
        left = [each for each in list(self._open) if each in begun]
        with relaying():
            for span_id in reversed(left):
                del self._open[span_id]
                span = self._spans[span_id]
                if span.is_recording():
                    span.set_attribute(ERROR_TYPE, error_type)
                    span.set_status(StatusCode.ERROR, description)
                    span.end(ended)
