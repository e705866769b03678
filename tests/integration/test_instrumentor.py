"""Workflows that say nothing of telemetry, instrumented by a line of code."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dotflow import Config, DotFlow, action
from dotflow.core.exception import InvalidOption
from dotflow.providers import LogDefault, MetricsDefault, TracerDefault
from dotflow_otel import DotflowInstrumentor, LogStructlog

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = ["workflow.started", "task.started", "task.completed", "workflow.completed"]


@action
def step() -> int:
    """Succeed."""
    return 1


def run(mode: str = "sequential", config: Config | None = None) -> DotFlow:
    """Run a workflow as a program does that knows of no telemetry."""
    flow = DotFlow(config=config, name="w")
    flow.task.add(step)
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join()
    return flow


class Application:
    """The three providers of an application, read back."""

    def __init__(self) -> None:
        self.exporter, self.records = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self.records))

    def instrument(self) -> None:
        """Have workflows use the three."""
        DotflowInstrumentor().instrument(
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            logger_provider=self.loggers,
        )

    def spans(self) -> list[str]:
        """Return the names of the spans that have ended."""
        return [span.name for span in self.exporter.get_finished_spans()]

    def events(self) -> list[Any]:
        """Return the names of the events, each with the span that its ids are of."""
        spans = {s.context.span_id: s.name for s in self.exporter.get_finished_spans() if s.context}
        records = [each.log_record for each in self.records.get_finished_logs()]
        return [(each.body, spans[each.span_id or 0]) for each in records]

    def completed(self) -> float:
        """Return how many tasks are counted as completed."""
        data = self.reader.get_metrics_data()
        return sum(
            float(point.value)
            for of_resource in (data.resource_metrics if data else ())
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
            if metric.name == "dotflow.task.completed"
            for point in metric.data.data_points
            if hasattr(point, "value")
        )


@pytest.fixture
def application() -> Iterator[Application]:
    """Return an application, and end what instruments it."""
    yield Application()
    if DotflowInstrumentor().is_instrumented_by_opentelemetry:
        DotflowInstrumentor().uninstrument()


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
def test_a_program_that_says_nothing(application: Application, mode: str) -> None:
    """Its runs have spans, metrics and log records on the application's providers, in each mode."""
    application.instrument()
    run(mode)
    assert sorted({*application.spans()} - {"attempt"}) == ["task step", "workflow w"]
    assert application.completed() == 1
    of = {"workflow": "workflow w", "task": "task step"}
    assert application.events() == [(event, of[event.partition(".")[0]]) for event in EVENTS]


def test_what_the_program_gives_stays(application: Application) -> None:
    """A slot that a `Config` fills is left as it is; the others are instrumented."""
    application.instrument()
    log, tracer = LogDefault(level="ERROR"), TracerDefault()
    config = run(config=Config(log=log, tracer=tracer)).config
    assert (config.log, config.tracer) == (log, tracer)
    assert (application.spans(), application.events()) == ([], [])
    assert application.completed() == 1


def test_it_is_undone(application: Application) -> None:
    """Neither later workflows nor those that were made meanwhile are instrumented any more."""
    application.instrument()
    flow = run()
    instrumented = flow.config
    told = application.spans(), application.events(), application.completed()
    DotflowInstrumentor().uninstrument()
    for config in (instrumented, None):
        used = run(config=config).config
        assert [type(used.tracer), type(used.metrics), type(used.log)] == [
            TracerDefault,
            MetricsDefault,
            LogDefault,
        ]
    assert (application.spans(), application.events(), application.completed()) == told


def test_once_more(application: Application) -> None:
    """After it was undone it can be done again, with other providers; nothing comes twice."""
    application.instrument()
    run()
    DotflowInstrumentor().uninstrument()
    other = Application()
    other.instrument()
    run()
    for each in (application, other):
        assert each.spans() == ["task step", "workflow w"]
        assert [event for event, _ in each.events()] == EVENTS


def test_twice(application: Application, caplog: pytest.LogCaptureFixture) -> None:
    """A second call changes nothing, as with every instrumentor."""
    application.instrument()
    application.instrument()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    run()
    assert application.spans() == ["task step", "workflow w"]


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider", "logger_provider"])
def test_what_is_no_provider(name: str) -> None:
    """A provider that is none is refused with its name, and nothing is instrumented."""
    with pytest.raises(InvalidOption, match=f"{name}='x' is not valid: give one of OpenTel"):
        DotflowInstrumentor().instrument(**{name: "x"})
    assert not DotflowInstrumentor().is_instrumented_by_opentelemetry
    assert type(Config().log) is LogDefault


def test_without_any_provider(capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing was set up the runs go on as ever, and their lines are JSON."""
    DotflowInstrumentor().instrument(unknown=1)
    try:
        assert type(run().config.log) is not LogDefault
        assert isinstance(Config().log, LogStructlog)
    finally:
        DotflowInstrumentor().uninstrument()
    assert capfd.readouterr().err.count('"event": "task.completed"') == 1


PROGRAM = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from dotflow import DotFlow, action
from dotflow_otel.instrumentor import DotflowInstrumentor
DotflowInstrumentor().instrument()
flow = DotFlow(name="w")
flow.task.add(action(lambda: 1))
flow.start()
config = flow.config
print(*[type(each).__name__ for each in (config.tracer, config.metrics, config.log)])
"""


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("structlog", "TracerOpenTelemetry MetricsOpenTelemetry LogDefault"),
        ("opentelemetry.sdk", "TracerOpenTelemetry MetricsOpenTelemetry LogDefault"),
        ("prometheus_client", "TracerOpenTelemetry MetricsOpenTelemetry InstrumentedLog"),
    ],
)
def test_what_has_no_library_is_left_out(missing: str, expected: str) -> None:
    """A program starts where a library is missing, with a warning where that matters."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, missing],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == expected + "\n"
    warned = "workflows are instrumented without log" in done.stderr
    assert warned is expected.endswith("LogDefault")
