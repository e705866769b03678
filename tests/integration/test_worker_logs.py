"""What steps log in worker processes: handled once, as the application logs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry import trace

from dotflow import action
from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from observed import Observed


class Kept(logging.Handler):
    """Keeps the records that it is given, with the span that was current."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[logging.LogRecord, int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record, trace.get_current_span().get_span_context().span_id))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Configure logging as an application does: a handler, and some levels."""
    handler = Kept()
    root, noisy = logging.getLogger(), logging.getLogger("noisy")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    noisy.setLevel(logging.ERROR)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
    noisy.setLevel(logging.NOTSET)


@action
def logs() -> None:
    """Log with the standard library."""
    logging.getLogger("app").info("read %d rows", 3, extra={"table": "orders", "key": {"a": [1]}})
    logging.getLogger("app").debug("not wanted")
    logging.getLogger("noisy").warning("not wanted")
    try:
        raise KeyError("k")
    except KeyError:
        logging.getLogger("app").exception("no such key")


def test_records_of_a_worker(observed: Observed, kept: Kept) -> None:
    """Records that a step makes in a worker are handled as the application logs, with ids."""
    manager = observed.run(logs, mode="parallel")
    attempt = observed.ended("attempt")
    assert attempt.context is not None
    mine = [(record, current) for record, current in kept.records if record.name == "app"]
    (first, current), (second, _) = mine
    assert [record.getMessage() for record, _ in mine] == ["read 3 rows", "no such key"]
    assert first.levelno == logging.INFO
    assert first.process != os.getpid()
    assert first.funcName == "logs"
    assert vars(first)["table"] == "orders"
    assert vars(first)["key"] == {"a": [1]}
    assert vars(first)["task"] == "logs"
    assert vars(first)["task_id"] == manager.tasks[0].task_id
    assert vars(first)["workflow"] == "billing"
    assert vars(first)["trace_id"] == f"{attempt.context.trace_id:032x}"
    assert vars(first)["span_id"] == f"{attempt.context.span_id:016x}"
    assert current == attempt.context.span_id
    assert str(second.exc_text).endswith("KeyError: 'k'")
    assert [record for record, _ in kept.records if record.name == "noisy"] == []


def test_levels_are_those_of_the_run(observed: Observed, kept: Kept) -> None:
    """A worker that served one run takes the levels of the next one."""
    observed.run(logs, mode="parallel")
    logging.getLogger("noisy").setLevel(logging.NOTSET)
    logging.getLogger("app").setLevel(logging.CRITICAL)
    kept.records.clear()
    try:
        observed.run(logs, mode="parallel")
    finally:
        logging.getLogger("app").setLevel(logging.NOTSET)
    names = [record.name for record, _ in kept.records if record.name in ("app", "noisy")]
    assert names == ["noisy"]


def test_structlog_in_a_worker(observed: Observed) -> None:
    """Events of structlog in a worker go through the application's configuration, once."""
    events: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> str:
        events.append({"method": method, **event})
        return ""

    @action
    def speaks() -> None:
        structlog.get_logger("x").bind(rows=3).warning("slow query", of=object)

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        manager = observed.run(speaks, mode="parallel")
    finally:
        structlog.reset_defaults()
    attempt = observed.ended("attempt")
    assert attempt.context is not None
    (event,) = (event for event in events if event["event"] == "slow query")
    assert event.pop("logged_at").endswith("+00:00")
    assert event == {
        "method": "warning",
        "event": "slow query",
        "rows": 3,
        "of": "<class 'object'>",
        "workflow_id": str(manager.workflow_id),
        "workflow": "billing",
        "task_id": manager.tasks[0].task_id,
        "task": "speaks",
        "trace_id": f"{attempt.context.trace_id:032x}",
        "span_id": f"{attempt.context.span_id:016x}",
    }


def test_order_of_lines(observed: Observed, kept: Kept) -> None:
    """What a step logged is there before the line that tells that its task has ended."""
    before: list[tuple[str, list[str]]] = []
    kept.emit = lambda record: before.append(
        (record.getMessage(), [event.event for event in observed.events])
    )
    observed.run(logs, mode="parallel")
    began = ["workflow.started", "task.started"]
    assert before == [("read 3 rows", began), ("no such key", began)]
    order = [event.event for event in observed.events]
    assert order == [*began, "task.completed", "workflow.completed"]


