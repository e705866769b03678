"""Spans that reach no backend are told of, every one, whatever keeps them from it."""

from __future__ import annotations

import logging
import re
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from backends.ports import closed_port
from log_records import own_records
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

from dotflow import Config, DotFlow, action
from dotflow_otel import LogStructlog, MetricsPrometheus, Telemetry, TracerOpenTelemetry
from dotflow_otel._process import drop_counter
from dotflow_otel.sdk.batching import RESERVE
from dotflow_otel.sdk.span_pipeline import SpanPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TASKS = 1000
SPANS = TASKS + 1
LINE = "telemetry was dropped: "


@action
def ok() -> int:
    """Succeed."""
    return 1


class Failing(SpanExporter):
    """Delivers nothing, and says so."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE


class Raising(SpanExporter):
    """Delivers nothing, and raises."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise OSError("unplugged")


class Hanging(SpanExporter):
    """Delivers nothing until it is let go."""

    def __init__(self) -> None:
        self.asked = Event()
        self.released = Event()
        self.batches: list[list[str]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append([span.name for span in spans])
        self.asked.set()
        self.released.wait(30)
        return SpanExportResult.FAILURE


def refused(kind: type, port: int) -> SpanExporter:
    """Make an exporter to a port where nobody listens."""
    address = f"127.0.0.1:{port}"
    if kind is Grpc:
        return Grpc(f"http://{address}", insecure=True, timeout=1)
    return Http(f"http://{address}/v1/traces", timeout=1)


class Observed:
    """Runs whose spans go through a pipeline."""

    made: ClassVar[list[Observed]] = []

    def __init__(self, exporter: SpanExporter, **options: Any) -> None:
        self.pipeline = SpanPipeline(exporter)
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(self.pipeline)
        self.telemetry = Telemetry(10)
        Observed.made.append(self)
        self.telemetry.add([self.pipeline, self.provider], [self.pipeline.account])
        self.registry = CollectorRegistry()
        self.config = Config(
            tracer=TracerOpenTelemetry(tracer_provider=self.provider),
            metrics=MetricsPrometheus(self.registry),
            log=LogStructlog("ERROR"),
        )

    def run(self, tasks: int = TASKS) -> None:
        """Run a workflow to its end."""
        flow = DotFlow(config=self.config)
        flow.task.add([ok] * tasks)
        flow.start()
        assert flow.result_storage() == [1] * tasks

    @property
    def counted(self) -> float:
        """What the counter tells."""
        name, labels = "dotflow_telemetry_dropped_total", {"signal": "traces"}
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(autouse=True)
def ended(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have told what other tests dropped, and end what this one made."""
    drop_counter.tell()
    caplog.clear()
    yield
    while Observed.made:
        Observed.made.pop().telemetry.shutdown(0)
    drop_counter.tell()  # so that no other test is told


@pytest.fixture
def free_port() -> Iterator[int]:
    """Return a port where nobody listens."""
    with closed_port() as address:
        yield int(address.rpartition(":")[2])


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Return an exporter that hangs until the test's end."""
    made = Hanging()
    yield made
    made.released.set()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines about drops, and the reasons."""
    return [record.getMessage() for record in own_records(caplog)]


@pytest.mark.parametrize("kind", [Failing, Raising, Http, Grpc])
def test_1001_spans_that_an_exporter_loses(
    kind: type, free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An exporter that fails, raises or finds nobody: the line and the counter tell of each."""
    exporter = kind() if kind in (Failing, Raising) else refused(kind, free_port)
    observed = Observed(exporter)
    observed.run()
    # An older exporter for gRPC goes on trying, for longer than this.
    observed.telemetry.shutdown(4)
    told = re.findall(r"(\d+) span", "\n".join(lines(caplog)))
    assert sum(map(int, told)) == SPANS
    assert observed.counted == SPANS


def test_1001_spans_that_an_exporter_keeps(
    hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    """What a hanging exporter holds when the time is up is dropped, and told of."""
    observed = Observed(hanging)
    observed.run()
    assert lines(caplog) == []
    assert not observed.telemetry.shutdown(0.1)
    expected = "telemetry was not delivered within 0.1 s and is dropped: 1001 spans"
    assert lines(caplog) == [expected]
    assert observed.counted == SPANS


def test_a_full_queue_at_run_end(
    monkeypatch: pytest.MonkeyPatch, hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end of a run one line tells what did not fit; a run that loses nothing is silent."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    observed = Observed(hanging)
    observed.run(1)
    assert hanging.asked.wait(10)
    # One of the two spans is with the exporter, one in the queue, which takes nine more.
    observed.run(20)
    assert lines(caplog) == [f"{LINE}11 spans"]
    assert observed.counted == 11
    # A task's span does not fit; the workflow's has a reserve.
    observed.run(0)
    assert lines(caplog) == [f"{LINE}11 spans"]
    assert not observed.telemetry.shutdown(0)
    assert observed.counted == 11 + 2 + 9 + 1 + 1


def test_the_reserve_is_for_roots(monkeypatch: pytest.MonkeyPatch, hanging: Hanging) -> None:
    """The span of a workflow that is the root of its trace is kept where its tasks are not."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    observed = Observed(hanging)
    before = drop_counter.total("traces")
    observed.run(1)
    assert hanging.asked.wait(10)
    for _ in range(RESERVE // 2):
        observed.run(1)
    assert drop_counter.total("traces") - before == RESERVE // 2
    hanging.released.set()
    observed.telemetry.shutdown()
    names = [name for batch in hanging.batches for name in batch]
    assert (names.count("task ok"), names.count("workflow workflow")) == (1, RESERVE // 2 + 1)


def test_nothing_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """With an exporter that delivers, every span arrives once and nobody is told anything."""
    exporter = InMemorySpanExporter()
    observed = Observed(exporter)
    observed.run(200)
    assert observed.telemetry.flush()
    assert len(exporter.get_finished_spans()) == 201
    assert observed.telemetry.shutdown()
    assert (lines(caplog), observed.counted) == ([], 0)


def test_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever many threads end at the same time was delivered once or is told of as dropped."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    exporter = InMemorySpanExporter()
    observed = Observed(exporter)
    tracer, before = observed.provider.get_tracer("t"), drop_counter.total("traces")

    def end_many() -> None:
        for _ in range(1000):
            tracer.start_span("one").end()

    threads = [Thread(target=end_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert observed.telemetry.shutdown()
    delivered = [format(span.context.span_id, "x") for span in exporter.get_finished_spans()]
    assert len(set(delivered)) == len(delivered)
    assert len(delivered) + drop_counter.total("traces") - before == 4000


def test_what_is_not_sampled_is_not_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A span that the sampler leaves out is none that was lost."""
    observed = Observed(Failing(), sampler=ALWAYS_OFF)
    observed.run(5)
    assert observed.telemetry.shutdown()
    assert lines(caplog) == []


def test_after_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A run after the end loses its spans, which is told at its own end."""
    observed = Observed(InMemorySpanExporter())
    assert observed.telemetry.shutdown()
    observed.run(2)
    assert lines(caplog) == [f"{LINE}3 spans"]


def test_one_that_hangs_keeps_no_other_waiting(
    hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    """Every exporter has the whole time, also beside one that hangs."""
    observed, memory = Observed(hanging), InMemorySpanExporter()
    second = SpanPipeline(memory)
    observed.provider.add_span_processor(second)
    observed.telemetry.add([second], [second.account])
    observed.run(3)
    assert not observed.telemetry.flush(0.2)
    assert len(memory.get_finished_spans()) == 4
    assert not observed.telemetry.shutdown(0.1)
    assert lines(caplog)[-1].endswith("is dropped: 4 spans")


def test_batches(monkeypatch: pytest.MonkeyPatch, hanging: Hanging) -> None:
    """`OTEL_BSP_MAX_EXPORT_BATCH_SIZE` is what the exporter gets at most at once."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")
    hanging.released.set()
    observed = Observed(hanging)
    observed.run(9)
    observed.telemetry.shutdown()
    sizes = [len(batch) for batch in hanging.batches]
    assert (max(sizes), sum(sizes)) == (3, 10)


def test_delay(monkeypatch: pytest.MonkeyPatch, hanging: Hanging) -> None:
    """`OTEL_BSP_SCHEDULE_DELAY` is how long a span waits, in milliseconds."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    observed = Observed(hanging)
    observed.run(1)
    # Without it that takes 5 s.
    assert hanging.asked.wait(3)


def test_a_batch_beyond_the_queue(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that is larger than the queue is cut to that, with a warning, not an error."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9")
    with caplog.at_level(logging.WARNING):
        SpanPipeline(InMemorySpanExporter()).shutdown()
    (line,) = lines(caplog)
    assert line.startswith("OTEL_BSP_MAX_EXPORT_BATCH_SIZE=9 is more than fits")


def test_attempts_leave_room_for_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts in workers, whose parents are remote, do not take the room kept for roots."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    pipeline = SpanPipeline(Failing())
    remote = SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1))
    own = SpanContext(5, 7, is_remote=False, trace_flags=TraceFlags(1))
    admitted: list[str] = []
    monkeypatch.setattr(
        BatchSpanProcessor, "on_end", lambda _batches, span: admitted.append(span.name)
    )
    for name, parent in (("task", own), ("attempt", remote), ("request", remote)):
        pipeline.on_end(ReadableSpan(name, own, parent))
    pipeline.shutdown()
    assert admitted == ["task", "request"]
