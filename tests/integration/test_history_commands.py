"""The history that `dotflow start` and `dotflow schedule` record, unless told otherwise."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import PROGRAM, command, environment, finished, started
from waiting import wait_for

from dotflow_otel import History

if TYPE_CHECKING:
    from dotflow_otel.history.reader import RunInfo

OWN = """
import logging

from opentelemetry import trace

from dotflow import DotFlow, action
from dotflow_otel import observe


@action
def traced():
    with trace.get_tracer("own").start_as_current_span("own"):
        return 1


@action
def warns():
    logging.getLogger("own").warning("careful")


@action(retry=2, retry_delay=0)
def fails():
    raise LookupError("no luck")


def build_observed():
    flow = DotFlow(config=observe("svc", level="ERROR"), name="observed")
    flow.task.add(traced)
    return flow


def build_recorded():
    flow = DotFlow(config=observe("svc", level="ERROR", history="own.db"), name="recorded")
    flow.task.add(traced)
    return flow
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with a module `own`; that of `steps` comes with each command."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    return tmp_path


def runs(path: Path) -> list[RunInfo]:
    """Return the runs in a history, the first one first."""
    with History(path) as history:
        return history.runs()[::-1]


def spans(path: Path) -> list[str]:
    """Return the names of the spans of the last run."""
    with History(path) as history:
        return [span.name for span in history.spans(history.run("latest"))]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", ["runs", "trace latest", "why latest", "report latest -o -"])
def test_full_disk(folder: Path, args: str) -> None:
    """Where what is shown cannot be written, one line says why, with no hint of a fault of ours."""
    command(folder, "start", "-s", "own:traced")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *args.split()],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    error = "error: The output could not be written: [Errno 28] No space left on device\n"
    assert (done.returncode, done.stderr) == (1, error)


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_recorded_by_default(folder: Path, mode: str) -> None:
    """Each run is there, with the spans of its tasks and those that steps make themselves."""
    for steps in (("own:traced",), ("own:traced", "steps:bad")):
        chosen = [f"-s{step}" for step in steps]
        done = command(folder, "start", *chosen, "--mode", mode, "--name", "etl")
        assert done.code == len(steps) - 1
    path = folder / ".dotflow" / "history.db"
    assert [(run.workflow, run.status, run.tasks) for run in runs(path)] == [
        ("etl", "completed", 1),
        ("etl", "failed", 2),
    ]
    found = spans(path)
    assert found[0] == "workflow etl"
    assert {"task traced", "task bad", "own"} <= set(found)


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_lines(folder: Path, mode: str) -> None:
    """Events and what steps log are recorded, and the terminal shows what it always does."""
    done = command(folder, "start", "-sown:warns", "-sown:fails", "--mode", mode)
    with History(folder / ".dotflow" / "history.db") as history:
        lines = history.logs(history.run("latest"))
    assert sorted(line.event for line in lines) == [
        "careful", "task.completed", "task.failed", "task.retried", "task.started",
        "task.started", "workflow.failed", "workflow.started",
    ]  # fmt: skip
    (failed,) = [line for line in lines if line.event == "task.failed"]
    assert (failed.fields["task"], failed.fields["error"]) == ("fails", "no luck")
    said = done.err.splitlines()
    assert said.count("careful") == 1
    assert (
        said.count("note: fails: attempt 1 of 2 failed, another follows: LookupError: no luck") == 1
    )
    assert said[-1].startswith("error: workflow: 1 of 2 tasks failed: fails (LookupError: no luck")


def test_exports_nothing(folder: Path) -> None:
    """A history alone speaks to no backend, whatever the variables say."""
    with closing(socket.create_server(("127.0.0.1", 0))) as backend:
        backend.setblocking(False)
        variables = {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{backend.getsockname()[1]}",
        }
        done = command(folder, "start", "-sown:traced", **variables)
        assert (done.code, done.err) == (0, "")
        with pytest.raises(BlockingIOError):
            backend.accept()
    assert spans(folder / ".dotflow" / "history.db") == ["workflow workflow", "task traced", "own"]


OFF: dict[str, tuple[list[str], dict[str, str]]] = {
    "flag": (["-sown:traced", "--no-history"], {}),
    "variable": (["-sown:traced"], {"DOTFLOW_HISTORY": "0"}),
    "flag over variable": (["-sown:traced", "--no-history"], {"DOTFLOW_HISTORY": "1"}),
    "flag over factory": (["-wown:build_observed", "--no-history"], {"DOTFLOW_HISTORY": "1"}),
    "variable and factory": (["-wown:build_observed"], {"DOTFLOW_HISTORY": "off"}),
}


