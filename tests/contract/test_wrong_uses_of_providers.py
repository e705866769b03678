"""What providers and telemetry do when they are used wrongly: they say so, and do nothing."""

from __future__ import annotations

import io
import logging
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry

from dotflow import Config, Context
from dotflow.core.exception import InvalidOption, NotCallableObject, WrongMoment
from dotflow.core.options import Slots
from dotflow.providers import (
    ExecutorDask,
    ExecutorFutures,
    ExecutorLocal,
    LogDefault,
    MetricsDefault,
    NotifyDefault,
    SchedulerCron,
    SchedulerDefault,
    ServerDefault,
    StorageDefault,
    StorageFile,
    TracerDefault,
)
from dotflow.testing import (
    Recording,
    RecordingLog,
    RecordingMetrics,
    RecordingNotify,
    RecordingServer,
    RecordingTracer,
)
from dotflow_otel import (
    History,
    LogStructlog,
    MetricsApp,
    MetricsOpenTelemetry,
    MetricsPrometheus,
    MetricsServer,
    MetricsSnapshot,
    PushGateway,
    RecordedTelemetry,
    Telemetry,
    TraceContextFilter,
    TracerOpenTelemetry,
    histogram_views,
    metrics_app,
    observe,
    push_metrics,
    record_telemetry,
    serve_metrics,
    setup,
    worker_exited,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Row = tuple[str, Callable[[], object], type[Exception], str]


class Unprintable:
    """A value whose own `repr` raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def closed() -> Any:
    """Make a stream that is closed."""
    stream = io.StringIO()
    stream.close()
    return stream


def flow(x: int) -> None:
    """Take an argument."""


def called() -> None:
    """Take none."""


# Where the system tells of them.
OPEN_FILES = Path("/proc/self/fd")


def invalid(given: str, expected: str) -> str:
    """Return the message of an option that is not valid."""
    return f"{given} is not valid: {expected}."


KINDS = Slots.__annotations__
OBSERVE = ", ".join(
    map(
        repr, ["service_name", "registry", "buckets", "level", "timeout", "logs", "history", *KINDS]
    )
)
RISING = "give upper bounds in seconds, each above the last"
SECONDS = "give a number of seconds, more than 0"
SECONDS_0 = "give a number of seconds, 0 or more"
COUNT = "give a whole number, 1 or more"
PATH = "give a path, as a text or a pathlib.Path"
LEVEL = "use one of DEBUG, INFO, WARNING, ERROR, or a number of logging"
STREAM = "give a text stream that is open for writing"
REGISTRY_HINT = "give a registry of prometheus-client, as CollectorRegistry(), or None for its own"
TRACERS = "give a tracer provider, which has a method get_tracer"
METERS = "give a meter provider, which has a method get_meter"
NAME = "give a name, or None"
HISTORY = "give True for the usual place, a path, or False for none"
CALL = "this is the class itself: call it, as"

NAMES: list[Row] = [
    (
        "a misspelt path",
        lambda: StorageFile(pth="/data"),
        TypeError,
        "StorageFile() takes no argument 'pth': is 'path' meant?",
    ),
    (
        "another word for a path",
        lambda: StorageFile(folder="/data"),
        TypeError,
        "StorageFile() takes no argument 'folder': it takes 'path'",
    ),
    (
        "two paths",
        lambda: StorageFile("data", "more"),
        TypeError,
        "StorageFile() takes at most 1 positional argument ('path'), but got 2",
    ),
    (
        "a path for memory",
        lambda: StorageDefault(path="data"),
        TypeError,
        "StorageDefault() takes no argument 'path': it takes none",
    ),
    (
        "a path for memory, by position",
        lambda: StorageDefault("data"),
        TypeError,
        "StorageDefault() takes no positional argument, but got 1",
    ),
    (
        "a misspelt level",
        lambda: LogDefault(levle="DEBUG"),
        TypeError,
        "LogDefault() takes no argument 'levle': is 'level' meant?",
    ),
    (
        "another log's argument",
        lambda: LogDefault(stream=sys.stdout),
        TypeError,
        "LogDefault() takes no argument 'stream': it takes 'level', 'output', 'path', 'format'",
    ),
    (
        "a stream by position",
        lambda: LogStructlog("INFO", "console", None, "json", sys.stdout),
        TypeError,
        (
            "LogStructlog() takes at most 4 positional arguments ('level', 'output', 'path', "
            "'format'), but got 5: pass 'stream' by name"
        ),
    ),
    (
        "a notifier's argument",
        lambda: NotifyDefault(url="http://x"),
        TypeError,
        "NotifyDefault() takes no arguments",
    ),
    (
        "a scheduler's argument",
        lambda: SchedulerDefault("* * * * *"),
        TypeError,
        "SchedulerDefault() takes no arguments",
    ),
    (
        "a tracer's argument",
        lambda: TracerDefault(service_name="etl"),
        TypeError,
        "TracerDefault() takes no arguments",
    ),
    (
        "metrics' argument",
        lambda: MetricsDefault(CollectorRegistry()),
        TypeError,
        "MetricsDefault() takes no arguments",
    ),
    (
        "a misspelt expression",
        lambda: SchedulerCron(crn="* * * * *"),
        TypeError,
        "SchedulerCron() takes no argument 'crn': is 'cron' meant?",
    ),
    (
        "no expression",
        SchedulerCron,
        TypeError,
        "SchedulerCron.__init__() missing 1 required positional argument: 'cron'",
    ),
    (
        "a misspelt timeout",
        lambda: ServerDefault(timeout=1),
        TypeError,
        "ServerDefault() takes no argument 'timeout': is 'flush_timeout' meant?",
    ),
    (
        "a misspelt number of workers",
        lambda: ExecutorLocal(worker=2),
        TypeError,
        "ExecutorLocal() takes no argument 'worker': is 'workers' meant?",
    ),
    (
        "workers of an executor",
        lambda: ExecutorFutures(None, workers=2),
        TypeError,
        "ExecutorFutures() takes no argument 'workers': it takes 'executor', 'in_flight'",
    ),
    (
        "workers of a cluster by position",
        lambda: ExecutorDask("tcp://host:8786", 2),
        TypeError,
        (
            "ExecutorDask() takes at most 1 positional argument ('address'), but got 2: "
            "pass 'workers', 'in_flight', 'timeout' by name"
        ),
    ),
    (
        "a recording's argument",
        lambda: Recording([]),
        TypeError,
        "Recording() takes no positional argument, but got 1",
    ),
    (
        "a misspelt provider",
        lambda: TracerOpenTelemetry(provider=TracerProvider()),
        TypeError,
        "TracerOpenTelemetry() takes no argument 'provider': is 'tracer_provider' meant?",
    ),
    (
        "buckets by position",
        lambda: MetricsPrometheus(CollectorRegistry(), (1, 2)),
        TypeError,
        (
            "MetricsPrometheus() takes at most 1 positional argument ('registry'), but got 2: "
            "pass 'buckets', 'max_label_values', 'push_to' by name"
        ),
    ),
    (
        "a registry for OpenTelemetry",
        lambda: MetricsOpenTelemetry(registry=CollectorRegistry()),
        TypeError,
        (
            "MetricsOpenTelemetry() takes no argument 'registry': it takes 'reader', "
            "'meter_provider', 'service_name', 'buckets', 'max_label_values', 'timeout'"
        ),
    ),
    (
        "a misspelt slot",
        lambda: observe("etl", storge=StorageDefault()),
        TypeError,
        "observe() takes no argument 'storge': is 'storage' meant?",
    ),
    (
        "no such slot",
        lambda: observe(colour="red"),
        TypeError,
        f"observe() takes no argument 'colour': it takes {OBSERVE}",
    ),
    (
        "a registry by position",
        lambda: observe("etl", CollectorRegistry()),
        TypeError,
        (
            "observe() takes at most 1 positional argument ('service_name'), but got 2: "
            "pass 'registry', 'buckets', 'level', 'timeout', 'logs', 'history' by name"
        ),
    ),
    (
        "a slot for setup",
        lambda: setup(storage=StorageDefault()),
        TypeError,
        (
            "setup() takes no argument 'storage': it takes 'service_name', 'timeout', 'logs', "
            "'buckets'"
        ),
    ),
    (
        "a misspelt key",
        lambda: PushGateway("host:9091", "etl", group={"a": "b"}),
        TypeError,
        "PushGateway() takes no argument 'group': is 'grouping_key' meant?",
    ),
    (
        "a misspelt gateway",
        lambda: push_metrics(gatway="host:9091", job="etl"),
        TypeError,
        "push_metrics() takes no argument 'gatway': is 'gateway' meant?",
    ),
    (
        "a host",
        lambda: serve_metrics(0, adr="127.0.0.1"),
        TypeError,
        "serve_metrics() takes no argument 'adr': is 'addr' meant?",
    ),
    (
        "an application's path",
        lambda: metrics_app(path="/metrics"),
        TypeError,
        "metrics_app() takes no argument 'path': it takes 'registry'",
    ),
    (
        "a worker by name",
        lambda: worker_exited(worker=1),
        TypeError,
        "worker_exited() takes no argument 'worker': it takes 'pid'",
    ),
    (
        "a bucket",
        lambda: histogram_views(bucket=(1, 2)),
        TypeError,
        "histogram_views() takes no argument 'bucket': is 'buckets' meant?",
    ),
    (
        "a registry of a recording by position",
        lambda: record_telemetry(CollectorRegistry()),
        TypeError,
        (
            "record_telemetry() takes no positional argument, but got 1: "
            "pass 'registry', 'level', 'global_tracer' by name"
        ),
    ),
    (
        "a filter's name, which would have no effect",
        lambda: TraceContextFilter("dotflow"),
        TypeError,
        "TraceContextFilter() takes no positional argument, but got 1",
    ),
    (
        "a recording in place of observe, with no such argument",
        lambda: RecordedTelemetry().observe(servce_name="x"),
        TypeError,
        "observe() takes no argument 'servce_name': is 'service_name' meant?",
    ),
]

VALUES: list[Row] = [
    ("a number as a path", lambda: StorageFile(5), InvalidOption, invalid("path=5", PATH)),
    ("no path", lambda: StorageFile(None), InvalidOption, invalid("path=None", PATH)),
    ("bytes as a path", lambda: StorageFile(b"x"), InvalidOption, invalid("path=b'x'", PATH)),
    ("an empty path", lambda: StorageFile(""), InvalidOption, invalid("path=''", PATH)),
    (
        "a path with a NUL",
        lambda: StorageFile("a\0b"),
        InvalidOption,
        invalid("path='a\\x00b'", PATH),
    ),
    (
        "a class as a path",
        lambda: StorageFile(Path),
        InvalidOption,
        invalid(f"path={Path!r}", PATH),
    ),
    (
        "a file as a folder",
        lambda: StorageFile(path="file"),
        InvalidOption,
        invalid("path='file'", "<cwd>/file is a file: give the path of a folder"),
    ),
    (
        "a folder in a file",
        lambda: StorageFile(path="file/inner/most"),
        InvalidOption,
        invalid("path='file/inner/most'", "<cwd>/file is a file: give the path of a folder"),
    ),
    (
        "a folder whose tasks are a file",
        lambda: StorageFile(path=Path("folder")),
        InvalidOption,
        invalid(
            "path=PosixPath('folder')", "<cwd>/folder/tasks is a file: give the path of a folder"
        ),
    ),
    ("no level", lambda: LogDefault(level=None), InvalidOption, invalid("level=None", LEVEL)),
    (
        "a flag as a level",
        lambda: LogDefault(level=True),
        InvalidOption,
        invalid("level=True", LEVEL),
    ),
    (
        "a logger as a level",
        lambda: LogDefault(logging.getLogger("dotflow")),
        InvalidOption,
        invalid("level=<Logger dotflow (WARNING)>", LEVEL),
    ),
    (
        "an output that is none",
        lambda: LogDefault(output="stdout"),
        InvalidOption,
        invalid("output='stdout'", "use one of console, file, both"),
    ),
    (
        "an output that cannot be looked up",
        lambda: LogDefault(output=["file"]),
        InvalidOption,
        invalid("output=['file']", "use one of console, file, both"),
    ),
    (
        "a format that is none",
        lambda: LogDefault(format="text"),
        InvalidOption,
        invalid("format='text'", "use one of simple, json"),
    ),
    ("an empty log path", lambda: LogDefault(path=""), InvalidOption, invalid("path=''", PATH)),
    (
        "a folder as a log",
        lambda: LogDefault(output="file", path="folder"),
        InvalidOption,
        invalid("path='folder'", "it is a folder: give the path of a file"),
    ),
    (
        "a log in a file",
        lambda: LogDefault(output="file", path="file/flow.log"),
        InvalidOption,
        invalid("path='file/flow.log'", "<cwd>/file is a file, and no folder: give another path"),
    ),
    ("a number of a log", lambda: LogDefault(path=1), InvalidOption, invalid("path=1", PATH)),
    (
        "a timeout below 0",
        lambda: ServerDefault(flush_timeout=-1),
        InvalidOption,
        invalid("flush_timeout=-1", SECONDS_0),
    ),
    (
        "a timeout as a text",
        lambda: ServerDefault("5"),
        InvalidOption,
        invalid("flush_timeout='5'", SECONDS_0),
    ),
    (
        "a timeout of a flush",
        lambda: ServerDefault().flush(float("nan")),
        InvalidOption,
        invalid("timeout=nan", SECONDS_0),
    ),
    (
        "a number as an expression",
        lambda: SchedulerCron(5),
        InvalidOption,
        invalid("cron=5", "give a cron expression, as '*/5 * * * *'"),
    ),
    (
        "an overlap that is none",
        lambda: SchedulerCron("* * * * *", overlap={}),
        InvalidOption,
        invalid("overlap={}", "use one of skip, queue, parallel"),
    ),
    (
        "a schedule of what was called already",
        lambda: SchedulerCron("* * * * *").start(None),
        InvalidOption,
        invalid("workflow=None", "give what is to be called at each tick, as flow.start"),
    ),
    (
        "a schedule of what wants an argument",
        lambda: SchedulerCron("* * * * *").start(flow),
        TypeError,
        "<function flow at 0x> cannot be called at each tick: missing a required argument: 'x'",
    ),
    (
        "a schedule with an argument too many",
        lambda: SchedulerCron("* * * * *").start(called, mode="parallel"),
        TypeError,
        (
            "<function called at 0x> cannot be called at each tick: "
            "got an unexpected keyword argument 'mode'"
        ),
    ),
    (
        "a schedule stopped for a text",
        lambda: SchedulerCron("* * * * *").stop(timeout="1"),
        InvalidOption,
        invalid("timeout='1'", SECONDS_0),
    ),
    ("no worker", lambda: ExecutorLocal(0), InvalidOption, invalid("workers=0", COUNT)),
    (
        "a flag of workers",
        lambda: ExecutorLocal(True),
        InvalidOption,
        invalid("workers=True", COUNT),
    ),
    ("workers in part", lambda: ExecutorLocal(1.5), InvalidOption, invalid("workers=1.5", COUNT)),
    (
        "a class of an executor",
        lambda: ExecutorFutures(ThreadPoolExecutor),
        InvalidOption,
        invalid(
            "executor=<class 'concurrent.futures.thread.ThreadPoolExecutor'>",
            f"{CALL} ThreadPoolExecutor(...)",
        ),
    ),
    (
        "an executor of ours in another",
        lambda: ExecutorFutures(ExecutorLocal(1)),
        InvalidOption,
        invalid(
            "executor=<dotflow.providers.executor_local.ExecutorLocal object at 0x>",
            "give a concurrent.futures.Executor",
        ),
    ),
    (
        "an empty address",
        lambda: ExecutorDask(" "),
        InvalidOption,
        invalid(
            "address=' '",
            "give the scheduler's address, as 'tcp://host:8786', or None for a cluster here",
        ),
    ),
    (
        "a cluster's timeout",
        lambda: ExecutorDask(timeout=float("inf")),
        InvalidOption,
        invalid("timeout=inf", SECONDS),
    ),
    (
        "a flag as a timeout",
        lambda: ExecutorDask(timeout=True),
        InvalidOption,
        invalid("timeout=True", SECONDS),
    ),
    (
        "calls that are no list",
        lambda: RecordingTracer(()),
        InvalidOption,
        invalid("calls=()", "give a list"),
    ),
    (
        "a hook that is none",
        lambda: RecordingTracer().of("strat_task"),
        InvalidOption,
        invalid("hook='strat_task'", "is 'start_task' meant?"),
    ),
    (
        "a service without a name",
        lambda: TracerOpenTelemetry(service_name=" "),
        InvalidOption,
        invalid("service_name=' '", NAME),
    ),
    (
        "a provider as a name",
        lambda: TracerOpenTelemetry(5),
        InvalidOption,
        invalid("service_name=5", NAME),
    ),
    (
        "a tracer as a provider",
        lambda: TracerOpenTelemetry(tracer_provider=trace.NoOpTracer()),
        InvalidOption,
        invalid("tracer_provider=<opentelemetry.trace.NoOpTracer object at 0x>", TRACERS),
    ),
    (
        "a provider's class",
        lambda: TracerOpenTelemetry(tracer_provider=TracerProvider),
        InvalidOption,
        invalid(
            "tracer_provider=<class 'opentelemetry.sdk.trace.TracerProvider'>",
            f"{CALL} TracerProvider(...)",
        ),
    ),
    (
        "a name as a registry",
        lambda: MetricsPrometheus("default"),
        InvalidOption,
        invalid("registry='default'", REGISTRY_HINT),
    ),
    (
        "a registry's class",
        lambda: MetricsPrometheus(CollectorRegistry),
        InvalidOption,
        invalid(
            "registry=<class 'prometheus_client.registry.CollectorRegistry'>",
            f"{CALL} CollectorRegistry(...)",
        ),
    ),
    (
        "buckets as a text",
        lambda: MetricsPrometheus(CollectorRegistry(), buckets="1,2,3"),
        InvalidOption,
        invalid("buckets='1,2,3'", RISING),
    ),
    (
        "one bucket",
        lambda: MetricsPrometheus(CollectorRegistry(), buckets=5),
        InvalidOption,
        invalid("buckets=5", RISING),
    ),
    (
        "buckets of texts",
        lambda: MetricsPrometheus(CollectorRegistry(), buckets=["1", "2"]),
        InvalidOption,
        invalid("buckets=['1', '2']", RISING),
    ),
    (
        "a bucket that is no number",
        lambda: MetricsOpenTelemetry(buckets=[float("nan")]),
        InvalidOption,
        invalid("buckets=[nan]", RISING),
    ),
    (
        "buckets of a view",
        lambda: histogram_views((2, 1)),
        InvalidOption,
        invalid("buckets=(2, 1)", RISING),
    ),
    (
        "label values as a text",
        lambda: MetricsPrometheus(CollectorRegistry(), max_label_values="9"),
        InvalidOption,
        invalid("max_label_values='9'", COUNT),
    ),
    (
        "no number of label values",
        lambda: MetricsOpenTelemetry(max_label_values=None),
        InvalidOption,
        invalid("max_label_values=None", COUNT),
    ),
    (
        "an address in place of a gateway",
        lambda: MetricsPrometheus(CollectorRegistry(), push_to="host:9091"),
        InvalidOption,
        invalid(
            "push_to='host:9091'",
            'give a PushGateway, such as PushGateway("localhost:9091", job="nightly")',
        ),
    ),
    (
        "a meter provider as a reader",
        lambda: MetricsOpenTelemetry(MeterProvider(shutdown_on_exit=False)),
        InvalidOption,
        invalid(
            "reader=<opentelemetry.sdk.metrics._internal.MeterProvider object at 0x>",
            "give a metric reader of the OpenTelemetry SDK",
        ),
    ),
    (
        "a reader's class",
        lambda: MetricsOpenTelemetry(InMemoryMetricReader),
        InvalidOption,
        invalid(
            "reader=<class 'opentelemetry.sdk.metrics._internal.export.InMemoryMetricReader'>",
            f"{CALL} InMemoryMetricReader(...)",
        ),
    ),
    (
        "a tracer provider as that of meters",
        lambda: MetricsOpenTelemetry(meter_provider=trace.NoOpTracerProvider()),
        InvalidOption,
        invalid("meter_provider=<opentelemetry.trace.NoOpTracerProvider object at 0x>", METERS),
    ),
    (
        "a bound of 0",
        lambda: MetricsOpenTelemetry(timeout=0),
        InvalidOption,
        invalid("timeout=0", SECONDS),
    ),
    (
        "a flush for a text",
        lambda: MetricsPrometheus(CollectorRegistry()).flush("1"),
        InvalidOption,
        invalid("timeout='1'", SECONDS_0),
    ),
    (
        "a stream that is none",
        lambda: LogStructlog(stream="x"),
        InvalidOption,
        invalid("stream='x'", STREAM),
    ),
    (
        "a stream of bytes",
        lambda: LogStructlog(stream=io.BytesIO()),
        InvalidOption,
        invalid("stream=<_io.BytesIO object at 0x>", "it takes bytes: give a text stream"),
    ),
    (
        "a stream that is closed",
        lambda: LogStructlog(stream=closed()),
        InvalidOption,
        invalid("stream=<_io.StringIO object at 0x>", STREAM),
    ),
    (
        "a level of another type",
        lambda: LogStructlog(None),
        InvalidOption,
        invalid("level=None", LEVEL),
    ),
    (
        "no file",
        lambda: LogStructlog(output="file", path=b"flow.log"),
        InvalidOption,
        invalid("path=b'flow.log'", PATH),
    ),
    (
        "a format of another log",
        lambda: LogStructlog(format="yaml"),
        InvalidOption,
        invalid("format='yaml'", "use one of json, simple"),
    ),
    (
        "a flag as a text",
        lambda: setup("etl", logs="no"),
        InvalidOption,
        invalid("logs='no'", "give True, False or None"),
    ),
    (
        "a timeout of the setup",
        lambda: setup("etl", timeout="5"),
        InvalidOption,
        invalid("timeout='5'", SECONDS_0),
    ),
    ("a setup's name", lambda: setup(5), InvalidOption, invalid("service_name=5", NAME)),
    (
        "a setup's buckets",
        lambda: setup("etl", buckets=()),
        InvalidOption,
        invalid("buckets=()", RISING),
    ),
    (
        "an observed slot",
        lambda: observe("etl", storage="data"),
        NotCallableObject,
        "storage is not usable: expected an instance of dotflow.abc.storage.Storage, not 'data'.",
    ),
    (
        "observed levels",
        lambda: observe("etl", level=1.5),
        InvalidOption,
        invalid("level=1.5", LEVEL),
    ),
    (
        "an observed registry",
        lambda: observe("etl", registry="x"),
        InvalidOption,
        invalid("registry='x'", REGISTRY_HINT),
    ),
    (
        "a number as a history",
        lambda: observe("etl", history=1),
        InvalidOption,
        invalid("history=1", HISTORY),
    ),
    (
        "bytes as a history",
        lambda: observe("etl", history=b"runs.db"),
        InvalidOption,
        invalid("history=b'runs.db'", HISTORY),
    ),
    (
        "an empty path of a history",
        lambda: observe("etl", history=" "),
        InvalidOption,
        invalid("history=' '", PATH),
    ),
    (
        "a folder as a history",
        lambda: observe("etl", history="folder"),
        InvalidOption,
        invalid("history='folder'", "it is a folder: give the path of a file"),
    ),
    (
        "a history in a file",
        lambda: observe("etl", history="file/runs.db"),
        InvalidOption,
        invalid("history='file/runs.db'", "<cwd>/file is a file, and no folder: give another path"),
    ),
    (
        "a number as the history to read",
        lambda: History(1),
        InvalidOption,
        invalid("path=1", PATH),
    ),
    (
        "a folder as the history to read",
        lambda: History("folder"),
        InvalidOption,
        invalid("path='folder'", "it is a folder: give the path of a file"),
    ),
    (
        "a registry that would have no effect",
        lambda: observe("etl", registry=REGISTRY, metrics=MetricsDefault()),
        InvalidOption,
        invalid(
            "registry=<prometheus_client.registry.CollectorRegistry object at 0x>",
            "the provider given as metrics= has its own",
        ),
    ),
    (
        "a port as a text",
        lambda: serve_metrics("9464"),
        InvalidOption,
        invalid("port='9464'", "give a number from 0 to 65535"),
    ),
    (
        "a flag as a port",
        lambda: serve_metrics(True),
        InvalidOption,
        invalid("port=True", "give a number from 0 to 65535"),
    ),
    (
        "a port too high",
        lambda: serve_metrics(65536),
        InvalidOption,
        invalid("port=65536", "give a number from 0 to 65535"),
    ),
    (
        "every address by mistake",
        lambda: serve_metrics(0, ""),
        InvalidOption,
        invalid("addr=''", "give an address of this machine, as '127.0.0.1'"),
    ),
    (
        "no address",
        lambda: serve_metrics(0, None),
        InvalidOption,
        invalid("addr=None", "give an address of this machine, as '127.0.0.1'"),
    ),
    (
        "metrics in place of their registry",
        lambda: serve_metrics(0, registry=MetricsDefault()),
        InvalidOption,
        invalid(
            "registry=<dotflow.providers.metrics_default.MetricsDefault object at 0x>",
            REGISTRY_HINT,
        ),
    ),
    (
        "an application of nothing",
        lambda: metrics_app(5),
        InvalidOption,
        invalid("registry=5", REGISTRY_HINT),
    ),
    (
        "a worker in place of its id",
        lambda: worker_exited("12"),
        InvalidOption,
        invalid("pid='12'", COUNT),
    ),
    (
        "a gateway's number",
        lambda: PushGateway(9091, "etl"),
        InvalidOption,
        invalid("gateway=9091", "give 'host:9091' or a URL"),
    ),
    (
        "a gateway's scheme",
        lambda: PushGateway("ftp://host:9091", "etl"),
        InvalidOption,
        invalid("gateway='ftp://host:9091'", "give 'host:9091' or a URL of http or https"),
    ),
    (
        "a gateway's port",
        lambda: PushGateway("host:99999", "etl"),
        InvalidOption,
        invalid("gateway='host:99999'", "give 'host:9091' or a URL of http or https"),
    ),
    (
        "a gateway without a host",
        lambda: push_metrics("http://", "etl"),
        InvalidOption,
        invalid("gateway='http://'", "give 'host:9091' or a URL of http or https"),
    ),
    (
        "a job's number",
        lambda: PushGateway("host", 5),
        InvalidOption,
        invalid("job=5", "name the job"),
    ),
    (
        "a grouping key as a text",
        lambda: PushGateway("host", "etl", grouping_key="instance"),
        InvalidOption,
        invalid("grouping_key='instance'", "give a dict, as {'instance': 'eu-1'}"),
    ),
    (
        "a grouping key that is no label",
        lambda: PushGateway("host", "etl", grouping_key={"my-host": "a"}),
        InvalidOption,
        invalid("grouping_key={'my-host': 'a'}", "'my-host' cannot be a further label's name"),
    ),
    (
        "a second job",
        lambda: PushGateway("host", "etl", grouping_key={"job": "a"}),
        InvalidOption,
        invalid("grouping_key={'job': 'a'}", "'job' cannot be a further label's name"),
    ),
    (
        "a grouping key of nothing",
        lambda: PushGateway("host", "etl", grouping_key={"instance": None}),
        InvalidOption,
        invalid("grouping_key={'instance': None}", "give a text for 'instance'"),
    ),
    (
        "a push's timeout",
        lambda: PushGateway("host", "etl", timeout=-1),
        InvalidOption,
        invalid("timeout=-1", SECONDS),
    ),
    (
        "a handler",
        lambda: PushGateway("host", "etl", handler="basic"),
        InvalidOption,
        invalid("handler='basic'", "give a function, as prometheus-client's handlers"),
    ),
    (
        "a pushed registry",
        lambda: PushGateway("host", "etl").push("x"),
        InvalidOption,
        invalid("registry='x'", REGISTRY_HINT),
    ),
    (
        "a recording's flag",
        lambda: record_telemetry(global_tracer="no"),
        InvalidOption,
        invalid("global_tracer='no'", "give True or False"),
    ),
    (
        "a recording's registry",
        lambda: record_telemetry(registry=[]),
        InvalidOption,
        invalid("registry=[]", REGISTRY_HINT),
    ),
    (
        "a recording's level",
        lambda: record_telemetry(level=None),
        InvalidOption,
        invalid("level=None", LEVEL),
    ),
    (
        "a span's number",
        lambda: RecordedTelemetry().span(5),
        InvalidOption,
        invalid("name=5", "give a text"),
    ),
    (
        "a span's attribute",
        lambda: RecordedTelemetry().find("task load", "ok"),
        InvalidOption,
        invalid("attributes='ok'", "give a dict of attributes, as {'dotflow.task.name': 'load'}"),
    ),
    (
        "a span below a name",
        lambda: RecordedTelemetry().find(below="workflow etl"),
        InvalidOption,
        invalid("below='workflow etl'", "give a span, as span('workflow etl')"),
    ),
    (
        "an event's number",
        lambda: RecordedTelemetry().find_events(5),
        InvalidOption,
        invalid("event=5", "give a text"),
    ),
    (
        "a metric's number",
        lambda: RecordedTelemetry().metric(5),
        InvalidOption,
        invalid("metric=5", "give a text"),
    ),
    (
        "a waterfall's width",
        lambda: RecordedTelemetry().waterfall(0),
        InvalidOption,
        invalid("width=0", COUNT),
    ),
    (
        "a waterfall's file",
        lambda: RecordedTelemetry().tree(file="spans.txt"),
        InvalidOption,
        invalid("file='spans.txt'", STREAM),
    ),
    (
        "a tree of nothing",
        lambda: RecordedTelemetry().assert_tree(None),
        InvalidOption,
        invalid("expected=None", "give a text"),
    ),
    (
        "a snapshot of a list",
        lambda: MetricsSnapshot([]),
        InvalidOption,
        invalid("values=[]", "give a dict of values by series"),
    ),
    ("telemetry's bound", lambda: Telemetry(-1), InvalidOption, invalid("timeout=-1", SECONDS_0)),
    (
        "a flush of telemetry",
        lambda: Telemetry().flush("1"),
        InvalidOption,
        invalid("timeout='1'", SECONDS_0),
    ),
    (
        "a value that cannot be shown",
        lambda: ExecutorLocal(Unprintable()),
        InvalidOption,
        invalid(f"workers=<{Unprintable.__module__}.Unprintable object at 0x>", COUNT),
    ),
    (
        "a value too long to be shown",
        lambda: StorageFile(list(range(1000))),
        InvalidOption,
        invalid(f"path={str(list(range(1000)))[:200]}...", PATH),
    ),
]

SLOTS: list[Row] = [
    (
        "a storage's class",
        lambda: Config(storage=StorageFile),
        NotCallableObject,
        (
            "storage is not usable: expected an instance of dotflow.abc.storage.Storage, not "
            f"<class 'dotflow.providers.storage_file.StorageFile'>; {CALL} StorageFile(...)."
        ),
    ),
    (
        "an executor's class",
        lambda: Config(executor=ThreadPoolExecutor),
        NotCallableObject,
        (
            "executor is not usable: expected an instance of dotflow.abc.executor.Executor or "
            "of concurrent.futures.Executor (with Dask ExecutorDask(address) or "
            "client.get_executor()), not <class 'concurrent.futures.thread.ThreadPoolExecutor'>; "
            f"{CALL} ThreadPoolExecutor(...)."
        ),
    ),
    (
        "a provider in another's slot",
        lambda: Config(LogDefault()),
        NotCallableObject,
        (
            "storage is not usable: expected an instance of dotflow.abc.storage.Storage, not "
            "<dotflow.providers.log_default.LogDefault object at 0x>, which is for log=."
        ),
    ),
    (
        "a class that is no provider's",
        lambda: Config(log=dict),
        NotCallableObject,
        "log is not usable: expected an instance of dotflow.abc.log.Log, not <class 'dict'>.",
    ),
    (
        "a provider of OpenTelemetry",
        lambda: Config(tracer=trace.NoOpTracerProvider()),
        NotCallableObject,
        (
            "tracer is not usable: expected an instance of dotflow.abc.tracer.Tracer, not "
            "<opentelemetry.trace.NoOpTracerProvider object at 0x>."
        ),
    ),
]

STORAGE: list[Row] = [
    (
        "a key's number",
        lambda s: s.get(5),
        InvalidOption,
        invalid("key=<class 'int'>", "give a text"),
    ),
    (
        "a key removed",
        lambda s: s.delete(None),
        InvalidOption,
        invalid("key=<class 'NoneType'>", "give a text"),
    ),
    ("a prefix", lambda s: s.list_keys(5), InvalidOption, invalid("prefix=5", "give a text")),
    (
        "a value in place of its context",
        lambda s: s.post("flow-a", 5),
        InvalidOption,
        invalid("context=<class 'int'>", "give a Context, as Context(storage=...)"),
    ),
    (
        "a key in place of a context",
        lambda s: s.post(Context(), "flow-a"),
        InvalidOption,
        invalid("key=<class 'dotflow.core.context.Context'>", "give a text"),
    ),
    (
        "a time to live in the past",
        lambda s: s.post("flow-a", Context(), ttl=-1),
        InvalidOption,
        invalid("ttl=-1", SECONDS_0),
    ),
    (
        "a time to live as a text",
        lambda s: s.post("flow-a", Context(), "60"),
        InvalidOption,
        invalid("ttl='60'", SECONDS_0),
    ),
    (
        "a fingerprint of bytes",
        lambda s: s.post("flow-a", Context(), fingerprint=b"x"),
        InvalidOption,
        invalid("fingerprint=b'x'", "give a text"),
    ),
    (
        "a value that is expected",
        lambda s: s.atomic_swap("flow-a", 5, Context()),
        InvalidOption,
        invalid("expected=<class 'int'>", "give a Context, as Context(storage=...)"),
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file, and a folder whose `tasks` is a file."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "tasks").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    return tmp_path


class State(NamedTuple):
    """All that a wrong use could have changed: what stays, and what there may be less of."""

    stays: dict[str, Any]
    things: dict[str, set[Any]]

    @classmethod
    def of(cls, folder: Path) -> State:
        """Look at it now."""
        files = sorted(folder.rglob("*"))
        stays = {
            "files": files,
            "contents": [file.read_bytes() for file in files if file.is_file()],
            "tracer provider": trace.get_tracer_provider(),
            "meter provider": metrics.get_meter_provider(),
            "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        }
        things = {
            "open files": set(OPEN_FILES.iterdir()) if OPEN_FILES.exists() else set(),
            "threads": set(threading.enumerate()),
            "metrics": {metric.name for metric in REGISTRY.collect()},
            "loggers": set(logging.root.manager.loggerDict),
        }
        return cls(stays, things)

    def check(self, folder: Path) -> None:
        """Check that nothing has happened since. What earlier tests left may end meanwhile."""
        now = State.of(folder)
        assert now.stays == self.stays
        assert {name: new - self.things[name] for name, new in now.things.items()} == {
            name: set() for name in self.things
        }


def message(error: BaseException, folder: Path) -> str:
    """Return an error's text, without what differs from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", " at 0x", str(error)).replace(str(folder), "<cwd>")


def table(*rows: list[Row]) -> pytest.MarkDecorator:
    """Make a test of each row, under its name."""
    every = [row for part in rows for row in part]
    values = [row[1:] for row in every]
    return pytest.mark.parametrize(("call", "kind", "text"), values, ids=[row[0] for row in every])


@table(NAMES, VALUES, SLOTS)
def test_a_wrong_use_is_refused(call: Any, kind: type[Exception], text: str, folder: Path) -> None:
    """The error says what was wrong, with which value, and what to do; nothing has happened."""
    before = State.of(folder)
    with pytest.raises(kind) as raised:
        call()
    assert message(raised.value, folder) == text
    assert type(raised.value) is kind
    before.check(folder)


@table(STORAGE)
def test_a_wrong_use_of_a_storage(
    call: Any, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    """What cannot be a key, a context or a time to live is refused, and nothing is written."""
    storage = StorageFile(tmp_path)
    storage.post("flow-a", Context(storage=1))
    before = State.of(tmp_path)
    with pytest.raises(kind) as raised:
        call(storage)
    assert message(raised.value, tmp_path) == text
    before.check(tmp_path)
    assert storage.get("flow-a").storage == 1


def test_the_table_is_of_the_errors_that_are_promised() -> None:
    """A wrong value is a `ValueError`, a wrong name a `TypeError`; each row has its own name."""
    names = [row[0] for row in (*NAMES, *VALUES, *SLOTS, *STORAGE)]
    assert len(names) == len(set(names)) >= 60
    assert issubclass(InvalidOption, ValueError)
    assert issubclass(WrongMoment, RuntimeError)


CONSTRUCTORS = [
    *(StorageFile, StorageDefault, LogDefault, ServerDefault, SchedulerCron),
    *(ExecutorLocal, ExecutorFutures, ExecutorDask),
    *(Recording, RecordingLog, RecordingMetrics, RecordingNotify, RecordingServer),
    *(RecordingTracer, TracerOpenTelemetry, MetricsPrometheus, MetricsOpenTelemetry),
    *(LogStructlog, PushGateway, push_metrics, serve_metrics, metrics_app, MetricsApp),
    *(worker_exited, histogram_views, setup, observe, record_telemetry, RecordedTelemetry),
    *(TraceContextFilter, Telemetry, MetricsSnapshot, MetricsServer, History),
]


@pytest.mark.parametrize("made", CONSTRUCTORS, ids=lambda made: made.__name__)
def test_every_name_is_checked_and_told(made: Any) -> None:
    """An unknown argument is refused whatever others are missing; the signature shows the known."""
    with pytest.raises(TypeError) as raised:
        made(zzz=1)
    parameters = signature(made).parameters.values()
    named = [one for one in parameters if one.kind is not Parameter.VAR_KEYWORD]
    known = [one.name for one in named] + ([*KINDS] if made is observe else [])
    listed = ", ".join(map(repr, known)) or "none"
    assert str(raised.value) == f"{made.__name__}() takes no argument 'zzz': it takes {listed}"
    assert len(parameters) - len(named) == (made is observe)


def test_observe_tells_type_checkers_its_slots() -> None:
    """The slots of `Config` are those that `observe` takes, each with the same type."""
    parameters = signature(Config).parameters
    assert [*KINDS] == [*parameters]
    assert [f"{kind.__forward_arg__}" for kind in KINDS.values()] == [
        parameter.annotation for parameter in parameters.values()
    ]