@pytest.fixture
def one_worker() -> Iterator[ExecutorLocal]:
    """Return a single worker of the test's own."""
    executor = ExecutorLocal(workers=1)
    yield executor
    executor.close()


def test_what_a_step_binds_ends_with_it(observed: Observed, one_worker: ExecutorLocal) -> None:
    """What one step binds is not there in the next one that its worker runs."""

    @action
    def binds() -> object:
        structlog.contextvars.bind_contextvars(customer="alice")
        return structlog.contextvars.get_contextvars().get("customer")

    @action
    def looks() -> object:
        return structlog.contextvars.get_contextvars().get("customer")

    observed.config.executor = one_worker
    manager = observed.run(binds, looks, mode="parallel")
    assert [task.current_context.storage for task in manager.tasks] == ["alice", None]


def test_level_of_structlog(observed: Observed) -> None:
    """Events below the level of the application's structlog are not even kept."""
    seen: list[str] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> str:
        seen.append(event["event"])
        return ""

    @action
    def speaks() -> str:
        structlog.get_logger().debug("not wanted")
        structlog.get_logger().info("wanted")
        wrapper: type = structlog.get_config()["wrapper_class"]
        return wrapper.__name__

    structlog.configure(
        processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO)
    )
    try:
        manager = observed.run(speaks, mode="parallel")
    finally:
        structlog.reset_defaults()
    assert [event for event in seen if "wanted" in event] == ["wanted"]
    assert manager.tasks[0].current_context.storage == "BoundLoggerFilteringAtInfo"


def test_values_without_an_end(observed: Observed) -> None:
    """Whatever a step logs, it goes on: a value that holds itself, a huge one, a broken one."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @action
    def speaks() -> str:
        endless: dict[str, object] = {}
        endless["self"] = endless
        log = structlog.get_logger()
        log.info("endless", value=endless)
        log.info("huge", value=range(10**9))
        log.info("broken", value=Broken())
        logging.getLogger("app").error("endless", extra={"value": endless, "other": Broken()})
        return "done"

    seen: list[dict[str, Any]] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> str:
        seen.append(event)
        return ""

    structlog.configure(processors=[keep])
    try:
        manager = observed.run(speaks, mode="parallel")
    finally:
        structlog.reset_defaults()
    assert manager.tasks[0].current_context.storage == "done"
    told = {event["event"]: event.get("value") for event in seen}
    assert told["huge"] == "range(0, 1000000000)"
    assert told["broken"] == "<Broken without a text>"
    assert str(told["endless"]).count("self") == 8


# A program with a module beside it, as users have them.
_MODULE = """
import logging, sys
import structlog
from dotflow import action

{setup}

@action
def step():
    {speaks}
"""
_PROGRAM = """
import logging, sys
from dotflow import Config, DotFlow
from dotflow_otel import LogStructlog
{setup}
from steps import step

flow = DotFlow(config=Config(log=LogStructlog(level="ERROR")), name="billing")
flow.task.add(step)
flow.start(mode=sys.argv[1])
"""


def printed(folder: Path, mode: str, module: str, speaks: str, program: str = "") -> list[str]:
    """Run the program in a mode and give the lines that it printed, on either stream."""
    (folder / "steps.py").write_text(_MODULE.format(setup=module, speaks=speaks))
    (folder / "program.py").write_text(_PROGRAM.format(setup=program))
    done = subprocess.run(
        [sys.executable, "program.py", mode],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_handler_of_the_steps_module(tmp_path: Path, mode: str) -> None:
    """A handler that the module of a step adds has each record once, and the root's too."""
    module = """
log = logging.getLogger("steps")
log.addHandler(logging.StreamHandler())
"""
    speaks = 'log.warning("once")'
    program = 'logging.basicConfig(format="root: %(message)s")'
    assert sorted(printed(tmp_path, mode, module, speaks, program)) == ["once", "root: once"]


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_structlog_over_the_standard_library(tmp_path: Path, mode: str) -> None:
    """Events that structlog hands to the standard library are rendered where they arrive."""
    module = """
structlog.configure(
    processors=[
        structlog.stdlib.add_log_level,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)
"""
    program = """
import structlog
handler = logging.StreamHandler()
handler.setFormatter(
    structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ]
    )
)
logging.root.addHandler(handler)
"""
    speaks = 'structlog.get_logger("x").warning("stored", rows=[3])'
    lines = printed(tmp_path, mode, module, speaks, program)
    assert [json.loads(line) for line in lines] == [
        {"rows": [3], "event": "stored", "level": "warning"}
    ]


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_workflow_in_a_step(tmp_path: Path, mode: str) -> None:
    """The lines of a workflow that a step runs are JSON there as well."""
    module = """
from dotflow import Config, DotFlow
from dotflow_otel import LogStructlog

@action
def inner():
    return 1
"""
    speaks = """
    flow = DotFlow(config=Config(log=LogStructlog()), name="inner")
    flow.task.add(inner)
    flow.start()
"""
    events = [json.loads(line)["event"] for line in printed(tmp_path, mode, module, speaks)]
    assert events == ["workflow.started", "task.started", "task.completed", "workflow.completed"]


