"""From a span's end to its exporter, with an account of what is dropped on the way."""

from __future__ import annotations

from threading import Event, Lock
from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from dotflow.core.process import call_in_forked_child
from dotflow_otel._process import TRACES
from dotflow_otel.conventions import ATTEMPT_SPAN, SCOPE
from dotflow_otel.relay.intake import Intake
from dotflow_otel.sdk.batching import Account, Batching
from dotflow_otel.sdk.exports import exporting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class SpanPipeline(SpanProcessor):
    """The SDK's batch processor, with its variables, and an account of its spans.

    A span that does not fit in the queue is dropped, but for those from workers, which wait beside
    it for some time. The local root of a trace, which makes the rest of it findable, and spans of
    this project's own still fit in where a step's do not.

    Args:
        exporter: Where the spans go.

    Attributes:
        name: The name of the exporter.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        batching = Batching.of("OTEL_BSP", delay=5000)
        self.account = Account(TRACES, batching.queue)
        self.name: Final = type(exporter).__name__
        self._exporter = CountingSpanExporter(exporter, self.account)
        self._batches = BatchSpanProcessor(self._exporter, **batching.arguments())
        self._intake = Intake(self.account, self._put)
        self._exporter.on_taken = self._intake.refill
        self._lock = Lock()
        self._ended = False
        self._is_free = Event()
        self._is_free.set()
        call_in_forked_child(self.release)

    def note_in(self, journal: Journal) -> None:
        """Note what is delivered in a journal, from now on."""
        self._exporter.journal = journal

    def export_now(self, spans: Sequence[ReadableSpan]) -> bool:
        """Export spans that were not queued; return whether they were delivered."""
        return self._exporter.export_now(spans) is not SpanExportResult.FAILURE

    def hold_open(self) -> None:
        """Make the end wait until `release` is called."""
        self._is_free.clear()

    def release(self) -> None:
        """Make the end wait no more."""
        self._is_free.set()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        parent = span.parent
        # An attempt's parent is remote to its worker, but not to this process.
        is_root = parent is None or (parent.is_remote and span.name != ATTEMPT_SPAN)
        self._intake.take(span, own=_is_own(span), matters=is_root)

    def _put(self, span: ReadableSpan) -> None:
        self._batches.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is queued."""
        return self._ended or self._flush(timeout_millis)

    def _flush(self, timeout_millis: int = 30_000) -> bool:
        return self._intake.flush(self._batches.force_flush, timeout_millis)

    def shutdown(self) -> None:
        """Export what is queued, and end; at the first call."""
        with self._lock:
            first, self._ended = not self._ended, True
        if first:
            self.account.close()
            if not self._is_free.is_set():
                # What is queued does not wait for what somebody else has to send.
                self._flush()
                self._is_free.wait()
            if self._intake.keeps:
                self._flush()
            self._batches.shutdown()  # type: ignore[no-untyped-call]


class Journal(Protocol):
    """Notes what is sent, and whether it was delivered."""

    def sending(self, exporter: str, spans: Sequence[ReadableSpan]) -> int | None:
        """Note that an exporter is about to send spans; return a key for `sent`."""

    def sent(self, key: int, *, delivered: bool) -> None:
        """Note whether they were delivered."""


class CountingSpanExporter(SpanExporter):
    """Notifies an account of what another exporter does.

    Args:
        exporter: The other one.
        account: Of the processor that gives the spans.

    Attributes:
        journal: Where it is noted as well, if anywhere.
        on_taken: Called when spans were taken from the queue, before they are exported.
    """

    def __init__(self, exporter: SpanExporter, account: Account) -> None:
        self._exporter = exporter
        self._account = account
        self.journal: Journal | None = None
        self.on_taken: Callable[[], object] | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans; they are dropped where that fails or raises."""
        self._account.send(len(spans), own=sum(map(_is_own, spans)))
        if self.on_taken is not None:
            self.on_taken()
        delivered, rejected = False, 0
        try:
            result, rejected = self._export(spans)
            delivered = result is not SpanExportResult.FAILURE
        finally:
            self._account.answered(len(spans), delivered=delivered, rejected=rejected)
        return result

    def export_now(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans that are in no account."""
        return self._export(spans)[0]

    def _export(self, spans: Sequence[ReadableSpan]) -> tuple[SpanExportResult, int]:
        journal, name = self.journal, type(self._exporter).__name__
        key = None if journal is None else journal.sending(name, spans)
        result = SpanExportResult.FAILURE
        try:
            with exporting() as export:
                result = self._exporter.export(spans)
        finally:
            if journal is not None and key is not None:
                journal.sent(key, delivered=result is not SpanExportResult.FAILURE)
        return result, export.rejected

    def shutdown(self) -> None:
        """Shut the other one down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the other one."""
        return self._exporter.force_flush(timeout_millis)


def _is_own(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == SCOPE
