"""What a pipeline does with what workers recorded where its queue is full."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import set_span_in_context

from dotflow_otel._process import drop_counter
from dotflow_otel.conventions import SCOPE
from dotflow_otel.relay import intake
from dotflow_otel.relay.intake import relaying
from dotflow_otel.sdk.span_pipeline import SpanPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

QUEUE = 8


class Slow(SpanExporter):
    """Takes the next batch when it is told to."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.asked = Event()
        self.released = Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.released.wait(30)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


class Made:
    """A provider with a pipeline whose exporter has one span, and does not go on."""

    def __init__(self) -> None:
        self.exporter = Slow()
        self.pipeline = SpanPipeline(self.exporter)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.pipeline)
        self._tracers = {name: self.provider.get_tracer(name) for name in ("app", SCOPE)}
        # What is made below it is no root, for which there is a reserve.
        self._above = set_span_in_context(self._tracers["app"].start_span("above"))
        self.make("first")
        self.dropped = drop_counter.total("traces")
        assert self.exporter.asked.wait(10)

    def make(self, name: str, scope: str = "app") -> None:
        """Make a span."""
        self._tracers[scope].start_span(name, self._above).end()

    def end(self) -> list[str]:
        """Let the exporter go on; return the names of all spans in the order of their export."""
        self.exporter.released.set()
        self.pipeline.shutdown()
        return self.exporter.names


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Return a pipeline with a small queue."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    found = Made()
    yield found
    found.end()
    drop_counter.tell()  # so that no other test is told


def test_what_comes_from_workers_waits_for_room(made: Made) -> None:
    """Far more relayed spans than fit in the queue are all delivered, once, in order."""
    with relaying():
        for number in range(50):
            made.make(f"relayed {number}")
    assert made.end() == ["first", *(f"relayed {number}" for number in range(50))]
    assert drop_counter.total("traces") == made.dropped


def test_a_flush_delivers_what_waits(made: Made) -> None:
    """`force_flush` delivers what is queued and what waits beside the queue."""
    with relaying():
        for number in range(50):
            made.make(f"relayed {number}")
    made.exporter.released.set()
    assert made.pipeline.force_flush()
    assert len(made.exporter.names) == 51


def test_what_is_recorded_here_is_bounded_as_before(made: Made) -> None:
    """A step in this process gets the queue, as the variable says, and no more."""
    for number in range(QUEUE + 3):
        made.make(f"here {number}")
    assert drop_counter.total("traces") - made.dropped == 3
    assert made.end() == ["first", *(f"here {number}" for number in range(QUEUE))]


@pytest.mark.parametrize("is_relayed", [False, True], ids=["here", "relayed"])
def test_own_spans_fit_in_where_a_step_has_filled_the_queue(made: Made, is_relayed: bool) -> None:
    """However much a step records, the run's own spans are delivered."""
    for number in range(2 * QUEUE):
        if is_relayed:
            with relaying():
                made.make(f"step {number}")
        else:
            made.make(f"step {number}")
    for number in range(QUEUE):
        made.make(f"own {number}", SCOPE)
    names = made.end()
    assert [name for name in names if name.startswith("own")] == [f"own {n}" for n in range(QUEUE)]


def test_what_waits_is_bounded(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many relayed spans wait beside the queue; what is beyond that is counted."""
    monkeypatch.setattr(intake, "MOST", 10)
    with relaying():
        for number in range(50):
            made.make(f"relayed {number}")
    dropped = drop_counter.total("traces") - made.dropped
    assert dropped > 0
    assert len(made.end()) == 51 - dropped


def test_what_waits_is_counted_where_the_time_is_up(made: Made) -> None:
    """What waits when a pipeline is given up counts as dropped."""
    with relaying():
        for number in range(50):
            made.make(f"relayed {number}")
    made.pipeline.account.abandon()
    assert drop_counter.total("traces") - made.dropped == 51
