"""Providers at a wrong moment, and right uses that a check must let through."""

from __future__ import annotations

import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.storage import Storage
from dotflow.core.exception import WrongMoment
from dotflow.providers import ExecutorDask, ExecutorLocal, LogDefault, SchedulerCron, StorageFile
from dotflow_otel import (
    LogStructlog,
    MetricsOpenTelemetry,
    PushFailed,
    PushGateway,
    Telemetry,
    TracerOpenTelemetry,
    record_telemetry,
    serve_metrics,
)
from dotflow_otel.conventions import SCOPE


def called() -> None:
    """Take no argument."""


class Vendor:
    """A tracer provider that is one by its methods alone."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_tracer(self, name: str, *args: Any, **kwargs: Any) -> trace.Tracer:
        self.asked.append(name)
        return trace.NoOpTracer()


class NotReady:
    """A proxy of something that is not there yet."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("not ready")


class Quiet:
    """A stream of an application's own, with no more than is needed."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.lines.append(text)

    def flush(self) -> None:
        pass

    def __len__(self) -> int:
        return 0


@action
def ok() -> str:
    """Return a value."""
    return "ok"


def run(config: Config) -> None:
    """Run a workflow of one step."""
    workflow = DotFlow(config=config, name="etl")
    workflow.task.add(ok)
    workflow.start()


@pytest.mark.parametrize("kind", [Vendor, NotReady])
def test_a_provider_is_known_by_its_method(kind: Any) -> None:
    """A vendor's provider need not be of the API's class, and a proxy is not asked for more."""
    provider = kind()
    assert TracerOpenTelemetry(tracer_provider=provider).provider is provider


def test_a_vendors_provider_makes_the_spans() -> None:
    """A run is traced by a provider that is one by its method alone."""
    provider: Any = Vendor()
    run(Config(tracer=TracerOpenTelemetry(tracer_provider=provider), log=LogDefault("ERROR")))
    assert provider.asked == [SCOPE]


def test_a_stream_needs_to_be_written_to_alone() -> None:
    """A stream of an application's own has no `isatty`, and may be empty."""
    stream: Any = Quiet()
    run(Config(log=LogStructlog(stream=stream)))
    assert len(stream.lines) == 4


@pytest.mark.parametrize("log", [LogDefault, LogStructlog])
@pytest.mark.parametrize(
    ("level", "written"),
    [
        (logging.DEBUG, ["debug", "info", "warning", "error"]),
        (15, ["info", "warning", "error"]),
        (logging.CRITICAL, []),
        ("CRITICAL", ["info", "warning", "error"]),
    ],
)
def test_levels_of_logging_are_numbers(
    log: Any, level: str | int, written: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A number of `logging` is a level as well; a name that is unknown means INFO."""
    made = log(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(made, name)(note=f"a line of {name}")
    text = capsys.readouterr().err
    assert [name for name in ("debug", "info", "warning", "error") if f"of {name}" in text] == (
        written
    )


def test_the_path_is_the_first_argument(tmp_path: Path) -> None:
    """`StorageFile` takes its path by position and by name, as text and as any path."""
    for path in (tmp_path / "a", str(tmp_path / "b")):
        assert StorageFile(path).path == Path(path) / "tasks"
        assert StorageFile(path=path).path == Path(path) / "tasks"
    with os.scandir(tmp_path) as entries:
        entry = next(iter(entries))
        assert StorageFile(entry).path == Path(entry) / "tasks"


class Passing(StorageFile):
    """A storage as programs for 1.x have it: it hands on what it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Naming(StorageFile):
    """Another one, which takes an argument of its own."""

    def __init__(self, *args: Any, bucket: str, path: str, **kwargs: Any) -> None:
        super().__init__(*args, path=path, **kwargs)
        self.bucket = bucket


class Own(Storage):
    """A storage of 1.x from the ground up: the base takes whatever it is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def post(self, key: str, context: Context, *args: Any, **kwargs: Any) -> None:
        """Store nothing."""

    def get(self, key: str) -> Context:
        """Return nothing."""
        return Context()

    def key(self, task: Any) -> str:
        """Return a key."""
        return str(task.task_id)


def test_storages_of_1x_go_on(tmp_path: Path) -> None:
    """A subclass hands on what it was given; an argument that the base lacks is its mistake."""
    assert Passing(tmp_path).path == Passing(path=tmp_path).path == tmp_path / "tasks"
    assert Naming(bucket="b", path=str(tmp_path)).path == tmp_path / "tasks"
    assert isinstance(Own("a", 2, path="x", region=None), Storage)
    with pytest.raises(
        TypeError, match=r"^StorageFile\(\) takes no argument 'pth': is 'path' mean"
    ):
        Passing(pth=tmp_path)


# --- the wrong moment -------------------------------------------------------------------------


def test_a_schedule_is_started_once_at_a_time() -> None:
    """A second `start` is refused while the first goes on; before it `stop` does nothing."""
    scheduler = SchedulerCron("* * * * *")
    scheduler.stop()
    begun = threading.Thread(target=scheduler.start, args=(called,))
    begun.start()
    while not scheduler.running:
        begun.join(0.001)
    with pytest.raises(WrongMoment) as raised:
        scheduler.start(called)
    assert str(raised.value) == "This schedule is on already: stop() it, or make another one."
    scheduler.stop()
    scheduler.stop()
    begun.join(10)
    assert (begun.is_alive(), scheduler.running) == (False, False)


def test_a_schedule_can_be_started_again() -> None:
    """After it was stopped a schedule can be started again."""
    scheduler = SchedulerCron("* * * * *")
    for _ in range(2):
        begun = threading.Thread(target=scheduler.start, args=(called,))
        begun.start()
        while not scheduler.running:
            begun.join(0.001)
        scheduler.stop()
        begun.join(10)
        assert not begun.is_alive()


def test_an_executor_that_is_closed_starts_anew() -> None:
    """`close` may come first, and twice; a run after it has new workers."""
    executor = ExecutorLocal(1)
    executor.close()
    config = Config(executor=executor, log=LogDefault("ERROR"))
    for _ in range(2):
        workflow = DotFlow(config=config)
        workflow.task.add(ok)
        workflow.start(mode="parallel")
        assert workflow.result_storage() == ["ok"]
        executor.close()
        executor.close()


def test_a_cluster_that_was_never_used_is_closed() -> None:
    """`close` may come before the first run, and twice; nobody is connected to."""
    with ExecutorDask("tcp://127.0.0.1:1") as executor:
        executor.close()
        executor.close()


def test_an_executor_that_was_shut_down_fails_the_task() -> None:
    """A pool that its owner has shut down takes no attempt, and the error says what to do."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    workflow = DotFlow(config=Config(executor=pool, log=LogDefault(logging.CRITICAL)))
    workflow.task.add(ok)
    workflow.start(mode="parallel")
    (task,) = workflow.result_task()
    assert [error.exception for error in task.errors] == ["ExecutorUnusable"]


@pytest.mark.parametrize("log", [LogDefault, LogStructlog])
def test_a_log_that_is_closed_opens_again(log: Any, tmp_path: Path) -> None:
    """`close` may come before a line, and twice; a later line opens the file again."""
    written = log(output="file", path=tmp_path / "flow.log")
    written.close()
    written.info(event="a")
    written.close()
    written.close()
    written.info(event="b")
    written.close()
    assert len((tmp_path / "flow.log").read_text(encoding="utf-8").splitlines()) == 2


def test_a_server_of_metrics_is_closed_twice() -> None:
    """A second `close` does nothing, also at the end of the `with` that it was closed in."""
    with serve_metrics(0, registry=CollectorRegistry()) as server:
        server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 10)


