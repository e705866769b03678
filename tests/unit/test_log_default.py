"""The log interface and `LogDefault`."""

from __future__ import annotations

import gc
import io
import json
import logging
import re
import sys
import threading
import weakref
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psutil
import pytest

from dotflow.abc.log import LEVELS, Log, LogRecord, LogRecordError
from dotflow.abc.noop import is_noop
from dotflow.core.exception import InvalidOption, TaskError
from dotflow.core.types import TypeStatus
from dotflow.providers.log_default import LogDefault
from dotflow.settings import Settings

WORKFLOW = UUID("7f0a4f6e-6f0e-4cde-9a52-8ed3b7e9f0aa")


def make_task(**facts: Any) -> SimpleNamespace:
    """A task, as far as a log looks at it."""
    defaults = {
        "task_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "workflow_id": WORKFLOW,
        "name": "fetch",
        "status": TypeStatus.COMPLETED,
        "duration": 0.25,
        "retry_count": 0,
        "errors": [],
        "run": SimpleNamespace(name="billing"),
    }
    return SimpleNamespace(**{**defaults, **facts})


def failed_task() -> SimpleNamespace:
    """A task that failed at its second attempt."""
    try:
        raise KeyError("k")
    except KeyError as error:
        errors = [TaskError(ValueError("first"), attempt=1), TaskError(error)]
    return make_task(status=TypeStatus.FAILED, retry_count=1, errors=errors)


class Stderr:
    """What was written to stderr so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Stderr:
    """What the test writes to stderr."""
    return Stderr(capsys)


class Lines:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def log(self, level: int, text: str) -> None:
        self.lines.append((level, text))


class Own(Log):
    """A log of a user's own, written for 1.x."""

    def __init__(self, level: int, form: str) -> None:
        self.logger = Lines()
        self._logger = self.logger  # type: ignore[assignment]
        self._level = level
        self._format = form


def lines_of(log: Own) -> list[tuple[int, str]]:
    """What an `Own` log was given."""
    return log.logger.lines


def test_levels() -> None:
    """`LEVELS` maps the names of the four levels to logging's numbers."""
    assert LEVELS == {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}


@pytest.mark.parametrize("threshold", [*LEVELS.values(), logging.CRITICAL])
def test_subclass_inherits_filtering(threshold: int) -> None:
    """What is below `_level` is dropped, the rest reaches `_logger.log(level, text)`."""
    log = Own(threshold, "simple")
    for hook in ("debug", "info", "warning", "error"):
        getattr(log, hook)(note=hook)
    kept = [
        (LEVELS[hook.upper()], str({"note": hook}))
        for hook in ("debug", "info", "warning", "error")
    ]
    assert lines_of(log) == [line for line in kept if line[0] >= threshold]


def test_simple_text_names_the_step() -> None:
    """The text of a task holds its ids and status as in 1.x, and then its name."""
    log = Own(logging.INFO, "simple")
    log.info(task=make_task())
    log.info(task=make_task(name=""))
    start = f"ID {WORKFLOW} - 01ARZ3NDEKTSV4RRFFQ69G5FAV - Completed"
    assert lines_of(log) == [(20, f"{start} - fetch"), (20, start)]


def test_simple_text_of_an_error_ends_with_the_traceback() -> None:
    """At ERROR a line break and the last traceback follow; at WARNING they do not."""
    log = Own(logging.INFO, "simple")
    task = failed_task()
    log.error(task=task)
    log.warning(task=task)
    log.error(task=make_task(status=TypeStatus.FAILED))
    first, second, third = [text for _, text in lines_of(log)]
    assert first == f"{second}\n{task.errors[-1].traceback}"
    assert first.rstrip().endswith("KeyError: 'k'")
    assert third.endswith("Failed - fetch")


def test_json_of_a_task() -> None:
    """A JSON line holds names, ids, status and duration, and leaves out what is not known."""
    log = Own(logging.INFO, "json")
    log.info(task=make_task())
    ((level, text),) = lines_of(log)
    fields = json.loads(text)
    stamp = datetime.fromisoformat(fields.pop("timestamp"))
    assert stamp.utcoffset() == timedelta(0)
    assert level == logging.INFO
    assert fields == {
        "level": "INFO",
        "workflow_id": str(WORKFLOW),
        "task_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "status": "Completed",
        "duration": 0.25,
        "workflow": "billing",
        "task": "fetch",
    }


