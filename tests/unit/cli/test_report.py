"""How the results of runs are written: as JSON, in tables, and where that fails."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dotflow import Config, DotFlow, action
from dotflow.cli.report import Output
from dotflow.testing import Recording

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@action
def good() -> int:
    """Return a number."""
    return 7


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no luck")


def flow_of(*steps: Callable[..., object]) -> DotFlow:
    """Return a workflow that has run."""
    flow = DotFlow(config=Config(**Recording().providers), name="etl")
    flow.task.add(list(steps))
    flow.start(keep_going=True)
    return flow


def write(output: Output, flow: DotFlow) -> bool:
    """Write the result of a run that took half a second."""
    failed = any(task.status == "Failed" for task in flow.result_task())
    return output.write(flow, flow.result_task(), 0.5, failed=failed)


def test_json_alone_is_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    """The result is one line of JSON; what else goes to the descriptor of stdout is on stderr."""
    flow = flow_of(good)
    output = Output(as_json=True)
    with output.stdout:
        os.write(1, b"of a step\n")
        assert write(output, flow)
    out, err = capfd.readouterr()
    assert (out.count("\n"), err) == (1, "of a step\n")
    result = json.loads(out)
    assert (result["name"], result["status"], result["duration"]) == ("etl", "Completed", 0.5)
    assert [(each["name"], each["status"]) for each in result["tasks"]] == [("good", "Completed")]


def test_json_on_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """There it is indented, for people read it."""
    flow = flow_of(bad)
    controlling, terminal = os.openpty()
    output = Output(as_json=True)
    output.stdout.close()
    output.stdout = os.fdopen(terminal, "w", encoding="ascii")
    text = b""
    with output.stdout:
        assert write(output, flow)
        while not text.endswith(b"\n}\r\n"):
            text += os.read(controlling, 65536)
    os.close(controlling)
    assert text.startswith(b'{\r\n  "')
    assert json.loads(text)["status"] == "Failed"
    assert capfd.readouterr().err.endswith(
        "error: etl: 1 of 1 task failed: bad (ValueError: no luck)\n"
    )


def test_nobody_reads_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    """It counts as written, for nobody misses it; failures are told all the same."""
    flow = flow_of(bad)
    reading, writing = os.pipe()
    os.close(reading)
    output = Output(as_json=True)
    output.stdout.close()
    output.stdout = os.fdopen(writing, "w", encoding="ascii")
    assert write(output, flow)
    with suppress(BrokenPipeError):
        output.stdout.close()
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: etl: 1 of 1 task failed")


def test_a_result_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says so, and what is left of the result does not fail again."""
    flow = flow_of(good)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert not write(Output(as_json=False), flow)
        full.flush()
    error = "error: The result could not be written: [Errno 28] No space left on device\n"
    assert capsys.readouterr().err == error


def table(flow: DotFlow, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Return the words of each line that is written of a run."""
    assert write(Output(as_json=False), flow)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_pipe_cuts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a width that is given, a table is as wide as it needs to be."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def step() -> str:
        return "x" * 50

    step.__name__ = "n" * 60
    rows = table(flow_of(action(step)), capsys)
    assert rows[1][0] == "n" * 60
    assert rows[1][-1] == repr("x" * 50)


def test_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no room for results."""
    monkeypatch.setenv("COLUMNS", "40")
    rows = table(flow_of(good), capsys)
    assert rows[0] == ["task", "status", "time"]
    assert rows[1][:2] == ["good", "Completed"]
    assert "7" not in rows[1]


def test_many_tasks_are_shown_in_sums(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of more than fifty tasks those alone that did not complete are in the table."""
    monkeypatch.setenv("COLUMNS", "80")
    rows = table(flow_of(*[good] * 50, bad), capsys)
    assert [row[0] for row in rows] == ["task", "bad", "etl:"]
    assert " ".join(rows[2]) == "etl: failed in 500.0 ms, 51 tasks: 50 completed, 1 failed"


def test_a_run_without_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no table, and no duration that is not known."""
    output = Output(as_json=False)
    assert output.write(flow_of(good), [], None, failed=False)
    assert capsys.readouterr() == ("etl: completed, 0 tasks\n", "")


def test_a_restored_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is shown as such."""
    from dotflow.providers import StorageFile

    monkeypatch.setenv("COLUMNS", "80")
    for resume in (False, True):
        config = Config(
            storage=StorageFile(path=str(tmp_path)),
            **{name: each for name, each in Recording().providers.items() if name != "storage"},
        )
        flow = DotFlow(config=config, workflow_id="w", name="etl")
        flow.task.add(good)
        flow.start(resume=resume)
    assert table(flow, capsys)[1][:2] == ["good", "Restored"]
