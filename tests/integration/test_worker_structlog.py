"""What an application has configured in structlog holds for its steps, wherever these run."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from log_records import records_kept
from structlog.processors import CallsiteParameter, CallsiteParameterAdder

from dotflow import action
from dotflow_otel import LogStructlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observed import Observed

MODES = ("sequential", "sequential_group", "background", "parallel")

PLACE = (
    CallsiteParameter.FILENAME,
    CallsiteParameter.PATHNAME,
    CallsiteParameter.FUNC_NAME,
    CallsiteParameter.LINENO,
    CallsiteParameter.MODULE,
)


class Application:
    """Keeps the events that come to the end of the application's processors."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def configure(self, *processors: Any, **options: Any) -> None:
        """Configure structlog so."""
        structlog.configure(processors=[*processors, self._keep], **options)

    def _keep(self, _logger: Any, method: str, event: dict[str, Any]) -> str:
        self.events.append({**event, "method": method})
        return ""

    @property
    def of_step(self) -> list[dict[str, Any]]:
        """The events of steps; in a worker there is one field more, when they were logged."""
        ours = ("work", "task.", "app: work", "app: task.")
        mine = [each for each in self.events if not each["event"].startswith(ours)]
        own = ("logged_at", "positional_args")
        return [{key: each[key] for key in each if key not in own} for each in mine]


@pytest.fixture
def app() -> Iterator[Application]:
    """Return what configures structlog, and undo that."""
    yield Application()
    structlog.reset_defaults()


def speaks() -> int:
    """Log one event; return the number of its line."""
    structlog.get_logger().info("hello", rows=3)
    return speaks.__code__.co_firstlineno + 2


@pytest.mark.parametrize("mode", MODES)
def test_where_an_event_comes_from(observed: Observed, app: Application, mode: str) -> None:
    """A processor finds the file, function and line of the step."""
    app.configure(CallsiteParameterAdder(PLACE))

    @action
    def step() -> int:
        return speaks()

    manager = observed.run(step, mode=mode)
    assert app.of_step == [
        {
            "event": "hello",
            "rows": 3,
            "method": "info",
            "filename": "test_worker_structlog.py",
            "pathname": __file__,
            "func_name": "speaks",
            "lineno": manager.tasks[0].current_context.storage,
            "module": "test_worker_structlog",
        }
    ]


@pytest.mark.parametrize("mode", MODES)
def test_where_an_event_of_a_coroutine_comes_from(
    observed: Observed, app: Application, mode: str
) -> None:
    """So it is where the event is logged with `await`."""
    app.configure(CallsiteParameterAdder([CallsiteParameter.FUNC_NAME, CallsiteParameter.LINENO]))

    @action
    async def waits() -> int:
        await structlog.get_logger().ainfo("hello")
        return waits.func.__code__.co_firstlineno + 2

    manager = observed.run(waits, mode=mode)
    line = manager.tasks[0].current_context.storage
    assert app.of_step == [
        {"event": "hello", "method": "info", "func_name": "waits", "lineno": line}
    ]


@pytest.mark.skipif(
    not hasattr(structlog.contextvars, "_ASYNC_CALLING_THREAD"), reason="this structlog is older"
)
@pytest.mark.parametrize("mode", MODES)
def test_the_thread_of_an_event(observed: Observed, app: Application, mode: str) -> None:
    """An event has the name of the thread of the step that logged it."""
    app.configure(CallsiteParameterAdder([CallsiteParameter.THREAD_NAME]))

    @action
    def step() -> None:
        thread = threading.Thread(target=structlog.get_logger().info, args=("hi",), name="loader")
        thread.start()
        thread.join()

    observed.run(step, mode=mode)
    assert app.of_step == [{"event": "hi", "method": "info", "thread_name": "loader"}]


@pytest.mark.parametrize("mode", MODES)
def test_records_that_structlog_makes(observed: Observed, mode: str) -> None:
    """With the standard library behind it, a record has the name and the place of the step."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )

    @action
    def step() -> int:
        logger = structlog.get_logger("app of structlog")
        assert logger.isEnabledFor(logging.INFO)
        assert not logger.isEnabledFor(logging.DEBUG)
        assert logger.name == "app of structlog"
        logger.debug("not wanted")
        logger.info("read %d rows of %s", 3, "orders", key="k")
        structlog.get_logger().warning("of no name")
        return speaks()

    try:
        with records_kept(logging.INFO) as records:
            manager = observed.run(step, mode=mode)
    finally:
        structlog.reset_defaults()
    mine = [each for each in records if each.name != "dotflow"]
    assert [(each.name, each.getMessage()) for each in mine] == [
        ("app of structlog", "read 3 rows of orders"),
        (__name__, "of no name"),
        (__name__, "hello"),
    ]
    assert vars(mine[0])["key"] == "k"
    assert [each.funcName for each in mine] == ["step", "step", "speaks"]
    assert {each.filename for each in mine} == {"test_worker_structlog.py"}
    assert mine[2].lineno == manager.tasks[0].current_context.storage


class Audits(structlog.BoundLoggerBase):
    """A class of loggers with methods of its own, one of which says more."""

    def audit(self, what: str, **more: Any) -> Any:
        """Log what matters to auditors."""
        return self._proxy_to_logger("info", f"audit: {what}", audited=True, **more)

    def info(self, event: str, **more: Any) -> Any:
        """Log with a prefix."""
        return self._proxy_to_logger("info", f"app: {event}", **more)


@pytest.mark.parametrize("mode", MODES)
def test_a_class_of_loggers_of_the_applications_own(
    observed: Observed, app: Application, mode: str
) -> None:
    """Its methods are there for steps, and each is called once."""
    app.configure(wrapper_class=Audits)

    @action
    def step() -> None:
        logger = structlog.get_logger()
        logger.audit("paid", amount=3)
        logger.bind(a=1).info("hello")

    observed.run(step, mode=mode)
    assert app.of_step == [
        {"event": "audit: paid", "audited": True, "amount": 3, "method": "info"},
        {"event": "app: hello", "a": 1, "method": "info"},
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_class_of_loggers_for_coroutines(observed: Observed, app: Application, mode: str) -> None:
    """Also one whose methods are to be awaited."""
    app.configure(wrapper_class=structlog.stdlib.AsyncBoundLogger)

    @action
    async def step() -> None:
        await structlog.get_logger().info("hello", rows=3)

    # Our events would not be awaited.
    observed.config.log = LogStructlog(level=logging.CRITICAL)
    observed.run(step, mode=mode)
    assert app.of_step == [{"event": "hello", "rows": 3, "method": "info"}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "kind", [None, structlog.stdlib.BoundLogger, structlog.BoundLogger, Audits]
)
def test_a_logger_that_is_bound_outside_of_the_step(
    observed: Observed, app: Application, mode: str, kind: Any
) -> None:
    """A logger that a step has from its module logs as the application has configured it."""
    app.configure(**({} if kind is None else {"wrapper_class": kind}))
    logger = structlog.get_logger().bind(module="billing")

    @action
    def step() -> None:
        logger.info("hello")
        logger.bind(rows=3).error("broken") if kind is not Audits else None

    observed.run(step, mode=mode)
    prefix = "app: " if kind is Audits else ""
    expected = [{"event": f"{prefix}hello", "module": "billing", "method": "info"}]
    if kind is not Audits:
        more = {"event": "broken", "module": "billing", "rows": 3, "method": "error"}
        expected.append(more)
    assert app.of_step == expected