def test_json_of_an_error() -> None:
    """The last error is in it at ERROR only; the retry count wherever it is not zero."""
    log = Own(logging.INFO, "json")
    log.error(task=failed_task())
    log.warning(task=failed_task())
    log.error(task=make_task(status=TypeStatus.FAILED, run=None))
    failed, retried, bare = [json.loads(text) for _, text in lines_of(log)]
    assert failed["error"] == {"exception": "KeyError", "message": "'k'"}
    assert failed["retry_count"] == 1
    assert failed["level"] == "ERROR"
    assert (retried["level"], "error" in retried) == ("WARNING", False)
    assert "error" not in bare
    assert "workflow" not in bare


def test_task_of_1x_needs_no_name() -> None:
    """A task object without `name` and `run`, made for 1.x, is logged all the same."""
    task = make_task()
    del task.name, task.run
    for form in ("simple", "json"):
        log = Own(logging.INFO, form)
        log.info(task=task)
        assert "01ARZ3NDEKTSV4RRFFQ69G5FAV" in lines_of(log)[0][1]


def test_json_without_a_task() -> None:
    """Without a task the keywords are the fields, whatever JSON says to their types."""
    log = Own(logging.DEBUG, "json")
    log.debug(message="50 % done", where=Path("x"))
    fields = json.loads(lines_of(log)[0][1])
    assert {"message": "50 % done", "where": "x", "level": "DEBUG"}.items() <= fields.items()
    assert "timestamp" in fields


def test_additional_hooks_have_defaults() -> None:
    """A restored task is an `info`; the other additional hooks are marked as doing nothing."""
    log = Own(logging.INFO, "simple")
    log.task_restored(make_task())  # type: ignore[arg-type]
    assert len(lines_of(log)) == 1
    for hook in ("run_started", "run_finished", "task_skipped", "attempt_finished"):
        assert is_noop(getattr(log, hook))
    for hook in ("attempt_scope", "remote_scope"):
        assert is_noop(getattr(log, hook))
        assert getattr(log, hook)(None, 1) is None


def test_records() -> None:
    """The models have defaults, equality, and dump with or without what is None."""
    assert LogRecordError().model_dump() == {"exception": "", "message": ""}
    assert LogRecordError("E", "m").model_dump_json(exclude_none=True) == (
        '{"exception": "E", "message": "m"}'
    )
    record = LogRecord(level="INFO", error=LogRecordError(exception="E"))
    assert record == LogRecord(level="INFO", error=LogRecordError(exception="E"))
    assert record.model_dump(exclude_none=True) == {
        "timestamp": "",
        "level": "INFO",
        "workflow_id": "",
        "task_id": "",
        "status": "",
        "error": {"exception": "E", "message": ""},
    }
    empty = LogRecord().model_dump()
    assert (empty["duration"], empty["retry_count"], empty["error"]) == (None, None, None)
    assert json.loads(LogRecord().model_dump_json(exclude_none=True)).keys() == {
        "timestamp",
        "level",
        "workflow_id",
        "task_id",
        "status",
    }


@pytest.mark.parametrize(
    ("given", "lowest"),
    [
        ("DEBUG", "debug"),
        ("debug", "debug"),
        ("Warning", "warning"),
        ("ERROR", "error"),
        ("loud", "info"),
        ("", "info"),
    ],
)
def test_level_names(given: str, lowest: str, stderr: Stderr) -> None:
    """Levels are named in any case; an unknown one means INFO."""
    log = LogDefault(level=given)
    hooks = ["debug", "info", "warning", "error"]
    for hook in hooks:
        getattr(log, hook)(note=hook)
    assert stderr.getvalue().count("\n") == len(hooks) - hooks.index(lowest)


@pytest.mark.parametrize("option", [{"output": "printer"}, {"format": "xml"}])
def test_unknown_options_raise(option: dict[str, Any]) -> None:
    """An unknown output or format raises an error that names it."""
    with pytest.raises(InvalidOption, match=re.escape(next(iter(option.values())))):
        LogDefault(**option)


def test_console_line(stderr: Stderr) -> None:
    """A line of text goes to the stderr of the moment, in the form of 1.x."""
    LogDefault().info(task=make_task())
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - INFO \[dotflow\.log\]: "
        rf"ID {WORKFLOW} - \w{{26}} - Completed - fetch\n",
        stderr.getvalue(),
    )