def test_metrics_that_were_ended() -> None:
    """After `shutdown` neither it nor `flush` has anything to do, and a run goes on."""
    recorder = MetricsOpenTelemetry(InMemoryMetricReader())
    assert recorder.shutdown()
    assert (recorder.shutdown(), recorder.flush()) == (True, True)
    run(Config(metrics=recorder, log=LogDefault("ERROR")))


def test_telemetry_that_was_ended() -> None:
    """What `setup` gives can be flushed and ended again when it was ended."""
    telemetry = Telemetry()
    assert [telemetry.shutdown(), telemetry.shutdown(), telemetry.flush()] == [True, True, True]


def test_a_gateway_where_nobody_is() -> None:
    """An address that is none by its form is refused at once; one that does not answer, then."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    gateway = PushGateway(f"127.0.0.1:{port}", "etl")
    with pytest.raises(PushFailed, match=r"^The metrics of job 'etl' could not be pushed to "):
        gateway.push(CollectorRegistry())


def test_a_recording_is_entered_once() -> None:
    """A recording is for one `with`: entered again, during it or after it, it says so."""
    recording = record_telemetry(global_tracer=False)
    refused = "^This recording was begun already: call record_telemetry\\(\\) again.$"
    with recording:
        with pytest.raises(WrongMoment, match=refused):
            recording.__enter__()
        run(Config(log=LogDefault("ERROR")))
    with pytest.raises(WrongMoment, match=refused), recording:
        pass


def test_a_recording_that_has_not_begun_ends_without_effect() -> None:
    """An exit without an entry, as of a stack that was not entered, does nothing."""
    record_telemetry().__exit__(None, None, None)


def test_a_recording_before_any_run_and_after_its_end() -> None:
    """Before a run there is nothing to read, and it says why; after the end all of it stays."""
    with record_telemetry(global_tracer=False) as telemetry:
        assert (telemetry.spans, telemetry.events, telemetry.outline()) == ((), [], "")
        assert telemetry.metric("dotflow_task_completed_total") == 0
        telemetry.assert_balanced()
        nothing = "nothing was recorded: is `telemetry.config` the workflow's config?"
        with pytest.raises(AssertionError) as raised:
            telemetry.span("workflow etl")
        assert str(raised.value) == f"no span 'workflow etl' was recorded\n{nothing}"
        run(telemetry.config)
    assert telemetry.outline() == "workflow etl\n  task ok"
    assert telemetry.metric("dotflow_task_completed_total") == 1
    assert telemetry.event("task.completed")["task"] == "ok"
