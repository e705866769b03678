"""Records and events of odd errors and values: nothing of theirs keeps one from being told."""

from __future__ import annotations

import io
import json
import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from collecting import nothing_collected
from observed import RecordedRuns
from odd_objects import ERRORS, RESULTS

from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import LogStructlog
from dotflow_otel.plain import to_plain
from dotflow_otel.relay.log_entry import RecordEntry
from dotflow_otel.sdk.log_pipeline import RecordExporter
from dotflow_otel.spans.attributes import code_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    """Call no finalizers of other tests' objects in the middle of a deep recursion."""
    with nothing_collected():
        yield


class _Writer:
    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def write(self, logger: str, level: int, body: str, attributes: Any, **_: Any) -> None:
        self.attributes = attributes


def _record_of(name: str, value: object) -> logging.LogRecord:
    error = ERRORS[name].make()
    info = type(error), error, None
    record = logging.LogRecord("app", logging.ERROR, "app.py", 1, "failed", (), info)
    record.value = value
    return record


@pytest.mark.parametrize("name", ERRORS)
def test_a_record_of_any_error_comes_back_from_a_worker(name: str) -> None:
    """With the text of its exception."""
    entry = RecordEntry.of(_record_of(name, 1))
    read = pickle.loads(pickle.dumps(entry))
    assert read.fields["msg"] == "failed"
    assert ERRORS[name].name in read.fields["exc_text"]


@pytest.mark.parametrize("name", ERRORS)
def test_a_record_of_any_error_is_exported(name: str) -> None:
    """With the name, text and stack trace of its exception."""
    writer = _Writer()
    RecordExporter(writer).handle_record(_record_of(name, 1))  # type: ignore[arg-type]
    told = writer.attributes
    assert told["exception.type"] == ERRORS[name].name
    assert ERRORS[name].message in (None, told["exception.message"])
    assert ERRORS[name].name in told["exception.stacktrace"]


def test_records_of_any_errors_are_in_the_history(tmp_path: Path) -> None:
    """Each with the stack trace of its exception."""
    with RecordedRuns(tmp_path / "history.db") as recorded:

        @action
        def log_all() -> None:
            for name in ERRORS:
                record = _record_of(name, 1)
                record.msg = name
                recorded.recorder.record_logged(record)

        recorded.run(log_all)
        run, history = recorded.only()
        with history:
            told = {line.event: line.fields.get("exception", "") for line in history.logs(run)}
    assert [name for name in ERRORS if ERRORS[name].name not in told.get(name, "")] == []


@pytest.mark.parametrize("name", RESULTS)
def test_any_value_has_a_plain_form(name: str) -> None:
    """That pickles, and that records and events take."""
    value = RESULTS[name].make()
    pickle.dumps(to_plain(value))
    pickle.dumps(to_plain([value, {"k": value}]))
    writer = _Writer()
    RecordExporter(writer).handle_record(_record_of("timeout", value))  # type: ignore[arg-type]
    assert type(writer.attributes.get("value", "")) in {str, bool, int, float}


@action
def surrogate() -> None:
    """Fail with a text that cannot be encoded."""
    raise ValueError("\udcff")


@pytest.mark.parametrize("form", ["simple", "json"])
def test_a_text_that_cannot_be_encoded_is_escaped(form: str, tmp_path: Path) -> None:
    """In files and streams, and the line is whole."""
    paths = tmp_path / "default", tmp_path / "structlog"
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    logs = [
        LogDefault(output="file", path=paths[0], format=form),
        LogStructlog(output="file", path=paths[1], format=form),
        LogStructlog(stream=stream, format=form),
    ]
    for log in logs:
        flow = DotFlow(config=Config(log=log))
        flow.task.add(surrogate)
        flow.start()
    texts = [path.read_text("utf-8") for path in paths]
    stream.seek(0)
    for text in (*texts, stream.read()):
        assert "ValueError" in text
        assert "\\udcff" in text
        if form == "json":
            assert [json.loads(line) for line in text.splitlines()]


def test_a_step_that_answers_to_any_name_has_a_span_all_the_same() -> None:
    """Of which it is not told where its code stands."""

    class Odd:
        def __call__(self) -> int:
            return 1

        def __getattr__(self, name: str) -> Any:
            return self

    assert code_attributes(action(Odd())) == {}
