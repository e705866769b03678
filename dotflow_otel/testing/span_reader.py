"""The part of a recording that is about spans."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from dotflow.core.checks import check_count, check_flag, check_instance, check_method, check_text
from dotflow_otel.testing.collector import SpanCollector, provider_of
from dotflow_otel.testing.family import Family
from dotflow_otel.testing.outline import outline_of, waterfall_of
from dotflow_otel.testing.span_failures import Wanted, missing_span, too_many_spans, wrong_tree
from dotflow_otel.testing.spans import RecordedSpan

if TYPE_CHECKING:
    from typing import TextIO

    from opentelemetry.sdk.trace import TracerProvider

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
        """Give the tree without times, a span a line, the same from run to run.

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
        """Give the tree with states, durations and bars.

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
