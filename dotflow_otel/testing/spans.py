"""Finished spans as frozen records that know their parent and their children, in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened during a span.

    Attributes:
        name: What it is called: `exception` for one that was recorded.
        attributes: By name.
        time: Seconds since the epoch.
    """

    name: str
    attributes: Mapping[str, Any]
    time: float


@dataclass(frozen=True)
class SpanLink:
    """What a span is linked to.

    Attributes:
        trace_id: 32 digits in hex.
        span_id: 16 digits in hex.
        attributes: By name.
    """

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class RecordedSpan:
    """One finished span. Two records of the same span are equal.

    Attributes:
        name: As `task load`.
        trace_id: 32 digits in hex.
        span_id: 16 digits in hex.
        parent_id: That of the span above, also where that was not recorded; else None.
        kind: `internal`, `server`, `client`, `producer` or `consumer`.
        status: `unset`, `ok` or `error`.
        description: Why it is an error; else empty.
        attributes: By name.
        events: In order.
        links: In order.
        start_ns: Nanoseconds since the epoch.
        end_ns: Likewise.
        scope: The name of the instrumentation that made it.
        family: The spans that it was recorded with.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    kind: str
    status: str
    description: str
    attributes: Mapping[str, Any]
    events: tuple[SpanEvent, ...]
    links: tuple[SpanLink, ...]
    start_ns: int
    end_ns: int
    scope: str
    family: Family

    def __repr__(self) -> str:
        took = f"{self.duration * 1000:.1f} ms"
        return f"<span {self.name!r}, {self.status}, {took}, {dict(self.attributes)!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedSpan):
            return NotImplemented
        return (self.trace_id, self.span_id) == (other.trace_id, other.span_id)

    def __hash__(self) -> int:
        return hash((self.trace_id, self.span_id))

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def start(self) -> float:
        """Seconds since the epoch."""
        return self.start_ns / 1e9

    @property
    def end(self) -> float:
        """Seconds since the epoch."""
        return self.end_ns / 1e9

    @property
    def failed(self) -> bool:
        """Whether its status is `error`."""
        return self.status == "error"

    @property
    def error_type(self) -> str | None:
        """The attribute `error.type`; without it the type of the first recorded exception."""
        found = self.attributes.get(names.ERROR_TYPE)
        for event in self.events:
            if found is None and event.name == names.EXCEPTION_EVENT:
                found = event.attributes.get(names.EXCEPTION_TYPE)
        return None if found is None else str(found)

    @property
    def parent(self) -> RecordedSpan | None:
        """The span above, if it was recorded too."""
        return self.family.parent_of(self)

    @property
    def children(self) -> tuple[RecordedSpan, ...]:
        """The spans right below: tasks in their workflow's order, others as they began."""
        return self.family.children_of(self)

    def walk(self) -> Iterator[RecordedSpan]:
        """Return this span and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()


def recorded(span: ReadableSpan, family: Family) -> RecordedSpan:
    """Make the record of a finished span."""
    trace_id, span_id = _ids(span.get_span_context())
    return RecordedSpan(
        name=span.name,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=None if span.parent is None else _ids(span.parent)[1],
        kind=span.kind.name.lower(),
        status=span.status.status_code.name.lower(),
        description=_description(span),
        attributes=dict(span.attributes or {}),
        events=tuple(
            SpanEvent(event.name, dict(event.attributes or {}), event.timestamp / 1e9)
            for event in span.events
        ),
        links=tuple(
            SpanLink(*_ids(link.context), dict(link.attributes or {})) for link in span.links
        ),
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        scope="" if span.instrumentation_scope is None else span.instrumentation_scope.name,
        family=family,
    )


def _description(span: ReadableSpan) -> str:
    status = span.status
    return (status.description or "") if status.status_code is StatusCode.ERROR else ""


def _ids(context: SpanContext | None) -> tuple[str, str]:
    # A finished span of the SDK has one always; its type says that it may have none.
    if context is None:
        return "", ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


class Family:
    """The spans that had finished at one moment. It does not change any more.

    Args:
        finished: The spans, in any order.

    Attributes:
        roots: Those whose parent is not among them, as they began.
        spans: All, each before its children.
    """

    def __init__(self, finished: Iterable[ReadableSpan] = ()) -> None:
        spans = sorted((recorded(span, self) for span in finished), key=_times)
        self._by_id = {(span.trace_id, span.span_id): span for span in spans}
        below: dict[RecordedSpan | None, list[RecordedSpan]] = defaultdict(list)
        for span in spans:
            below[self.parent_of(span)].append(span)
        self._below = {parent: _in_order(children) for parent, children in below.items()}
        self.roots: tuple[RecordedSpan, ...] = self._below.get(None, ())
        self.spans: tuple[RecordedSpan, ...] = tuple(self._walk())

    def _walk(self) -> Iterator[RecordedSpan]:
        for root in self.roots:
            yield from root.walk()

    def parent_of(self, span: RecordedSpan) -> RecordedSpan | None:
        """Return the span above one, if it is among these."""
        return self._by_id.get((span.trace_id, span.parent_id or ""))

    def children_of(self, span: RecordedSpan) -> tuple[RecordedSpan, ...]:
        """Return the spans right below one."""
        return self._below.get(span, ())


def _times(span: RecordedSpan) -> tuple[int, int]:
    return span.start_ns, span.end_ns


def _in_order(spans: Sequence[RecordedSpan]) -> tuple[RecordedSpan, ...]:
    # Tasks that run at the same time begin in any order: among the places that tasks have,
    # they stand as their workflow has them.
    tasks = iter(sorted(filter(_is_task, spans), key=_index))
    return tuple(next(tasks) if _is_task(span) else span for span in spans)


def _is_task(span: RecordedSpan) -> bool:
    return names.TASK_INDEX in span.attributes


def _index(span: RecordedSpan) -> int:
    return int(span.attributes[names.TASK_INDEX])
