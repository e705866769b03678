"""Log lines: where they go and how they look."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from dotflow import Config, DotFlow, action
from dotflow.core.exception import InvalidOption
from dotflow_otel import LogStructlog, TraceContextFilter, TracerOpenTelemetry, add_run_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@action
def ok() -> None:
    """Succeed."""


@action
def fails() -> None:
    """Fail."""
    raise ValueError("no such table")


def run(log: LogStructlog, *steps: Any, **providers: Any) -> None:
    """Run steps as the workflow `billing`."""
    flow = DotFlow(config=Config(log=log, **providers), name="billing")
    flow.task.add(list(steps))
    flow.start()


def events(text: str) -> list[str]:
    """Return the events of JSON lines."""
    return [json.loads(line)["event"] for line in text.splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    """Return a stream that is no terminal."""
    return io.StringIO()


@pytest.fixture
def configured() -> Iterator[list[dict[str, Any]]]:
    """Configure structlog as an application would; give the events that it gets."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", 9),
        ("INFO", 9),
        ("nonsense", 9),
        ("Warning", 3),
        ("ERROR", 2),
    ],
)
def test_level(stream: io.StringIO, level: str, expected: int) -> None:
    """What is below the level is not written; an unknown level is INFO."""
    run(LogStructlog(level, stream=stream), ok, ok, fails, ok)
    everything = [
        "workflow.started",
        *("task.started", "task.completed") * 2,
        *("task.started", "task.failed", "task.skipped", "workflow.failed"),
    ]
    written = events(stream.getvalue())
    assert len(written) == expected
    assert [event for event in everything if event in written] == written


def test_timestamp(stream: io.StringIO) -> None:
    """The time is UTC, ISO 8601, to the microsecond."""
    run(LogStructlog(stream=stream), ok)
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    stamps = [json.loads(line)["timestamp"] for line in stream.getvalue().splitlines()]
    assert all(re.fullmatch(pattern, stamp) for stamp in stamps)
    assert stamps == sorted(stamps)


def test_terminal() -> None:
    """On a terminal lines are for people, in colours."""
    terminal = Terminal()
    run(LogStructlog(stream=terminal), fails)
    text = terminal.getvalue()
    assert "\x1b[" in text
    assert "task.failed" in text
    assert "ValueError: no such table" in text
    assert not text.startswith("{")


def test_simple_without_colours(stream: io.StringIO) -> None:
    """`simple` on what is no terminal has no colours."""
    run(LogStructlog(stream=stream, format="simple"), ok)
    assert "\x1b[" not in stream.getvalue()
    assert "task.completed" in stream.getvalue()


def test_json_on_a_terminal() -> None:
    """`json` is JSON on a terminal, too."""
    terminal = Terminal()
    run(LogStructlog(stream=terminal, format="json"), ok)
    assert len(events(terminal.getvalue())) == 4


@pytest.mark.parametrize("output", ["file", "both"])
def test_file(stream: io.StringIO, tmp_path: Path, output: str) -> None:
    """A file gets JSON lines, appended, its folders are made; `both` writes both."""
    path = tmp_path / "logs" / "flow.log"
    for _ in range(2):
        log = LogStructlog(output=output, path=path, stream=stream)
        run(log, ok)
        log.close()
    assert len(events(path.read_text())) == 8
    assert len(events(stream.getvalue())) == (8 if output == "both" else 0)


FORKS = """
import os, sys, threading
from dotflow_otel import LogStructlog

log = LogStructlog(output="file", path=sys.argv[1], format="json")
log.info(event="first")
sys.setswitchinterval(1e-6)
ended = threading.Event()

def write():
    while not ended.is_set():
        log.info(event="parent")

writers = [threading.Thread(target=write) for _ in range(4)]
for writer in writers:
    writer.start()
for _ in range(20):
    child = os.fork()
    if not child:
        import signal
        signal.alarm(10)
        log.info(event="child")
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("a child hangs")
        break
ended.set()
for writer in writers:
    writer.join()
"""