def test_console_follows_stderr(monkeypatch: pytest.MonkeyPatch, stderr: Stderr) -> None:
    """A stderr that is replaced later gets the later lines; none at all is no error."""
    log = LogDefault()
    log.info(note=1)
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    log.info(note=2)
    monkeypatch.setattr(sys, "stderr", None)
    log.info(note=3)
    assert stderr.getvalue().endswith("{'note': 1}\n")
    assert later.getvalue().endswith("{'note': 2}\n")
    assert later.getvalue().count("\n") == 1


def test_broken_console_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that cannot be written to does not reach the caller."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    LogDefault().info(note=1)


def test_json_lines_are_json_alone(stderr: Stderr) -> None:
    """With format json every line is one JSON object, without a prefix."""
    log = LogDefault(format="json")
    log.info(task=make_task())
    log.error(task=failed_task())
    lines = stderr.getvalue().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["Completed", "Failed"]


def test_text_is_not_a_template(stderr: Stderr) -> None:
    """A percent sign in what is logged is itself."""
    LogDefault().info(note="%s %d")
    assert "{'note': '%s %d'}" in stderr.getvalue()


def test_file(tmp_path: Path, stderr: Stderr) -> None:
    """`file` makes folders at the first line, appends, and leaves stderr alone."""
    path = tmp_path / "a" / "b" / "flow.log"
    log = LogDefault(output="file", path=path)
    assert not path.parent.exists()
    log.info(note="\u00e9")
    log.close()
    log.info(note=2)
    log.close()
    other = LogDefault(output="file", path=str(path))
    other.info(note=3)
    other.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line[-13:] for line in lines] == [
        "{'note': '\u00e9'}",
        ": {'note': 2}",
        ": {'note': 3}",
    ]
    assert stderr.getvalue() == ""


def test_both(tmp_path: Path, stderr: Stderr) -> None:
    """`both` writes the same line to the file and to stderr, once each."""
    path = tmp_path / "flow.log"
    log = LogDefault(output="both", path=path)
    log.info(note=1)
    log.close()
    assert path.read_text(encoding="utf-8") == stderr.getvalue()
    assert stderr.getvalue().count("\n") == 1


def test_default_path(tmp_path: Path, stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless given, the file is the one of the settings, and `console` makes none."""
    monkeypatch.chdir(tmp_path)
    path = Settings.LOG_PATH.absolute()
    LogDefault().info(note=1)
    assert stderr.getvalue().count("\n") == 1
    assert not path.exists()
    log = LogDefault(output="file")
    log.info(note=2)
    log.close()
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert stderr.getvalue().count("\n") == 1


def test_instances_share_nothing(stderr: Stderr, tmp_path: Path) -> None:
    """Each instance has its own logger and handler: a line appears once, at its own level."""
    first, second = LogDefault("ERROR"), LogDefault("DEBUG", output="file", path=tmp_path / "l")
    first.info(note=1)
    second.debug(note=2)
    second.close()
    assert stderr.getvalue() == ""
    assert (tmp_path / "l").read_text().count("\n") == 1


def test_does_not_propagate(stderr: Stderr, caplog: pytest.LogCaptureFixture) -> None:
    """The root logger sees none of the lines."""
    with caplog.at_level(logging.DEBUG):
        LogDefault("DEBUG").error(task=failed_task())
    assert [each for each in caplog.records if each.thread == threading.get_ident()] == []


def test_nothing_is_left_behind(tmp_path: Path, stderr: Stderr) -> None:
    """A log that is gone leaves no logger, handler or descriptor, closed or not."""
    LogDefault(output="both", path=tmp_path / "warm.log").info(note=0)
    gc.collect()
    loggers = set(logging.Logger.manager.loggerDict)
    handlers = len(logging._handlerList)  # type: ignore[attr-defined]  # noqa: SLF001 - logging has no public list
    gone = []
    for number in range(20):
        log = LogDefault(output="both", path=tmp_path / f"{number}.log")
        log.info(note=number)
        gone.append(weakref.ref(log))
        del log
    gc.collect()
    assert [ref() for ref in gone] == [None] * 20
    assert set(logging.Logger.manager.loggerDict) == loggers
    assert len(logging._handlerList) == handlers  # type: ignore[attr-defined]  # noqa: SLF001 - logging has no public list
    opened = [each.path for each in psutil.Process().open_files()]
    assert [each for each in opened if each.startswith(str(tmp_path))] == []
