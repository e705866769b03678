"""What workers record goes into queues of the application's own no faster than these empty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from threading import Event, Thread
from time import sleep
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from waiting import wait_for
from wrapping_tracers import WrappingProvider

from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import TracerOpenTelemetry
from dotflow_otel._process import drop_counter
from dotflow_otel.relay import intake, pacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

MANY = 5000
OWN = Counter(["attempt", "task burst", "workflow billing"])
STEPS = Counter({"query": MANY})


class Slow(SpanExporter):
    """Takes a while over each batch, and none before it is released."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.released = Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.released.wait(30)
        sleep(0.03)
        self.names.update(span.name for span in spans)
        return SpanExportResult.SUCCESS


class Wrapper(SpanProcessor):
    """Hands spans on to another processor, as those of vendors do, which wrap the SDK's."""

    def __init__(self, inner: SpanProcessor) -> None:
        self.inner = inner

    def on_end(self, span: ReadableSpan) -> None:
        self.inner.on_end(span)

    def shutdown(self) -> None:
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.inner.force_flush(timeout_millis)


class Application:
    """A provider of an application's own, and a run that bursts."""

    def __init__(self) -> None:
        self.exporter = Slow()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.batches = BatchSpanProcessor(self.exporter)
        self.dropped = drop_counter.total("traces")

    def run(self, provider: Any = None) -> None:
        """Run a step in a worker that opens many spans at once."""
        config = Config(
            tracer=TracerOpenTelemetry(tracer_provider=provider or self.provider),
            log=LogDefault(level="CRITICAL"),
        )
        tracer = self.provider.get_tracer("app")

        @action
        def burst() -> None:
            for _ in range(MANY):
                tracer.start_span("query").end()

        flow = DotFlow(config=config, name="billing")
        flow.task.add(burst)
        flow.start(mode="parallel")
        assert [task.status for task in flow.result_task()] == ["Completed"]


@pytest.fixture
def app() -> Iterator[Application]:
    """Return an application whose collector is slow, and silent until it is released."""
    found = Application()
    yield found
    found.exporter.released.set()
    found.provider.shutdown()
    drop_counter.tell()  # so that no other test is told


@pytest.mark.parametrize("end", ["shutdown", "force_flush"])
def test_a_burst_into_a_queue_of_the_application(app: Application, end: str) -> None:
    """The run ends before anything is exported; the queue of 2,048 then delivers all."""
    app.provider.add_span_processor(app.batches)
    app.run()
    assert app.exporter.names == Counter()
    app.exporter.released.set()
    getattr(app.provider, end)()
    assert app.exporter.names == STEPS + OWN
    assert drop_counter.total("traces") == app.dropped


def test_a_processor_that_wraps_the_sdks(app: Application) -> None:
    """A batch processor that is found inside of another one is paced as well."""
    app.provider.add_span_processor(Wrapper(app.batches))
    app.run()
    app.exporter.released.set()
    app.provider.shutdown()
    assert app.exporter.names == STEPS + OWN


def test_a_provider_that_wraps_the_sdks(app: Application) -> None:
    """So it is where the provider itself is a vendor's."""
    app.provider.add_span_processor(app.batches)
    app.run(WrappingProvider(app.provider))
    app.exporter.released.set()
    app.provider.shutdown()
    assert app.exporter.names == STEPS + OWN


def test_other_processors_get_each_span_at_once(app: Application) -> None:
    """What a processor of the application sees does not wait for the queue beside it."""
    seen: list[str] = []

    class Sees(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append(span.name)

    app.provider.add_span_processor(app.batches)
    app.provider.add_span_processor(Sees())
    app.run()
    assert seen == [*["query"] * MANY, "attempt", "task burst", "workflow billing"]


def test_what_is_kept_is_bounded(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many spans they are dropped and counted, and never the run's own."""
    monkeypatch.setattr(intake, "MOST", 1000)
    app.provider.add_span_processor(app.batches)
    app.run()
    app.exporter.released.set()
    app.provider.shutdown()
    dropped = drop_counter.total("traces") - app.dropped
    assert dropped > 0
    assert app.exporter.names == STEPS - Counter({"query": dropped}) + OWN


def test_several_runs_with_one_processor(app: Application) -> None:
    """Each span is exported once, however many runs have used the provider."""
    app.provider.add_span_processor(app.batches)
    app.exporter.released.set()
    for _ in range(3):
        app.run()
    app.provider.shutdown()
    assert app.exporter.names == STEPS + STEPS + STEPS + OWN + OWN + OWN


def test_the_end_does_not_wait_for_a_silent_collector(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept is given up, and counted, where nothing of it is taken for some time."""
    monkeypatch.setattr(pacing, "SILENCE", 0.1)
    app.provider.add_span_processor(app.batches)
    app.run()
    ended = Thread(target=app.provider.shutdown)
    ended.start()
    kept = MANY - (2048 - 256)
    wait_for(lambda: drop_counter.total("traces") - app.dropped >= kept - 512, 10)
    app.exporter.released.set()
    ended.join(30)
    dropped = drop_counter.total("traces") - app.dropped
    assert app.exporter.names == STEPS - Counter({"query": dropped}) + OWN


def test_a_batch_that_is_as_large_as_the_queue(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is never full enough to be exported at once is flushed."""
    monkeypatch.setattr(pacing, "FULL", 2)
    app.exporter.released.set()
    app.provider.add_span_processor(
        BatchSpanProcessor(
            app.exporter,
            max_queue_size=512,
            max_export_batch_size=512,
            schedule_delay_millis=3_600_000,
        )
    )
    app.run()
    wait_for(lambda: app.exporter.names["query"] >= MANY - 384, 30)
    app.provider.shutdown()
    assert app.exporter.names == STEPS + OWN


LOGS = """
import json, logging, sys, threading
from opentelemetry import _logs
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk._logs import export
from dotflow import DotFlow, action
from dotflow_otel import observe

told, released = [], threading.Event()

class Slow:
    def export(self, batch):
        released.wait(30)
        told.extend(each.log_record.body for each in batch)
    def shutdown(self):
        pass
    def force_flush(self, timeout_millis=0):
        return True

provider = sdk.LoggerProvider(shutdown_on_exit=False)
provider.add_log_record_processor(export.BatchLogRecordProcessor(Slow()))
if sys.argv[1] == "global":
    _logs.set_logger_provider(provider)
handler = sdk.LoggingHandler(logger_provider=provider)
logging.getLogger("app").addHandler(handler)
logging.getLogger("app").setLevel("INFO")
logging.getLogger("app").propagate = False

@action
def burst():
    for _ in range(int(sys.argv[2])):
        logging.getLogger("app").info("row")

flow = DotFlow(config=observe("app", logs=True), name="w")
flow.task.add(burst)
flow.start(mode="parallel")
released.set()
provider.shutdown()
print(json.dumps(told))
"""


@pytest.mark.parametrize("whose", ["global", "a handler's"])
def test_a_burst_of_log_records(whose: str) -> None:
    """All records of the step arrive at the application's provider, and its own events."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOGS, whose, str(MANY)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = Counter(json.loads(done.stdout))
    assert told.pop("row") == MANY, done.stderr[-2000:]
    events = ["task.completed", "task.started", "workflow.completed", "workflow.started"]
    assert told == (Counter(events) if whose == "global" else Counter())
