"""What the standard OTEL_* variables do, read back from a collector that children send to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
KINDS = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}

RUN = """
    import logging
    from dotflow import DotFlow, action
    from dotflow_otel import observe, setup
    from opentelemetry import trace

    @action
    def ok():
        return "the result"

    config = observe("billing", level="INFO", timeout=5)
    def run(*steps, **options):
        flow = DotFlow(config=config, name="etl")
        flow.task.add(list(steps), initial_context="the input")
        flow.start(**options)
        return flow.result_storage()
"""


class Request(NamedTuple):
    """What a collector was sent."""

    signal: str
    path: str
    headers: dict[str, str]
    message: Any


class Collector:
    """Takes OTLP over HTTP and gRPC, and keeps it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._lock = Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, dict(self.headers), body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self._thread = Thread(target=self.http.serve_forever, daemon=True)
        self._thread.start()
        self.grpc = grpc.server(futures.ThreadPoolExecutor(2), handlers=[_Grpc(self)])
        self.grpc_port = self.grpc.add_insecure_port("127.0.0.1:0")
        self.grpc.start()

    @property
    def url(self) -> str:
        """Where it takes OTLP over HTTP."""
        return f"http://127.0.0.1:{self.http.server_port}"

    @property
    def grpc_url(self) -> str:
        """Where it takes OTLP over gRPC."""
        return f"http://127.0.0.1:{self.grpc_port}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Keep a request."""
        (signal,) = (name for name in KINDS if name in path.lower() or name[:-1] in path.lower())
        message = KINDS[signal].FromString(body)
        with self._lock:
            self.requests.append(Request(signal, path, headers, message))

    def close(self) -> None:
        """End both servers."""
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()
        self.grpc.stop(None).wait()

    def sent(self, signal: str) -> list[Request]:
        """Return the requests of a signal."""
        return [request for request in self.requests if request.signal == signal]

    @property
    def spans(self) -> list[Any]:
        """All spans, in the order of their arrival."""
        return [
            span
            for request in self.sent("traces")
            for of_resource in request.message.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def records(self) -> list[tuple[str, Any]]:
        """All log records, each after the name of its logger."""
        return [
            (of_scope.scope.name, record)
            for request in self.sent("logs")
            for of_resource in request.message.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    def span(self, name: str) -> Any:
        """Return the only span of a name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found


class _Grpc(grpc.GenericRpcHandler):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def service(self, handler_call_details: Any) -> Any:
        details = handler_call_details

        def answer(body: bytes, context: Any) -> bytes:
            self._collector.take(details.method, dict(details.invocation_metadata), body)
            return bytes(ExportTraceServiceResponse().SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a running collector."""
    made = Collector()
    yield made
    made.close()


def python(source: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run source text in a new interpreter with these OTEL_* variables and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def observed(collector: Collector, source: str, **variables: str) -> Any:
    """Run the lines that follow `RUN`, which send to a collector over HTTP."""
    return python(
        textwrap.dedent(RUN) + textwrap.dedent(source),
        **{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables},
    )


def attributes(item: Any) -> dict[str, Any]:
    """Return the attributes of a span, record or resource."""
    return {each.key: getattr(each.value, _kind(each.value)) for each in item.attributes}


def _kind(value: Any) -> str:
    return str(value.WhichOneof("value"))


# --- where telemetry goes -------------------------------------------------------------------


def test_variables_of_one_signal(collector: Collector) -> None:
    """A variable of one signal stands over the general one, for its endpoint and headers."""
    observed(
        collector,
        "run(ok)",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=general",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/mine/traces",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-tenant=acme,x-more=1",
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{collector.url}/mine/logs",
    )
    (traces,), (logs,) = collector.sent("traces"), collector.sent("logs")
    assert (traces.path, logs.path) == ("/mine/traces", "/mine/logs")
    sent = {name.lower(): value for name, value in traces.headers.items()}
    assert (sent["x-tenant"], sent["x-more"]) == ("acme", "1")
    assert {name.lower(): value for name, value in logs.headers.items()}["x-tenant"] == "general"


def test_grpc(collector: Collector) -> None:
    """`OTEL_EXPORTER_OTLP_PROTOCOL=grpc`, with headers and the resource."""
    observed(
        collector,
        "run(ok)",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.grpc_url,
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_HEADERS="x-tenant=acme",
        OTEL_RESOURCE_ATTRIBUTES="service.name=not-this,team=data",
        OTEL_LOGS_EXPORTER="otlp",
    )
    assert [span.name for span in collector.spans] == ["task ok", "workflow etl"]
    for signal in ("traces", "logs"):
        (request,) = collector.sent(signal)
        assert request.headers["x-tenant"] == "acme"
    (of_resource,) = collector.sent("traces")[0].message.resource_spans
    resource = attributes(of_resource.resource)
    assert (resource["service.name"], resource["team"]) == ("billing", "data")


def test_service_name(collector: Collector) -> None:
    """`OTEL_SERVICE_NAME` stands over the attribute, where the caller gives no name."""
    python(
        """if True:
        from dotflow_otel import setup
        from opentelemetry import trace
        setup()
        trace.get_tracer("t").start_span("one").end()
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="ledger",
        OTEL_RESOURCE_ATTRIBUTES="service.name=not-this",
    )
    (of_resource,) = collector.sent("traces")[0].message.resource_spans
    assert attributes(of_resource.resource)["service.name"] == "ledger"


# --- what is recorded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, 2),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, 2),
        ({"TRACEPARENT": TRACEPARENT[:-1] + "0"}, 0),
        ({"TRACEPARENT": TRACEPARENT[:-1] + "0", "OTEL_TRACES_SAMPLER": "always_on"}, 2),
    ],
)
def test_sampler(collector: Collector, variables: dict[str, str], count: int) -> None:
    """The sampler is the one that is named; by default the parent's decision counts."""
    observed(collector, "run(ok)", **variables)
    assert len(collector.spans) == count


def test_limits_of_spans(collector: Collector) -> None:
    """The limits of attributes, their lengths, events and links are those of the variables."""
    observed(
        collector,
        """
        span = trace.get_tracer("t").start_span("s", attributes={"a": "123456", "b": 2, "c": 3})
        span.add_event("one")
        span.add_event("two", {"x": 1, "y": 2})
        span.end()
        """,
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="2",
        OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="4",
        OTEL_SPAN_EVENT_COUNT_LIMIT="1",
        OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT="1",
    )
    span = collector.span("s")
    assert sorted(attributes(span)) == ["b", "c"]
    assert (span.dropped_attributes_count, span.dropped_events_count) == (1, 1)
    (event,) = span.events
    assert (event.name, event.dropped_attributes_count) == ("two", 1)


def test_batches(collector: Collector) -> None:
    """`OTEL_BSP_*` counts: here by the size of a request."""
    observed(collector, "run(*[ok] * 9)", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4")
    sizes = [
        sum(
            len(scope.spans)
            for each in request.message.resource_spans
            for scope in each.scope_spans
        )
        for request in collector.sent("traces")
    ]
    assert (max(sizes), sum(sizes)) == (4, 10)


def test_values_that_are_wrong(collector: Collector) -> None:
    """Each wrong value is one warning that names it and says what is right; all else goes on."""
    wrong = {
        "OTEL_BSP_MAX_QUEUE_SIZE": "many",
        "OTEL_BSP_SCHEDULE_DELAY": "0",
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "-1",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "few",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-2",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "1.5",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
        "OTEL_TRACES_SAMPLER": "sometimes",
        "OTEL_PROPAGATORS": "pigeon",
        "OTEL_METRIC_EXPORT_INTERVAL": "0",
    }
    done = observed(collector, "print(run(ok))", OTEL_LOGS_EXPORTER="otlp", **wrong)
    assert done.stdout.strip() == "['the result']"
    lines = [line for line in done.stderr.splitlines() if line.startswith("OTEL_")]
    told = {line.split("=")[0]: line for line in lines}
    assert told.keys() == wrong.keys()
    assert len(lines) == len(wrong)
    for name, value in wrong.items():
        assert told[name].startswith(f"{name}={value!r} is not valid, so its default counts: give ")
    assert "Traceback" not in done.stderr
    assert [span.name for span in collector.spans] == ["task ok", "workflow etl"]
    assert len(collector.records) == 4


def test_exporters_that_are_wrong(collector: Collector) -> None:
    """An unknown exporter or protocol is a line of warning; what is the default counts."""
    done = observed(
        collector,
        """
        logging.getLogger("app").warning("logged")
        print(run(ok), type(config.metrics).__name__)
        """,
        OTEL_TRACES_EXPORTER="pigeon,otlp",
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_LOGS_PROTOCOL="smoke",
        OTEL_METRICS_EXPORTER="drum",
    )
    assert done.stdout.strip() == "['the result'] MetricsPrometheus"
    exporters = "exporters that are installed, separated by commas, such as otlp,console"
    for said, hint in (
        ("OTEL_TRACES_EXPORTER='pigeon,otlp'", exporters),
        ("OTEL_METRICS_EXPORTER='drum'", exporters),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL='smoke'", "http/protobuf or grpc"),
    ):
        line = f"{said} is not valid, so its default counts: give {hint}"
        assert done.stderr.count(line) == 1
    assert "Traceback" not in done.stderr
    assert len(collector.spans) == 2
    assert "logged" in [record.body.string_value for _, record in collector.records]


def test_disabled(collector: Collector) -> None:
    """`OTEL_SDK_DISABLED` turns all signals off; runs go on."""
    done = observed(
        collector,
        """
        from opentelemetry.metrics import get_meter_provider
        from opentelemetry._logs import get_logger_provider
        print(run(ok), logging.getLogger().handlers)
        print(type(get_meter_provider()).__name__, type(get_logger_provider()).__name__)
        """,
        OTEL_SDK_DISABLED="True",
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="otlp",
        TRACEPARENT=TRACEPARENT,
    )
    assert done.stdout.splitlines() == [
        "['the result'] []",
        "_ProxyMeterProvider ProxyLoggerProvider",
    ]
    assert collector.requests == []


# --- the parent of a job --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
def test_traceparent(collector: Collector, mode: str) -> None:
    """The workflow of a job that a traced parent started continues the parent's trace."""
    observed(
        collector,
        f"run(ok, mode={mode!r})",
        TRACEPARENT=TRACEPARENT,
        TRACESTATE="vendor=1",
    )
    workflow, task = collector.span("workflow etl"), collector.span("task ok")
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    assert (workflow.parent_span_id.hex(), workflow.trace_state) == (PARENT_ID, "vendor=1")
    assert task.parent_span_id == workflow.span_id


def test_baggage_of_a_parent(collector: Collector) -> None:
    """The parent's baggage reaches the steps; what the caller has set itself stands over it."""
    done = observed(
        collector,
        """
        from opentelemetry import baggage, context

        @action
        def see():
            return dict(baggage.get_all())

        context.attach(baggage.set_baggage("tenant", "own"))
        print(run(see))
        """,
        TRACEPARENT=TRACEPARENT,
        BAGGAGE="tenant=acme,plan=free",
    )
    assert done.stdout.strip() == "[{'tenant': 'own', 'plan': 'free'}]"


def test_the_callers_span_stands_over_traceparent(collector: Collector) -> None:
    """Where the caller has a current span, the workflow is below that."""
    observed(
        collector,
        """
        with trace.get_tracer("t").start_as_current_span("request"):
            run(ok)
        """,
        TRACEPARENT=TRACEPARENT,
    )
    request = collector.span("request")
    assert request.parent_span_id == b""
    assert collector.span("workflow etl").parent_span_id == request.span_id


def test_traceparent_beside_the_applications_provider() -> None:
    """It counts as well where the application has set the provider."""
    done = python(
        textwrap.dedent(
            """
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import SimpleSpanProcessor
            from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
            exporter = InMemorySpanExporter()
            trace.set_tracer_provider(TracerProvider())
            trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
            """
        )
        + textwrap.dedent(RUN)
        + "run(ok)\nprint(hex(exporter.get_finished_spans()[-1].parent.span_id))",
        TRACEPARENT=TRACEPARENT,
    )
    assert done.stdout.strip() == f"0x{PARENT_ID}"


@pytest.mark.parametrize(
    ("variables", "warns"),
    [
        ({"OTEL_PROPAGATORS": "baggage"}, False),
        ({"OTEL_PROPAGATORS": "none"}, False),
        ({"TRACEPARENT": "00-nonsense-01"}, True),
        ({"TRACEPARENT": ""}, False),
    ],
)
def test_no_traceparent(collector: Collector, variables: dict[str, str], *, warns: bool) -> None:
    """Where `OTEL_PROPAGATORS` leaves it out it does not count; an invalid one is a warning."""
    done = observed(collector, "run(ok)", **{"TRACEPARENT": TRACEPARENT, **variables})
    assert collector.span("workflow etl").parent_span_id == b""
    assert ("TRACEPARENT='00-nonsense-01' is not valid" in done.stderr) is warns


def test_traceparent_needs_setup(collector: Collector) -> None:
    """No import and no constructor reads it."""
    done = python(
        """if True:
        from dotflow import Config, DotFlow, action
        from dotflow_otel import TracerOpenTelemetry
        from opentelemetry import trace

        @action
        def ok():
            return format(trace.get_current_span().get_span_context().trace_id, "032x")

        flow = DotFlow(config=Config(tracer=TracerOpenTelemetry(service_name="billing")))
        flow.task.add(ok)
        flow.start()
        print(*flow.result_storage())
        """,
        TRACEPARENT=TRACEPARENT,
    )
    assert len(done.stdout.strip()) == 32
    assert done.stdout.strip() != TRACE_ID


# --- logs -----------------------------------------------------------------------------------

WRITES = """
    @action
    def writes(previous_context):
        log = logging.getLogger("mine")
        log.warning("careful, %s", "you", extra={"rows": 3})
        try:
            raise KeyError("k")
        except KeyError:
            log.exception("it went wrong")
        return "the secret"
"""


def test_logs(collector: Collector) -> None:
    """Events and the step's own records arrive, with the ids of their run, task and span."""
    observed(collector, WRITES + "    run(ok, writes)", OTEL_LOGS_EXPORTER="otlp")
    records = {record.body.string_value: (name, record) for name, record in collector.records}
    span = collector.span("task writes")
    name, careful = records["careful, you"]
    assert (name, careful.severity_number, careful.severity_text) == ("mine", 13, "WARN")
    assert (careful.trace_id, careful.span_id) == (span.trace_id, span.span_id)
    told, of_span = attributes(careful), attributes(span)
    assert (told["task"], told["workflow"], told["rows"]) == ("writes", "etl", 3)
    assert told["task_id"] == of_span["dotflow.task.id"]
    assert told["workflow_id"] == of_span["dotflow.workflow.id"]
    assert told["code.function.name"] == "writes"
    _, wrong = records["it went wrong"]
    told = attributes(wrong)
    assert (told["exception.type"], told["exception.message"]) == ("KeyError", "'k'")
    assert "in writes\n" in told["exception.stacktrace"]
    assert told["exception.stacktrace"].endswith("\nKeyError: 'k'\n")
    events = [(name, each) for name, each in collector.records if name == "dotflow"]
    assert [each.body.string_value for _, each in events] == [
        "workflow.started",
        *("task.started", "task.completed") * 2,
        "workflow.completed",
    ]
    for _, event in events:
        assert attributes(event)["event.name"] == event.body.string_value
        assert event.trace_id == span.trace_id
        assert event.severity_number == 9
    assert events[3][1].span_id == span.span_id


def test_no_secret_in_a_log_record(collector: Collector) -> None:
    """No result and no input is in anything that is exported."""
    observed(collector, WRITES + "    run(ok, writes)", OTEL_LOGS_EXPORTER="otlp")
    assert len(collector.records) == 8
    for request in collector.requests:
        for secret in (b"the secret", b"the result", b"the input"):
            assert secret not in request.message.SerializeToString()


def test_logs_are_off_by_default(collector: Collector) -> None:
    """Without the variable or the argument no handler is added and no record is sent."""
    done = observed(collector, WRITES + "    run(writes)\n    print(logging.getLogger().handlers)")
    assert done.stdout.strip() == "[]"
    assert collector.records == []


def test_logs_by_argument(collector: Collector) -> None:
    """`logs=True` asks as the variable does, `logs=False` refuses what that asks for."""
    source = """if True:
        import logging
        from dotflow_otel import setup
        setup("billing", logs={})
        logging.getLogger("mine").error("one")
    """
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    python(source.format(False), OTEL_LOGS_EXPORTER="otlp", **variables)
    assert collector.records == []
    python(source.format(True), **variables)
    ((name, record),) = collector.records
    assert (name, record.body.string_value) == ("mine", "one")


def test_logging_stays_as_it_is(collector: Collector) -> None:
    """The root's level stays, and a program without handlers shows its warnings as before."""
    done = observed(
        collector,
        """
        logging.getLogger("mine").info("not this")
        logging.getLogger("mine").warning("shown")
        own = logging.getLogger("own")
        own.addHandler(logging.NullHandler())
        own.warning("handled elsewhere")
        print(logging.getLogger().level)
        """,
        OTEL_LOGS_EXPORTER="otlp",
    )
    assert done.stdout.strip() == str(30)
    assert done.stderr == "shown\n"
    bodies = [record.body.string_value for _, record in collector.records]
    assert bodies == ["shown", "handled elsewhere"]


def test_events_through_the_standard_library(collector: Collector) -> None:
    """Events that an application's structlog hands to `logging` are exported once."""
    done = observed(
        collector,
        """
        import structlog
        logging.basicConfig(level="INFO", format="%(message)s", force=False)
        structlog.configure(
            logger_factory=structlog.stdlib.LoggerFactory(),
            processors=[structlog.processors.JSONRenderer()],
        )
        logging.getLogger().setLevel("INFO")
        run(ok)
        """,
        OTEL_LOGS_EXPORTER="otlp",
    )
    names = ["workflow.started", "task.started", "task.completed", "workflow.completed"]
    assert [record.body.string_value for _, record in collector.records] == names
    assert done.stdout == ""


def test_the_applications_logger_provider_stays(collector: Collector) -> None:
    """A provider of loggers that the application has set is not replaced, nor added to."""
    done = python(
        """if True:
        import logging
        from opentelemetry._logs import get_logger_provider, set_logger_provider
        from opentelemetry.sdk._logs import LoggerProvider
        mine = LoggerProvider(shutdown_on_exit=False)
        set_logger_provider(mine)
        from dotflow_otel import setup
        print(setup("billing").logger_provider, get_logger_provider() is mine)
        print(logging.getLogger().handlers)
        """,
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert done.stdout.split() == ["None", "True", "[]"]


# --- metrics --------------------------------------------------------------------------------


def test_metrics(collector: Collector) -> None:
    """With `otlp`, `observe` sends the metrics of runs at exit, in place of Prometheus'."""
    done = python(
        """if True:
        from dotflow import DotFlow, action
        from dotflow_otel import observe, setup
        from opentelemetry import metrics

        @action
        def ok():
            return 1

        config = observe("billing", level="ERROR", buckets=(0.5, 2))
        flow = DotFlow(config=config, name="etl")
        flow.task.add([ok, ok])
        flow.start()
        assert metrics.get_meter_provider() is setup().meter_provider
        print(type(config.metrics).__name__)
        """,
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_TRACES_EXPORTER="none",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert done.stdout.strip() == "MetricsOpenTelemetry"
    (request,) = collector.sent("metrics")
    assert request.path == "/v1/metrics"
    (of_resource,) = request.message.resource_metrics
    assert attributes(of_resource.resource)["service.name"] == "billing"
    sent = {metric.name: metric for metric in of_resource.scope_metrics[0].metrics}
    (point,) = sent["dotflow.task.duration"].histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([0.5, 2], [2, 0, 0])


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, "MetricsPrometheus"),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "MetricsPrometheus"),
        ({"OTEL_METRICS_EXPORTER": "none"}, "MetricsDefault"),
    ],
)
def test_which_metrics(collector: Collector, variables: dict[str, str], kind: str) -> None:
    """Without the variable, or with `prometheus`, metrics are Prometheus'; `none` keeps none."""
    done = observed(collector, "print(type(config.metrics).__name__)", **variables)
    assert done.stdout.strip() == kind
    assert collector.sent("metrics") == []


def test_the_applications_meter_provider_stays() -> None:
    """A provider of meters that the application has set is not replaced."""
    done = python(
        """if True:
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        mine = MeterProvider(shutdown_on_exit=False)
        metrics.set_meter_provider(mine)
        from dotflow_otel import setup
        print(setup("billing").meter_provider, metrics.get_meter_provider() is mine)
        """,
        OTEL_METRICS_EXPORTER="otlp",
    )
    assert done.stdout.split() == ["None", "True"]


# --- a second set-up ------------------------------------------------------------------------


def test_set_up_after_a_tracer_with_a_name(collector: Collector) -> None:
    """After a provider for a name alone, `observe` adds all that the variables ask for."""
    done = python(
        """if True:
        from dotflow import DotFlow, action
        from dotflow_otel import TracerOpenTelemetry, observe, setup
        from opentelemetry import trace
        TracerOpenTelemetry(service_name="billing")
        first = trace.get_tracer_provider()

        @action
        def ok():
            return 1

        flow = DotFlow(config=observe("billing", level="INFO", timeout=7), name="etl")
        flow.task.add(ok)
        flow.start()
        telemetry = setup()
        print(trace.get_tracer_provider() is first is telemetry.provider, telemetry.bound)
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="otlp",
        TRACEPARENT=TRACEPARENT,
    )
    assert done.stdout.split() == ["True", "7"]
    assert "too late" not in done.stderr
    assert [span.name for span in collector.spans] == ["task ok", "workflow etl"]
    assert collector.span("workflow etl").parent_span_id.hex() == PARENT_ID
    assert len(collector.records) == 4
    assert len(collector.sent("metrics")) == 1
    of_resource = collector.sent("metrics")[0].message.resource_metrics[0].resource
    assert attributes(of_resource)["service.name"] == "billing"


def test_logs_that_are_asked_for_later(collector: Collector) -> None:
    """A later `logs=True` exports the log records; nothing is sent twice."""
    done = python(
        """if True:
        import logging
        from dotflow_otel import setup
        from opentelemetry import trace
        first = setup("billing")
        assert setup("billing", logs=True) is first is setup(logs=True)
        trace.get_tracer("t").start_span("one").end()
        logging.getLogger("mine").error("two")
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert "too late" not in done.stderr
    assert [span.name for span in collector.spans] == ["one"]
    assert [name for name, _ in collector.records] == ["mine"]


def test_arguments_that_come_too_late(collector: Collector) -> None:
    """Another name or timeout than the first is one warning each, and the first one stays."""
    done = python(
        """if True:
        from dotflow_otel import TracerOpenTelemetry, setup
        telemetry = setup("billing", timeout=2)
        setup()
        setup("billing", timeout=2)
        setup("shop", timeout=3)
        TracerOpenTelemetry(service_name="till")
        print(telemetry.bound, telemetry.provider.resource.attributes["service.name"])
        """,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    assert done.stdout.split() == ["2", "billing"]
    stays = "which stays. Give it where it is set up first"
    assert done.stderr.splitlines() == [
        f"service_name='shop' comes too late: telemetry was set up with 'billing', {stays}",
        f"timeout=3 comes too late: telemetry was set up with 2, {stays}",
        f"service_name='till' comes too late: telemetry was set up with 'billing', {stays}",
    ]


# --- processes ------------------------------------------------------------------------------


def test_forked_children(collector: Collector) -> None:
    """A child forked after the set-up, as gunicorn does, delivers its own spans, once each."""
    done = observed(
        collector,
        """
        import os, warnings
        warnings.simplefilter("ignore")  # of forks beside threads
        telemetry = setup()
        run(ok)
        for number in range(2):
            if not os.fork():
                flow = DotFlow(config=config, name=f"child {number}")
                flow.task.add(ok)
                flow.start()
                logging.getLogger("mine").error("child %d", number)
                os._exit(0 if telemetry.shutdown() else 1)
        print([os.wait()[1] for number in range(2)])
        """,
        OTEL_LOGS_EXPORTER="otlp",
    )
    assert json.loads(done.stdout) == [0, 0]
    names = sorted(span.name for span in collector.spans)
    assert names == sorted(
        ["task ok"] * 3 + ["workflow child 0", "workflow child 1", "workflow etl"]
    )
    bodies = [record.body.string_value for name, record in collector.records if name == "mine"]
    assert sorted(bodies) == ["child 0", "child 1"]
    assert len(collector.records) == 3 * 4 + 2