def test_a_level_with_a_name_of_its_own(observed: Observed, kept: Kept) -> None:
    """The name of a level is the one that the application gave it."""

    @action
    def notices() -> None:
        logging.getLogger("app").log(25, "custom")

    logging.addLevelName(25, "NOTICE")
    try:
        observed.run(notices, mode="parallel")
    finally:
        logging.addLevelName(25, "Level 25")
    assert [record.levelname for record, _ in kept.records if record.name == "app"] == ["NOTICE"]


class Auditing(logging.Logger):
    """A class of loggers with a method of its own."""

    def audit(self, what: str) -> None:
        """Log what matters to auditors."""
        self._log(logging.ERROR, "audit: %s", (what,))


_request: ContextVar[str] = ContextVar("request", default="none")


def with_request(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """Make a record that tells of the request."""
    record = logging.LogRecord(*args, **kwargs)
    record.__dict__["request"] = _request.get()
    return record


@action
def audits() -> None:
    """Log with a method of the application's own, and warn, within a request."""
    _request.set("r1")
    logging.getLogger("audited").audit("paid")  # type: ignore[attr-defined]
    warnings.warn("old", UserWarning, stacklevel=1)


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
def test_what_makes_loggers_and_records(observed: Observed, kept: Kept, mode: str) -> None:
    """The application's class of loggers, its record factory and its capture of warnings hold."""
    logging.setLoggerClass(Auditing)
    logging.setLogRecordFactory(with_request)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        try:
            manager = observed.run(audits, mode=mode)
        finally:
            logging.captureWarnings(False)
            logging.setLogRecordFactory(logging.LogRecord)
            logging.setLoggerClass(logging.Logger)
    assert manager.tasks[0].status == "Completed"
    told = [
        (record.name, record.getMessage().partition("UserWarning: ")[2] or record.getMessage())
        for record, _ in kept.records
        if record.name != "dotflow"
    ]
    assert [(name, text.splitlines()[0]) for name, text in told] == [
        ("audited", "audit: paid"),
        ("py.warnings", "old"),
    ]
    assert {vars(record).get("request") for record, _ in kept.records} == {"r1"}


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_nothing_of_that_stays_in_a_worker(observed: Observed, kept: Kept, mode: str) -> None:
    """The next run's workers have what makes loggers and records then."""

    @action
    def shows() -> list[str]:
        kind, factory = logging.getLoggerClass(), logging.getLogRecordFactory()
        return [kind.__name__, getattr(factory, "__name__", ""), warnings.showwarning.__module__]

    observed.config.executor = executor = ExecutorLocal(workers=1)
    try:
        logging.setLoggerClass(Auditing)
        try:
            first = observed.run(shows, mode=mode)
        finally:
            logging.setLoggerClass(logging.Logger)
        second = observed.run(shows, mode=mode)
    finally:
        executor.close()
    found = [each.tasks[0].current_context.storage for each in (first, second)]
    assert [each[:2] for each in found] == [["Auditing", "LogRecord"], ["Logger", "LogRecord"]]
    assert logging.__name__ not in {each[2] for each in found}
