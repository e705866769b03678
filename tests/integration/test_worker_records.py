"""A log record of a step is the one that the step made, wherever that runs."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from log_records import Keeping
from opentelemetry import trace

from dotflow import action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observed import Observed

MODES = ("sequential", "sequential_group", "background", "parallel")


@dataclass
class Order:
    """A user's object."""

    number: int


class Lost(Exception):
    """A user's error, with what pickles only by its own way."""

    def __init__(self, table: str, *, row: int) -> None:
        super().__init__(f"row {row} of {table} is lost")
        self.row = row

    def __reduce__(self) -> Any:
        return _lost_again, (self.row,)


def _lost_again(row: int) -> Lost:
    return Lost("orders", row=row)


class Mask(logging.Filter):
    """Masks a password, wherever it is among the arguments, as users do."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, dict) and "password" in record.args:
            record.args = {**record.args, "password": "***"}
        return True


@contextmanager
def kept(*filters: logging.Filter) -> Iterator[list[logging.LogRecord]]:
    """Keep the records of logger `app` that pass filters of a handler."""
    handler, logger = Keeping(), logging.getLogger("app")
    for each in filters:
        handler.addFilter(each)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("mode", MODES)
def test_template_and_arguments(observed: Observed, mode: str) -> None:
    """The template and the arguments are what the step gave, by type and value."""

    @action
    def step() -> None:
        log = logging.getLogger("app")
        log.info("%d rows of %s in %.1f s: %r", 3, Order(7), Decimal("1.25"), Path("/a"))
        log.info(Lost("orders", row=1))
        log.info("%(a)s", {"a": [1, {"b": (2,)}]})

    with kept() as records:
        observed.run(step, mode=mode)
    first, second, third = records
    assert first.msg == "%d rows of %s in %.1f s: %r"
    assert first.args == (3, Order(7), Decimal("1.25"), Path("/a"))
    assert first.getMessage() == "3 rows of Order(number=7) in 1.2 s: PosixPath('/a')"
    assert type(second.msg) is Lost
    assert second.args == ()
    assert (third.msg, third.args) == ("%(a)s", {"a": [1, {"b": (2,)}]})


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_masks(observed: Observed, mode: str) -> None:
    """What a filter of a handler masks in the arguments is not written."""

    @action
    def step() -> None:
        told = {"user": "ann", "password": "hunter2"}
        logging.getLogger("app").info("login of %(user)s with %(password)s", told)

    with kept(Mask()) as records:
        observed.run(step, mode=mode)
    assert [record.getMessage() for record in records] == ["login of ann with ***"]


@pytest.mark.parametrize("mode", MODES)
def test_the_exception_itself(observed: Observed, mode: str) -> None:
    """Handlers find the exception that was raised, and its stack trace."""

    @action
    def step() -> None:
        try:
            raise Lost("orders", row=3)
        except Lost:
            logging.getLogger("app").exception("failed")

    with kept() as records:
        observed.run(step, mode=mode)
    (record,) = records
    assert record.exc_info is not None
    kind, error, _ = record.exc_info
    assert kind is type(error) is Lost
    assert isinstance(error, Lost)
    assert error.row == 3
    text = logging.Formatter().format(record)
    assert text.startswith("failed\nTraceback (most recent call last):\n")
    assert "in step\n" in text
    assert text.endswith("Lost: row 3 of orders is lost")
    assert text.count("Traceback") == 1


@pytest.mark.parametrize("mode", MODES)
def test_place_and_context(observed: Observed, mode: str) -> None:
    """Source place, and what a factory and a filter find in the context, are the step's."""
    seen: list[tuple[str, str, int]] = []

    class Looks(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            bound = structlog.contextvars.get_contextvars()
            span = trace.get_current_span().get_span_context().span_id
            seen.append((bound["task"], bound["customer"], span))
            return True

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.shown = f"{record.name}:{record.levelno}:{record.funcName}:{record.args}"
        return record

    @action
    def step() -> str:
        structlog.contextvars.bind_contextvars(customer="acme")
        logging.getLogger("app").info("hello %s", "you")
        span = trace.get_current_span().get_span_context().span_id
        structlog.contextvars.unbind_contextvars("customer")
        return str(span)

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        with kept(Looks()) as records:
            manager = observed.run(step, mode=mode)
    finally:
        logging.setLogRecordFactory(before)
    (record,) = records
    assert (record.pathname, record.funcName) == (__file__, "step")
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[record.lineno - 1]
    assert line.strip() == 'logging.getLogger("app").info("hello %s", "you")'
    assert vars(record)["shown"] == "app:20:step:('you',)"
    assert seen == [("step", "acme", int(str(manager.tasks[0].current_context.storage)))]


@pytest.mark.parametrize("mode", MODES)
def test_arguments_that_cannot_travel(observed: Observed, mode: str) -> None:
    """What holds a lock, is large, or changes later is told as it was when the step logged."""

    class Local:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __str__(self) -> str:
            return "a local"

        def __repr__(self) -> str:
            return "<local>"

        def __index__(self) -> int:
            return 7

    @action
    def step() -> None:
        log, rows = logging.getLogger("app"), [1]
        log.info("%s is %r", Local(), Local())
        log.info("number %x", Local())
        log.info("%s", "x" * 100_000)
        log.info("%s", bytearray(100_000))
        log.info("rows %s", rows)
        rows.append(2)

    with kept() as records:
        observed.run(step, mode=mode)
        texts = [record.getMessage() for record in records]
    if mode != "parallel":
        texts[-1] = "rows [1]"  # a handler that looks later finds what has been changed
    assert texts == [
        "a local is <local>",
        "number 7",
        "x" * 100_000,
        str(bytearray(100_000)),
        "rows [1]",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_extra_fields(observed: Observed, mode: str) -> None:
    """Fields that are given by `extra` are what was given."""

    @action
    def step() -> None:
        extra = {"order": Order(3), "price": Decimal("2.5"), "tags": {"a", "b"}}
        logging.getLogger("app").info("sold", extra=extra, stack_info=True)

    with kept() as records:
        observed.run(step, mode=mode)
    told = vars(records[0])
    assert (told["order"], told["price"], told["tags"]) == (Order(3), Decimal("2.5"), {"a", "b"})
    assert records[0].stack_info is not None
    assert records[0].stack_info.startswith("Stack (most recent call last):")
