"""How spans hang together: parents, children, and their order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from dotflow_otel import conventions as names
from dotflow_otel.testing.spans import RecordedSpan, recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan


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
        """Give the span above one, if it is among these."""
        return self._by_id.get((span.trace_id, span.parent_id or ""))

    def children_of(self, span: RecordedSpan) -> tuple[RecordedSpan, ...]:
        """Give the spans right below one."""
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