@pytest.mark.parametrize("how", OFF)
def test_not_recorded(folder: Path, how: str) -> None:
    """`--no-history` records none, of an observed workflow neither; nor does the variable."""
    arguments, variables = OFF[how]
    assert command(folder, "start", *arguments, **variables).code == 0
    assert not (folder / ".dotflow").exists()


ON: dict[str, tuple[list[str], dict[str, str], str]] = {
    "flag over variable": (["-sown:traced", "--history"], {"DOTFLOW_HISTORY": "0"}, "."),
    "place": (["-sown:traced"], {"DOTFLOW_HISTORY": "place.db"}, "place.db"),
    "place and flag": (["-sown:traced", "--history"], {"DOTFLOW_HISTORY": "place.db"}, "place.db"),
    "observed": (["-sown:traced", "--observe"], {}, "."),
    "observed by the factory": (["-wown:build_observed"], {}, "."),
    "recorded by the factory": (["-wown:build_recorded"], {}, "own.db"),
}


@pytest.mark.parametrize("how", ON)
def test_recorded_once_in_one_place(folder: Path, how: str) -> None:
    """A place that is named, or that the workflow itself has, is the only one."""
    arguments, variables, place = ON[how]
    assert command(folder, "start", *arguments, **variables).code == 0
    usual = folder / ".dotflow" / "history.db"
    path = usual if place == "." else folder / place
    assert path == usual or not usual.exists()
    (run,) = runs(path)
    assert (run.status, run.tasks) == ("completed", 1)
    assert spans(path).count("own") == 1


def test_schedule(folder: Path) -> None:
    """Each tick of a schedule is a run."""
    process = started(folder, "schedule", "-ssteps:once", "--cron", "* * * * * *")
    try:
        ran = folder / "runs"
        wait_for(lambda: ran.exists() and len(ran.read_text()) >= 2)
        process.send_signal(signal.SIGTERM)
        assert finished(process).code == 143
    finally:
        process.kill()
        process.communicate()
    found = runs(folder / ".dotflow" / "history.db")
    assert len(found) == len(ran.read_text())
    assert {run.status for run in found} == {"completed"}


def test_lost_runs_are_left_to_who_exports(folder: Path) -> None:
    """A command that exports nothing does not settle what a killed one could not send."""
    path = folder / ".dotflow" / "history.db"
    process = started(folder, "start", "-ssteps:slow")
    try:
        wait_for(lambda: path.exists() and (folder / "started").exists())
        wait_for(lambda: [run.in_flight for run in runs(path)] == [1])
    finally:
        process.kill()
        process.communicate()
    assert command(folder, "start", "-ssteps:read").code == 0
    assert [run.status for run in runs(path)] == ["lost", "completed"]
    assert _open_processes(path) == 1
    done = command(folder, "start", "-ssteps:read", "--observe", OTEL_TRACES_EXPORTER="console")
    assert done.code == 0
    assert "run_lost" in done.out
    assert _open_processes(path) == 0


def _open_processes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM processes WHERE NOT closed").fetchone()
    return int(count)


@pytest.mark.parametrize("flags", [[], ["--history"]])
def test_without_the_libraries(folder: Path, flags: list[str]) -> None:
    """Where telemetry is not installed, runs are as ever; who asks for it reads what to do."""
    (folder / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    done = _with_path(folder, *flags)
    if flags:
        assert done.returncode == 2
        assert done.stderr.endswith("Install it with: pip install 'dotflow[otel]'\n")
    else:
        assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / ".dotflow").exists()


def test_libraries_that_are_broken(folder: Path) -> None:
    """A note says why there is no history, and the run goes on."""
    broken = folder / "opentelemetry"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('half installed')\n")
    done = _with_path(folder)
    assert done.returncode == 0
    assert done.stderr == "note: no history is recorded: RuntimeError: half installed\n"


def test_place_that_cannot_be_written(folder: Path) -> None:
    """The run goes on, and a line says where no history could be made."""
    done = command(folder, "start", "-ssteps:read", DOTFLOW_HISTORY="/dev/null/history.db")
    assert done.code == 0
    assert "The history '/dev/null/history.db' cannot be written" in done.err


def _with_path(folder: Path, *flags: str) -> Any:
    command(folder, "-v")  # writes the steps
    variables = environment()
    variables["PYTHONPATH"] = os.pathsep.join([str(folder), variables["PYTHONPATH"]])
    return subprocess.run(
        [*PROGRAM, "start", "-ssteps:once", *flags],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
