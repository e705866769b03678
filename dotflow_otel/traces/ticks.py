"""The spans of the ticks of a schedule: below each is its run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry.context import attach
from opentelemetry.trace import SpanKind, set_span_in_context

from dotflow.core.failure import Failure
from dotflow_otel import conventions as names
from dotflow_otel.parent import parent_context
from dotflow_otel.plain import escape_unencodable
from dotflow_otel.span_ids import SpanClock
from dotflow_otel.spans.attributes import mark_failed
from dotflow_otel.traces.spans import CurrentScope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

    from dotflow.abc.scheduler import Tick

# Where no calendar has the year.
_UNKNOWN: Final = ""


class TickScope(CurrentScope):
    """Makes the span of a tick and has it current while its run goes on.

    Args:
        tracer: Makes the span.
        tick: The tick.
    """

    __slots__ = ("_clock", "_span", "_tick", "_tracer")

    def __init__(self, tracer: Tracer, tick: Tick) -> None:
        self._tracer = tracer
        self._tick = tick
        self._clock = SpanClock()
        self._span: Span | None = None
        self._token = None

    def __enter__(self) -> None:
        further = {names.TICK_DELAY: self._tick.delay}
        self._span = _begun(self._tracer, self._tick, self._clock, further)
        self._token = attach(set_span_in_context(self._span, parent_context()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if self._span is not None:
            if error is not None:
                mark_failed(self._span, Failure.of(error), self._clock.now())
            self._span.end(self._clock.now())


def skip(tracer: Tracer, tick: Tick, reason: str) -> None:
    """Make a short span, so that a tick that did not run is seen."""
    clock = SpanClock()
    _begun(tracer, tick, clock, {names.TICK_SKIPPED: reason}).end(clock.now())


def _begun(
    tracer: Tracer, tick: Tick, clock: SpanClock, further: Mapping[str, AttributeValue]
) -> Span:
    name = escape_unencodable(tick.workflow)
    attributes: dict[str, AttributeValue] = {
        names.WORKFLOW_NAME: name,
        names.TICK_SCHEDULE: tick.schedule,
        names.TICK_DUE: _shown(tick.due),
        **further,
    }
    return tracer.start_span(
        names.TICK_SPAN.format(name),
        parent_context(),
        SpanKind.INTERNAL,
        attributes,
        start_time=clock.now(),
    )


def _shown(due: float) -> str:
    try:
        return datetime.fromtimestamp(due, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return _UNKNOWN
