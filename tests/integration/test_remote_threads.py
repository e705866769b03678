"""Telemetry of attempts that run at the same time in one process that is not ours."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from log_records import records_kept
from observed import is_child, span_id
from opentelemetry import context, trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from remote import meeting
from remote.process import RemoteProcess, remote_process

from dotflow import action
from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observed import Observed

    from dotflow import Context

tracer = trace.get_tracer("steps")

_HASTY = "import sys; sys.setswitchinterval(1e-6)"

RUNS = ("north", "south", "west")
TASKS = 12
ROUNDS = 5


@pytest.fixture
def remote() -> Iterator[RemoteProcess]:
    """Return a process with four hasty threads."""
    yield from remote_process(setup=_HASTY)


@pytest.fixture
def rushed() -> Iterator[RemoteProcess]:
    """Return one whose first four calls begin at once, so that all want what is made once."""
    yield from remote_process(setup=_HASTY, together=4)


@pytest.fixture
def kept() -> Iterator[list[logging.LogRecord]]:
    """Configure logging as an application does, and keep what is handled."""
    with records_kept(logging.INFO) as records:
        yield records


@action
def busy(initial_context: Context) -> str:
    """Open spans and log, again and again, here and in threads that have the context or span."""
    me, rounds = initial_context.storage
    here = trace.get_current_span()

    def within(name: str) -> None:
        with trace.use_span(here), tracer.start_as_current_span(f"{name} {me}"):
            logging.getLogger("app").info("%s %s", name, me)

    for number in range(rounds):
        with tracer.start_as_current_span(f"outer {me} {number}"):
            tracer.start_span(f"inner {me} {number}").end()
            logging.getLogger("app").info("outer %s %d", me, number)
        tracer.start_span(f"root {me} {number}", context.Context()).end()
    carried = contextvars.copy_context()
    threads = [
        threading.Thread(target=carried.run, args=(within, "carried")),
        threading.Thread(target=within, args=("plain",)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return str(me)


def _expected(name: str) -> Counter[str]:
    """Return the spans of a run of `busy`: each once."""
    spans = Counter({f"workflow {name}": 1, "task busy": TASKS, "attempt": TASKS})
    for index in range(TASKS):
        me = f"{name}-{index}"
        spans.update([f"carried {me}", f"plain {me}"])
        for number in range(ROUNDS):
            spans.update(f"{kind} {me} {number}" for kind in ("outer", "inner", "root"))
    return spans


def test_each_span_reaches_its_run_once(
    observe: Callable[..., Observed], rushed: RemoteProcess
) -> None:
    """Three runs with processors of their own share a process: each gets its spans, all, once."""
    runs = {name: observe() for name in RUNS}
    for each in runs.values():
        each.config.executor = rushed.executor()

    def run(name: str) -> None:
        steps = [{"step": busy, "initial_context": (f"{name}-{i}", ROUNDS)} for i in range(TASKS)]
        runs[name].run(*steps, mode="parallel", name=name)

    with ThreadPoolExecutor(len(RUNS)) as pool:
        list(pool.map(run, RUNS))
    for name, each in runs.items():
        assert Counter(span.name for span in each.finished) == _expected(name)
    ids = [span_id(span) for each in runs.values() for span in each.finished]
    assert len(ids) == len(set(ids))


def test_each_span_is_below_its_own_attempt(observed: Observed, rushed: RemoteProcess) -> None:
    """Of attempts at the same time each has its own spans below it, in the run's trace."""
    observed.config.executor = rushed.executor()
    steps = [{"step": busy, "initial_context": (str(i), ROUNDS)} for i in range(TASKS)]
    observed.run(*steps, mode="parallel")
    attempts = {span_id(span): span for span in observed.finished if span.name == "attempt"}
    below: dict[int, set[str]] = {each: set() for each in attempts}
    for span in observed.finished:
        kind, _, rest = span.name.partition(" ")
        if kind in ("outer", "carried", "plain"):
            assert span.parent is not None
            below[span.parent.span_id].add(rest.split()[0])
        elif kind == "inner":
            assert is_child(span, observed.ended(f"outer {rest}"))
        elif kind == "root":
            assert span.parent is None
    assert sorted(map(sorted, below.values())) == sorted([str(i)] for i in range(TASKS))
    traces = {s.context.trace_id for s in observed.finished if not s.name.startswith("root")}
    assert len(traces) == 1


