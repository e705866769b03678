"""The same telemetry on every executor: spans, counts, lines and records, each once."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from observed import Observed, is_child
from opentelemetry import trace

from dotflow import Config, Context, action
from dotflow_otel import TraceContextFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

tracer = trace.get_tracer(__name__)


@action
def opens() -> int:
    """Open a span of its own, and add to the attempt's."""
    trace.get_current_span().set_attribute("rows", 3)
    with tracer.start_as_current_span("select"):
        return os.getpid()


class Pipe:
    """Two methods."""

    @action
    def extract(self) -> int:
        """Return 2."""
        return 2

    @action
    def double(self, previous_context: Context) -> int:
        """Return twice what came."""
        return int(previous_context.storage) * 2


@action
def pipe() -> Pipe:
    """Return a class step."""
    return Pipe()


@action
def speaks() -> None:
    """Log a record and an event."""
    logging.getLogger("app").warning("read %d rows", 3)
    structlog.get_logger("app").warning("slow query", rows=3)


@action(timeout=0.2)
def late() -> None:
    """Take longer than allowed."""
    signal.sigtimedwait([], 20)


@action(retry=2, retry_delay=0)
def killed_once(initial_context: Context) -> int:
    """Kill the process that runs this, at the first attempt."""
    begun = Path(initial_context.storage)
    with begun.open("a") as file:
        file.write("x")
    if begun.read_text() == "x":
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


@pytest.fixture
def observed(executor: Any) -> Observed:
    """A config of that executor whose telemetry can be read back."""
    made = Observed()
    made.config.executor = Config(executor=executor).executor
    return made


def _attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


def _is_apart(executor: Any) -> bool:
    return not isinstance(executor, ThreadPoolExecutor)


def test_every_span_count_and_line_arrives_once(observed: Observed) -> None:
    """Each task has one span with one attempt, is counted once, and has its two lines."""
    observed.run(opens, opens, opens, mode="parallel")
    names = Counter(span.name for span in observed.finished)
    assert names["workflow billing"] == 1
    assert names["task opens"] == names["attempt"] == 3
    tasks = [span for span in observed.finished if span.name == "task opens"]
    assert all(is_child(task, observed.ended("workflow billing")) for task in tasks)
    assert [observed.below(task) for task in tasks] == [["attempt"]] * 3
    assert len({span.context.trace_id for span in observed.finished if span.context}) == 1
    labels = {"workflow": "billing", "task": "opens"}
    assert observed.metric("dotflow_task_started_total", **labels) == 3
    assert observed.metric("dotflow_task_completed_total", **labels) == 3
    assert observed.metric("dotflow_task_duration_seconds_count", status="completed", **labels) == 3
    assert observed.metric("dotflow_task_in_progress") == 0
    events = Counter(each.event for each in observed.find_events(task="opens"))
    assert events == {"task.started": 3, "task.completed": 3}


def test_spans_of_the_step_are_below_its_attempt(executor: Any, observed: Observed) -> None:
    """What a step opens is below its attempt, which tells of its process, and takes attributes."""
    manager = observed.run(opens, mode="parallel")
    attempt = observed.ended("attempt")
    told = _attributes(attempt)
    assert told["rows"] == 3
    assert told["dotflow.attempt.number"] == 1
    assert told["dotflow.task.queue.duration"] >= 0
    if _is_apart(executor):
        assert told["process.pid"] == manager.tasks[0].current_context.storage != os.getpid()
        assert told["host.name"] == socket.gethostname()
        # In this process it is where the application's global provider sends it.
        assert is_child(observed.ended("select"), attempt)


def test_methods_of_a_class_step_are_spans(observed: Observed) -> None:
    """Each method of a class step is a span below the attempt."""
    observed.run(pipe, mode="parallel")
    assert observed.below(observed.ended("attempt")) == ["method extract", "method double"]


def test_a_timeout_is_told(observed: Observed) -> None:
    """A timed-out attempt is a span of that type and length, and is counted."""
    observed.run(late, mode="parallel")
    attempt = observed.ended("attempt")
    assert _attributes(attempt)["error.type"] == "timeout"
    assert 0.2e9 <= (attempt.end_time or 0) - (attempt.start_time or 0) < 12e9
    labels = {"workflow": "billing", "task": "late"}
    assert observed.metric("dotflow_task_timed_out_total", **labels) == 1
    assert observed.metric("dotflow_task_failed_total", error_type="timeout", **labels) == 1


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.addFilter(TraceContextFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[_Kept]:
    """Configure logging as an application does."""
    handler = _Kept()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_records_of_the_step_come_back_once(observed: Observed, kept: _Kept) -> None:
    """What a step logs is handled once, as the application logs, with the ids of its attempt."""
    events: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: dict[str, Any]) -> Any:
        events.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        manager = observed.run(speaks, mode="parallel")
    finally:
        structlog.reset_defaults()
    context = observed.ended("attempt").context
    assert context is not None
    ids = {
        "task_id": manager.tasks[0].task_id,
        "workflow": "billing",
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
    }
    (record,) = [each for each in kept.records if each.name == "app"]
    assert record.getMessage() == "read 3 rows"
    assert ids.items() <= vars(record).items()
    (event,) = [each for each in events if each["event"] == "slow query"]
    assert event["rows"] == 3
    assert ids.items() <= event.items()


# Threads have no process of their own, and Python's pool breaks as a whole.
@pytest.mark.parametrize("executor", ["local", "dask", "dask-client"], indirect=True)
def test_a_killed_worker_is_a_lost_attempt(observed: Observed, tmp_path: Path) -> None:
    """One attempt is lost, the retry succeeds, other chains go on, and the trace tells all."""
    begun = tmp_path / "begun"
    step = {"step": killed_once, "initial_context": str(begun)}
    manager = observed.run(*[opens] * 8, step, *[opens] * 8, mode="parallel")
    assert {task.status for task in manager.tasks} == {"Completed"}
    assert begun.read_text() == "xx"
    task = observed.ended("task killed_once")
    attempts = [span for span in observed.finished if is_child(span, task)]
    lost, retried = sorted(attempts, key=lambda span: _attributes(span)["dotflow.attempt.number"])
    assert _attributes(lost)["error.type"] == "worker_lost"
    assert _attributes(lost)["process.pid"] not in {
        os.getpid(),
        _attributes(retried)["process.pid"],
    }
    assert _attributes(lost)["host.name"] == socket.gethostname()
    assert "error.type" not in _attributes(retried)
    assert (task.start_time or 0) <= (lost.start_time or 0) < (lost.end_time or 0)
    assert len(observed.finished) == 1 + 17 + 18 + 16
    labels = {"workflow": "billing", "task": "killed_once"}
    assert observed.metric("dotflow_worker_lost_total", **labels) == 1
    assert observed.metric("dotflow_worker_lost_total") == 1
    assert observed.metric("dotflow_task_retried_total", error_type="worker_lost", **labels) == 1
    assert observed.event("task.retried")["error_type"] == "worker_lost"
