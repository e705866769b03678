"""What a step records comes to the run's process while the step goes on, wherever that runs."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from log_records import records_kept
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from waiting import wait_for
from wrapping_tracers import WrappingProvider

from dotflow import action
from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observed import Observed
    from opentelemetry.sdk.trace import ReadableSpan

MODES = ("sequential", "sequential_group", "background", "parallel")


class Marks(logging.Handler):
    """Makes a file when a record or a span of a name arrives."""

    def __init__(self, mark: Path, name: str) -> None:
        super().__init__()
        self.mark = mark
        self.awaited = name

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self.awaited:
            self.mark.touch()


class MarksSpans(SpanProcessor):
    """Likewise, for spans."""

    def __init__(self, mark: Path, name: str) -> None:
        self.mark = mark
        self.awaited = name

    def on_end(self, span: ReadableSpan) -> None:
        if span.name == self.awaited:
            self.mark.touch()


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Return a file that a step waits for."""
    return tmp_path / "arrived"


@pytest.fixture
def marks(mark: Path) -> Iterator[Marks]:
    """Configure logging so that the file is made when the line `hello` is handled."""
    handler, before = Marks(mark, "hello"), logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    yield handler
    logging.root.removeHandler(handler)
    logging.root.setLevel(before)


@pytest.mark.usefixtures("marks")
@pytest.mark.parametrize("mode", MODES)
def test_a_line_arrives_while_its_step_goes_on(observed: Observed, mark: Path, mode: str) -> None:
    """A step that waits until its line was handled goes on."""

    @action
    def step() -> bool:
        logging.getLogger("app").info("hello")
        wait_for(mark.exists, 10)
        return True

    manager = observed.run(step, mode=mode)
    assert [task.current_context.storage for task in manager.tasks] == [True]


@pytest.mark.parametrize("mode", MODES)
def test_a_span_arrives_while_its_step_goes_on(observed: Observed, mark: Path, mode: str) -> None:
    """A step that waits until a span of its has ended for the application's processors goes on."""
    observed.provider.add_span_processor(MarksSpans(mark, "hello"))
    tracer = observed.provider.get_tracer("app")

    @action
    def step() -> bool:
        with tracer.start_as_current_span("hello"):
            pass
        wait_for(mark.exists, 10)
        return True

    manager = observed.run(step, mode=mode)
    assert [task.current_context.storage for task in manager.tasks] == [True]
    attempts = [span for span in observed.finished if span.name == "attempt"]
    above = attempts[0] if mode == "parallel" else observed.ended("task step")
    assert observed.below(above) == ["hello"]


def _dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hangs() -> None:
    wait_for(lambda: False, 60)


@pytest.mark.parametrize(
    ("end", "timeout", "error_type"),
    [(_dies, 0, "worker_lost"), (_hangs, 2, "timeout")],
    ids=["killed", "late"],
)
def test_what_had_come_of_a_dead_worker_is_kept(
    observed: Observed, mark: Path, marks: Marks, end: Any, timeout: float, error_type: str
) -> None:
    """Spans and lines that had come by the time a worker was killed are there, once."""
    marks.awaited = "last"
    tracer = trace.get_tracer("app")

    @action(timeout=timeout)
    def step() -> None:
        with tracer.start_as_current_span("before"):
            logging.getLogger("app").info("first")
        logging.getLogger("app").info("last")
        wait_for(mark.exists, 10)
        end()

    with records_kept(logging.INFO) as records:
        observed.run(step, mode="parallel")
    lines = [record.getMessage() for record in records if record.name == "app"]
    assert lines == ["first", "last"]
    attempt = observed.ended("attempt")
    assert dict(attempt.attributes or {})["error.type"] == error_type
    assert observed.below(attempt) == ["before"]


def test_many_come_once_and_in_order(observed: Observed) -> None:
    """Of 5,000 lines and spans of a step in a worker none is missing, none comes twice."""
    tracer = trace.get_tracer("app")

    @action
    def step() -> None:
        for number in range(5000):
            with tracer.start_as_current_span(f"span {number}"):
                logging.getLogger("app").info("line %d", number)

    with records_kept(logging.INFO) as records:
        observed.run(step, mode="parallel")
    lines = [record.getMessage() for record in records if record.name == "app"]
    assert lines == [f"line {number}" for number in range(5000)]
    assert observed.below(observed.ended("attempt")) == [f"span {number}" for number in range(5000)]


@pytest.mark.parametrize("mode", MODES)
def test_what_wraps_the_sdk_exports_the_ids_of_the_step(
    observe: Callable[..., Observed], marks: Marks, mode: str
) -> None:
    """With a provider that wraps the SDK's, the ids that a step has sent on are those exported."""
    observed = observe(WrappingProvider)
    tracer, mark = observed.provider.get_tracer("app"), marks.mark

    @action(retry=2, retry_delay=0)
    def step() -> dict[str, list[int]]:
        sent = {"attempt": ids_here()}
        with tracer.start_as_current_span("outer"):
            sent["outer"] = ids_here()
            with tracer.start_as_current_span("inner"):
                sent["inner"] = ids_here()
                logging.getLogger("app").info("hello")
            wait_for(mark.exists, 10)
        return sent

    manager = observed.run(step, mode=mode)
    assert observed.below(observed.ended("attempt")) == ["outer"]
    assert observed.below(observed.ended("outer")) == ["inner"]
    exported = {name: observed.ended(name).context for name in ("attempt", "outer", "inner")}
    assert manager.tasks[0].current_context.storage == {
        name: [ids.trace_id, ids.span_id] for name, ids in exported.items() if ids is not None
    }
    assert len({span.context.span_id for span in observed.finished if span.context}) == 5


def ids_here() -> list[int]:
    """Return what a step sends on to the services that it calls."""
    ids = trace.get_current_span().get_span_context()
    return [ids.trace_id, ids.span_id]


def threads_here() -> int:
    """Count the threads of this process, those too that `threading` does not know."""
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="there is no /proc")
def test_a_worker_that_records_nothing_has_no_thread_for_it(
    observe: Callable[..., Observed],
) -> None:
    """The first thing that a step records starts the one thread that sends what is recorded."""

    @action
    def silent() -> int:
        return threads_here()

    @action
    def speaks() -> int:
        for _ in range(3):
            logging.getLogger("app").warning("hello")
        return threads_here()

    observed = observe()
    observed.config.executor = executor = ExecutorLocal(workers=1)
    try:
        with records_kept(logging.INFO):
            manager = observed.run([silent, silent, speaks, speaks, silent], mode="parallel")
    finally:
        executor.close()
    counts = [task.current_context.storage for task in manager.tasks]
    assert [count - counts[0] for count in counts] == [0, 0, 1, 1, 1]