def test_file_of_forked_children(tmp_path: Path) -> None:
    """Children that are forked while threads write to the file write to it as well, at once."""
    path = tmp_path / "flow.log"
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    written = events(path.read_text())
    assert written.count("child") == 20
    assert set(written) == {"first", "parent", "child"}


def test_file_is_closed_with_its_log(tmp_path: Path) -> None:
    """A log that is gone leaves no open file behind: a warning would fail this test."""
    run(LogStructlog(output="file", path=tmp_path / "flow.log"), ok)


@pytest.mark.parametrize("options", [{"output": "printer"}, {"format": "xml"}])
def test_bad_options(options: dict[str, str]) -> None:
    """An unknown output or format is an error that names it."""
    with pytest.raises(InvalidOption, match=next(iter(options))):
        LogStructlog(**options)  # type: ignore[arg-type]


def test_no_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console runs silently."""
    monkeypatch.setattr("sys.stderr", None)
    run(LogStructlog(), ok)


def test_own_messages(stream: io.StringIO) -> None:
    """The log can be used for other messages, as in 1.x."""
    log = LogStructlog("DEBUG", stream=stream)
    log.debug(event="cache.hit", key=object)
    log.info(rows=3)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["level"]) == ("cache.hit", "debug")
    assert (second["event"], second["rows"]) == ("message", 3)


def test_structlog_stays_unconfigured(stream: io.StringIO) -> None:
    """Writing lines configures nothing globally."""
    run(LogStructlog(stream=stream), ok)
    assert not structlog.is_configured()


def test_applications_configuration(stream: io.StringIO, configured: list[dict[str, Any]]) -> None:
    """An application that has configured structlog gets the events by its own processors."""
    run(LogStructlog("WARNING", stream=stream), ok, fails, ok)
    assert stream.getvalue() == ""
    assert [(entry["event"], entry["log_level"]) for entry in configured] == [
        ("task.failed", "error"),
        ("task.skipped", "warning"),
        ("workflow.failed", "error"),
    ]
    assert configured[0]["error"] == "no such table"


def test_bound_by_the_application(stream: io.StringIO) -> None:
    """What the application has bound in structlog's context is in the lines."""
    with structlog.contextvars.bound_contextvars(request_id="r1", task="not this one"):
        run(LogStructlog(stream=stream), ok)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["request_id"] for line in lines} == {"r1"}
    assert "task" not in lines[0]


class Records(logging.Handler):
    """Keeps records, with the ids that the filter gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(TraceContextFilter())
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


def test_standard_librarys_records(stream: io.StringIO) -> None:
    """With the filter on a handler a step's own records carry its ids; others carry empty ones."""
    logger, handler = logging.getLogger("test.otel.records"), Records()
    logger.addHandler(handler)
    provider = TracerProvider(shutdown_on_exit=False)
    inner = {}

    @action
    def tells() -> None:
        logger.warning("here")
        with provider.get_tracer("test").start_as_current_span("inner") as span:
            inner["id"] = f"{span.get_span_context().span_id:016x}"
            logger.warning("within")

    logger.warning("before")
    run(LogStructlog(stream=stream), tells, tracer=TracerOpenTelemetry(tracer_provider=provider))
    before, here, within = handler.records
    started = json.loads(stream.getvalue().splitlines()[1])
    assert (before.workflow_id, before.task, before.trace_id) == ("", "", "")
    names = ("workflow_id", "workflow", "task_id", "task", "trace_id", "span_id")
    assert {name: getattr(here, name) for name in names} == {name: started[name] for name in names}
    assert (within.trace_id, within.span_id) == (started["trace_id"], inner["id"])
    logger.removeHandler(handler)


def test_structlogs_records(stream: io.StringIO) -> None:
    """With the processor a step's own events carry its ids."""
    seen: list[Any] = []

    @action
    def tells() -> None:
        seen.append(add_run_context(None, "info", {"event": "mine", "task": "kept"}))

    run(LogStructlog(stream=stream), tells)
    (event,) = seen
    assert (event["workflow"], event["task"], event["event"]) == ("billing", "kept", "mine")
    assert add_run_context(None, "info", {}) == {}
