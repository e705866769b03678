"""Whatever the application has bound in structlog's context, each line of a run is written."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import structlog

from dotflow import Config, DotFlow, action
from dotflow_otel import LogStructlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODES = ("sequential", "sequential_group", "background", "parallel")
EVENTS = ["workflow.started", "task.started", "task.failed", "workflow.failed"]


class Detached:
    """Has no text, as a row of a database whose session is closed."""

    def __repr__(self) -> NoReturn:
        raise RuntimeError("no session")


def _circle() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["self"] = made
    return made


BOUND: dict[str, tuple[Any, Any]] = {
    "circle": (_circle(), {"self": "{...}"}),
    "keys": ({(1, 2): 3}, {"(1, 2)": 3}),
    "no_text": (Detached(), "<Detached whose text raises RuntimeError>"),
    "nan": ([float("nan")], ["NaN"]),
    "surrogate": ("\udcff", "\\udcff"),
}


@action
def fails() -> None:
    """Fail on the name of a file that is no UTF-8."""
    raise FileNotFoundError("caf\udce9.csv")


@pytest.fixture(params=BOUND)
def expected(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Bind a value as `user`; give what the lines are to say of it."""
    value, told = BOUND[request.param]
    with structlog.contextvars.bound_contextvars(user=value):
        yield told


def run(log: LogStructlog, mode: str) -> None:
    """Run the step that fails."""
    flow = DotFlow(config=Config(log=log), name="w")
    flow.task.add(fails)
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join(20)
    log.close()


def refuse(constant: str) -> NoReturn:
    """Take no constant that is not JSON's."""
    raise ValueError(constant)


@pytest.mark.parametrize("mode", MODES)
def test_json(expected: Any, mode: str, tmp_path: Path) -> None:
    """As strict JSON, to the console and to the file, with what can be told of the value."""
    stream, path = io.StringIO(), tmp_path / "flow.log"
    run(LogStructlog(output="both", path=path, stream=stream, format="json"), mode)
    for text in (stream.getvalue(), path.read_text("ascii")):
        lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
        assert [line["event"] for line in lines] == EVENTS
        assert [line["user"] for line in lines] == [expected] * 4
        assert lines[2]["error"] == "caf\\udce9.csv"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("expected")
def test_simple(mode: str, tmp_path: Path) -> None:
    """As text, also to a stream and a file that take no half characters."""
    path = tmp_path / "flow.log"
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    run(LogStructlog(output="both", path=path, stream=stream, format="simple"), mode)
    for text in (written.getvalue().decode(), path.read_text()):
        assert [text.count(f"{event} ") for event in EVENTS] == [1] * 4
        assert text.count("user=") == 4
        assert "FileNotFoundError: caf\\udce9.csv" in text


@pytest.mark.parametrize("mode", MODES)
def test_structlog_that_the_application_configured(expected: Any, mode: str) -> None:
    """By the application's own processors, which cannot write such a value."""
    stream = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),  # type: ignore[arg-type]
    )
    try:
        run(LogStructlog(), mode)
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == EVENTS
    if expected not in (["NaN"], "\\udcff"):  # which that renderer writes as it likes
        assert [line["user"] for line in lines] == [expected] * 4


def test_processors_that_raise_for_another_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Are told of as ever; nothing is written twice."""
    calls: list[str] = []

    def broken(_logger: object, _method: str, event: Any) -> Any:
        calls.append(event["event"])
        raise ValueError("broken")

    structlog.configure(processors=[broken])
    try:
        with structlog.contextvars.bound_contextvars(user="plain"):
            run(LogStructlog(), "sequential")
    finally:
        structlog.reset_defaults()
    assert calls == EVENTS
    assert "broken" in caplog.text