def test_each_record_is_handled_once(
    observe: Callable[..., Observed], rushed: RemoteProcess, kept: list[logging.LogRecord]
) -> None:
    """What three runs log in one process is handled once, with the ids of its own attempt."""
    runs = {name: observe() for name in RUNS}

    def run(name: str) -> None:
        each = runs[name]
        each.config.executor = rushed.executor()
        steps = [{"step": busy, "initial_context": (f"{name}-{i}", ROUNDS)} for i in range(TASKS)]
        each.run(*steps, mode="parallel", name=name)

    with ThreadPoolExecutor(len(RUNS)) as pool:
        list(pool.map(run, RUNS))
    mine = [record for record in kept if record.name == "app"]
    expected = Counter(
        text
        for name in RUNS
        for index in range(TASKS)
        for text in (
            f"carried {name}-{index}",
            f"plain {name}-{index}",
            *(f"outer {name}-{index} {number}" for number in range(ROUNDS)),
        )
    )
    assert Counter(record.getMessage() for record in mine) == expected
    for record in mine:
        told: Any = record
        name = record.getMessage().split()[1].partition("-")[0]
        span = next(s for s in runs[name].finished if span_id(s) == int(told.span_id, 16))
        # The span that was current: its name is the record's text.
        assert span.name == record.getMessage()
        assert span.context is not None
        assert told.trace_id == f"{span.context.trace_id:032x}"


@action
def meets(initial_context: Context) -> None:
    """Begin a span when its fellows have begun, and end when they have theirs."""
    meeting.meet("begun", 2)
    with tracer.start_as_current_span("child"):
        tracer.start_span("root", context.Context()).end()
        meeting.meet("open", 2)
    logging.getLogger("app").log(initial_context.storage, "level %d", initial_context.storage)
    meeting.meet("ended", 2)


def test_each_attempt_is_sampled_as_its_own_run(
    observe: Callable[..., Observed], remote: RemoteProcess
) -> None:
    """Of two runs at the same time in one process one is sampled, the other is not."""
    sampled, dropped = observe(), observe(sampler=ALWAYS_OFF)

    def run(each: Observed) -> None:
        each.config.executor = remote.executor()
        each.run({"step": meets, "initial_context": 20}, mode="parallel")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (sampled, dropped)))
    names = sorted(span.name for span in sampled.finished)
    assert names == ["attempt", "child", "root", "task meets", "workflow billing"]
    assert dropped.finished == ()


@action
def leaves_something() -> None:
    """Leave a thread that opens a span and logs when this attempt is long over."""
    here = contextvars.copy_context()

    def late() -> None:
        meeting.wait_for("go")
        with tracer.start_as_current_span("late"):
            logging.getLogger("app").warning("late")
        meeting.tell("done")

    threading.Thread(target=here.run, args=(late,)).start()


@action
def lets_go() -> None:
    """Have that thread go on, and wait until it has done so."""
    meeting.tell("go")
    meeting.wait_for("done")


def test_what_is_late_reaches_its_own_run(
    observe: Callable[..., Observed], remote: RemoteProcess, kept: list[logging.LogRecord]
) -> None:
    """What a run's step records after that run's end comes with another run's, and is not its."""
    early, later = observe(), observe()
    for each in (early, later):
        each.config.executor = remote.executor()
    early.run(leaves_something, mode="parallel")
    later.run(lets_go, mode="parallel")
    assert [span.name for span in later.finished] == ["attempt", "task lets_go", "workflow billing"]
    (attempt,) = (span for span in early.finished if span.name == "attempt")
    assert is_child(early.ended("late"), attempt)
    (record,) = (record for record in kept if record.name == "app")
    told: Any = record
    assert told.task == "leaves_something"
    assert told.span_id == f"{span_id(early.ended('late')):016x}"


