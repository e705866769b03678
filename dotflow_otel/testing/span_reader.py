"""The part of a recording that is about spans, which are kept in memory.

Those of a recording, and those that steps open meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from textwrap import dedent
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from opentelemetry import trace
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from dotflow.core.arguments import check_count, check_flag, check_instance, check_method, check_text
from dotflow_otel.hidden_variables import hidden_variables
from dotflow_otel.testing.failures import (
    Wanted,
    missing_span,
    outline_of,
    too_many_spans,
    waterfall_of,
    wrong_tree,
)
from dotflow_otel.testing.spans import Family, RecordedSpan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

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
        """Keep a span. Of one in a worker only the end is known here."""
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
        """Return whether a span of that trace was seen here."""
        return trace_id in self._traces

    def clear(self) -> None:
        """Forget what has ended."""
        self._finished.clear()


def provider_of(processor: SpanProcessor) -> TracerProvider:
    """Make a provider that samples everything, whatever OTEL_* variables say."""
    # A provider that is made where this says "true" makes nothing for ever.
    with hidden_variables((OTEL_SDK_DISABLED,)):
        provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.get_empty(), shutdown_on_exit=False
        )
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
_listening: Final[WeakSet[trace.TracerProvider]] = WeakSet()
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
        if current in _listening:
            return
        if isinstance(current, trace.ProxyTracerProvider):
            current = provider_of(_router)
            trace.set_tracer_provider(current)
        elif isinstance(current, TracerProvider):
            current.add_span_processor(_router)
        _listening.add(current)


_WIDTH = 100


class SpanReader:
    """Reads the spans back.

    Attributes:
        provider: Makes spans that are recorded, for those who pass providers along.
    """

    def __init__(self) -> None:
        self.collector = SpanCollector()
        self.provider: TracerProvider = provider_of(self.collector)

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        """The SDK's own spans that have ended, in that order, as an exporter gets them."""
        return self.collector.finished

    @property
    def spans(self) -> tuple[RecordedSpan, ...]:
        """All spans that have ended, each before its children, in the order of the tree."""
        return Family(self.collector.finished).spans

    @property
    def roots(self) -> tuple[RecordedSpan, ...]:
        """The spans without a recorded parent, as they began."""
        return Family(self.collector.finished).roots

    def find(
        self,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        *,
        below: RecordedSpan | None = None,
        error_type: str | None = None,
    ) -> tuple[RecordedSpan, ...]:
        """Return the spans that fit, in the order of the tree; maybe none.

        Args:
            name: Their name; None: any.
            attributes: What they have among their attributes.
            below: A span above them, at any distance.
            error_type: As `RecordedSpan.error_type` tells it.

        Raises:
            InvalidOption: An argument is of a wrong type.
        """
        check_text("name", name, optional=True)
        if attributes is not None:
            hint = "give a dict of attributes, as {'dotflow.task.name': 'load'}"
            check_instance("attributes", attributes, Mapping, hint)
        if below is not None:
            check_instance("below", below, RecordedSpan, "give a span, as span('workflow etl')")
        check_text("error_type", error_type, optional=True)
        wanted = attributes or {}
        return tuple(
            span
            for span in self.spans
            if name in {None, span.name}
            and wanted.items() <= span.attributes.items()
            and error_type in {None, span.error_type}
            and (below is None or _is_below(span, below))
        )

    def span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        below: RecordedSpan | None = None,
        error_type: str | None = None,
    ) -> RecordedSpan:
        """Return the only span that fits. Arguments as in `find`.

        Raises:
            AssertionError: There is none, or more than one; it tells what there is.
            InvalidOption: An argument is of a wrong type.
        """
        __tracebackhide__ = True
        check_text("name", name)
        found = self.find(name, attributes, below=below, error_type=error_type)
        if len(found) == 1:
            return found[0]
        if found:
            raise AssertionError(too_many_spans(name, found, self.roots))
        wanted = Wanted(name, dict(attributes or {}), below, error_type)
        raise AssertionError(missing_span(wanted, self.spans, self.roots, self.collector.open))

    def outline(self) -> str:
        """Return the tree without times, a span a line, the same from run to run.

        A line tells the span's name; `#2` for the second attempt; in brackets the task's
        group, where it is not `default`; `(restored)`; the type of the error, if it failed.
        """
        return outline_of(self.roots)

    def assert_tree(self, expected: str) -> None:
        """Compare `outline()` with a text, whose common indentation does not count.

        Raises:
            AssertionError: They differ; it shows where.
            InvalidOption: `expected` is no text.
        """
        __tracebackhide__ = True
        check_text("expected", expected, blank=True)
        wanted = dedent(expected).strip()
        if wanted != self.outline():
            raise AssertionError(wrong_tree(wanted, self.outline(), self.collector.open))

    def waterfall(self, width: int = _WIDTH, *, ascii_only: bool = False) -> str:
        """Return the tree with states, durations and bars.

        Args:
            width: How many characters a line has at most.
            ascii_only: Whether to do without other characters.

        Raises:
            InvalidOption: An argument is of a wrong type, or the width below 1.
        """
        check_count("width", width, optional=False)
        check_flag("ascii_only", ascii_only)
        return waterfall_of(self.roots, width, ascii_only=ascii_only)

    def tree(self, width: int = _WIDTH, file: TextIO | None = None) -> str:
        """Print `waterfall()`, and give it.

        Args:
            width: How many characters a line has at most.
            file: Where to; None: what is `sys.stdout` now.

        Raises:
            InvalidOption: An argument is of a wrong type, or the width below 1.
        """
        if file is not None:
            check_method("file", file, "write", "give a text stream that is open for writing")
        stream = sys.stdout if file is None else file
        narrow = not (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")
        text = self.waterfall(width, ascii_only=narrow)
        stream.write(f"{text}\n")
        return text


def _is_below(span: RecordedSpan, above: RecordedSpan) -> bool:
    parent = span.parent
    while parent is not None and parent != above:
        parent = parent.parent
    return parent is not None