@action
def speaks(initial_context: Context) -> None:
    """Log at all levels while its fellow does."""
    meeting.meet("before", 2)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger(initial_context.storage).log(level, "level %d", level)
    structlog.get_logger().info("an event", of=initial_context.storage)
    meeting.meet("after", 2)


def test_structlogs_events_of_threads(
    observed: Observed, remote: RemoteProcess, kept: list[logging.LogRecord]
) -> None:
    """Events of structlog of two attempts at once come once, with the ids of their own task."""
    events: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> str:
        events.append(event)
        return ""

    observed.config.executor = remote.executor()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        manager = observed.run(
            {"step": speaks, "initial_context": "a", "name": "a"},
            {"step": speaks, "initial_context": "b", "name": "b"},
            mode="parallel",
        )
    finally:
        structlog.reset_defaults()
    told = sorted((e["of"], e["task"], e["task_id"]) for e in events if e["event"] == "an event")
    assert told == [(task.name, task.name, task.task_id) for task in manager.tasks]
    levels = sorted((r.name, r.levelno) for r in kept if r.name in ("a", "b"))
    assert levels == [(name, level) for name in "ab" for level in (20, 30)]


@action
class Pipe:
    """A class step whose method takes too long."""

    @action
    def method(self) -> None:
        """Go on when the attempt is over."""
        meeting.wait_for("go")


@action
def waits(initial_context: Context) -> None:
    """Wait for the thread that was abandoned."""
    meeting.tell("go")
    for thread in threading.enumerate():
        if thread.name == initial_context.storage:
            thread.join(20)


def test_a_method_that_ends_after_its_timeout(observed: Observed, remote: RemoteProcess) -> None:
    """The span of a method whose thread was abandoned comes when it has ended."""
    observed.config.executor = remote.executor()
    limited = action(timeout=0.05)(Pipe.func)
    late = {"step": limited, "name": "late"}
    wait = {"step": waits, "initial_context": "dotflow-late"}
    observed.run(late, wait, {**wait, "group_name": "b"}, mode="parallel", keep_going=True)
    (attempt,) = (s for s in observed.finished if is_child(s, observed.ended("task late")))
    assert (attempt.attributes or {})["error.type"] == "timeout"
    method = observed.ended("method method")
    assert is_child(method, attempt)
    assert method.instrumentation_scope == observed.ended("task late").instrumentation_scope


def _breaks() -> None:
    """Log, and fail, when what refers to this is read."""
    logging.getLogger("app").warning("cannot be read")
    tracer.start_span("opened").end()
    raise ImportError("no such module")


class Unreadable:
    """What cannot be read where it arrives."""

    def __reduce__(self) -> Any:
        return _breaks, ()


@pytest.mark.parametrize("where", ["ours", "theirs"])
def test_what_is_recorded_while_a_step_cannot_be_read(
    observed: Observed, remote: RemoteProcess, kept: list[logging.LogRecord], where: str
) -> None:
    """Where a step cannot be read, what was recorded until then comes with that outcome."""
    held = Unreadable()

    @action
    def broken() -> object:
        return held

    own = ExecutorLocal(workers=1)
    observed.config.executor = own if where == "ours" else remote.executor()
    try:
        manager = observed.run(broken, mode="parallel")
    finally:
        own.close()
    assert manager.tasks[0].failure.name == "PicklingFailed"
    (attempt,) = (span for span in observed.finished if span.name == "attempt")
    assert (attempt.attributes or {})["error.type"] == "dotflow.core.exception.PicklingFailed"
    assert len(observed.finished) == 4
    assert observed.ended("opened").parent is None
    assert [record.getMessage() for record in kept if record.name == "app"] == ["cannot be read"]
