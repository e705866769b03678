"""The commands that show the history, as processes of their own, with runs that are recorded."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from command_line import PROGRAM, Done, command, environment, finished, started
from made_history import MadeHistory, MadeLine, MadeTask
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAIN = {"COLUMNS": "80", "TZ": "UTC"}

PROGRAM_OF_A_USER = """
import sys
from pathlib import Path

from dotflow import DotFlow, action
from dotflow_otel import observe


@action
def read():
    return [1, 2, 3]


@action
def wait():
    Path("waits").touch()
    sys.stdin.readline()


flow = DotFlow(config=observe("shop", history=True), name="billing")
flow.task.add([read, wait])
flow.start()
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return a program whose run goes on until it reads a line."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM_OF_A_USER],
        cwd=tmp_path,
        env=environment(OTEL_METRICS_EXPORTER="none"),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_for((tmp_path / "waits").exists, 30)
        yield program
    finally:
        program.kill()
        program.communicate()


def made(folder: Path, count: int = 1) -> None:
    """Make a history in a folder."""
    with MadeHistory(folder / ".dotflow" / "history.db") as history:
        process = history.process()
        for number in range(count):
            at = float(number)
            tasks = [MadeTask("load", at, at + 1), MadeTask("\N{SNOWMAN}", at + 1, at + 2)]
            lines = [MadeLine(at, "read", task=0)]
            history.add("billing", *tasks, started=at, ended=at + 2, process=process, lines=lines)


def test_a_run_that_goes_on(tmp_path: Path, live: subprocess.Popen[str]) -> None:
    """It is listed, shown and explained while it goes on; its log is followed to its end."""
    listed = command(tmp_path, "runs", **PLAIN)
    assert listed.out.splitlines()[1].split()[1:3] == ["billing", "running"]
    shown = command(tmp_path, "trace", "latest", **PLAIN)
    assert [line[:8] for line in shown.out.splitlines()[3:5]] == ["▸  read ", "▸~ wait "]
    reason = command(tmp_path, "why", "latest", **PLAIN)
    assert "  wait: attempt 1 since " in reason.out
    follower = started(tmp_path, "logs", "latest", "--follow", **PLAIN)
    assert follower.stdout is not None
    first = [follower.stdout.readline() for _ in range(4)]
    assert first[0].endswith("workflow.started\n")
    assert "wait     task.started" in first[3]
    assert live.stdin is not None
    live.stdin.write("\n")
    live.stdin.flush()
    done = finished(follower)
    assert (done.code, done.err) == (0, "")
    assert "workflow.completed" in done.out.splitlines()[-1]
    listed = command(tmp_path, "runs", **PLAIN)
    assert listed.out.splitlines()[1].split()[1:3] == ["billing", "completed"]


def test_a_run_that_is_killed(tmp_path: Path, live: subprocess.Popen[str]) -> None:
    """A run whose process is killed is lost: with what was in flight, and the end of its log."""
    follower = started(tmp_path, "logs", "latest", "--follow", **PLAIN)
    assert follower.stdout is not None
    follower.stdout.readline()
    live.kill()
    live.wait()
    assert finished(follower).code == 0
    assert command(tmp_path, "runs", "--lost", **PLAIN).out.splitlines()[1].split()[2] == "lost"
    lines = command(tmp_path, "why", "failed", **PLAIN).out.splitlines()
    assert lines[3].startswith("In flight when it was lost: its process was last alive at ")
    assert lines[4].startswith("  wait: attempt 1 since ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_follower_is_ended(
    tmp_path: Path, live: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    """Ctrl-C ends what follows with 130, SIGTERM as it ends any program: 143 in a shell."""
    assert live.poll() is None
    follower = started(tmp_path, "logs", "latest", "--follow", **PLAIN)
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.send_signal(number)
    done = finished(follower)
    assert done.code == code
    assert "Traceback" not in done.err


def test_watch(tmp_path: Path) -> None:
    """--watch draws the table again each second; Ctrl-C ends it with 130."""
    made(tmp_path)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "runs", "--watch"],
        cwd=tmp_path,
        env=environment(**PLAIN),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        text, until = b"", monotonic() + 30
        while text.count(b"\x1b[H") < 2:
            assert monotonic() < until, text
            if select.select([ours], [], [], 1)[0]:
                text += os.read(ours, 65536)
        assert text.count(b"billing") >= 1
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    "args",
    [("runs", "-n", "0"), ("trace", "latest"), ("why", "latest"), ("logs", "latest")],
    ids=str,
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe(tmp_path: Path, args: tuple[str, ...], unbuffered: str) -> None:
    """A reader that goes away is no error, whatever is left to be written."""
    made(tmp_path, 2000 if args[0] == "runs" else 1)
    process = started(tmp_path, *args, PYTHONUNBUFFERED=unbuffered, **PLAIN)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_utf_8(tmp_path: Path, encoding: str) -> None:
    """Where characters have no code, bars are drawn in ASCII, and names are escaped."""
    made(tmp_path)
    done = command(tmp_path, "trace", "latest", PYTHONIOENCODING=encoding, **PLAIN)
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert done.out.splitlines()[3:5] == [
        "*  load     1.00 s ===============================",
        "*  \\u2603   1.00 s                               ===============================",
    ]


def test_colours(tmp_path: Path) -> None:
    """A terminal has colours, a pipe none, and none where NO_COLOR is set."""
    made(tmp_path)
    assert b"\x1b[32m" in _on_a_terminal(tmp_path, TERM="xterm")
    assert b"\x1b" not in _on_a_terminal(tmp_path, TERM="xterm", NO_COLOR="1")
    assert b"\x1b" not in _on_a_terminal(tmp_path, TERM="dumb")
    assert "\x1b" not in command(tmp_path, "runs", **PLAIN).out


def _on_a_terminal(folder: Path, **variables: str) -> bytes:
    kept = {name: value for name, value in environment().items() if name != "NO_COLOR"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "runs"],
        cwd=folder,
        env={**kept, **PLAIN, **variables},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    try:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            text += part
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return text


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("dotflow trace RUN", ["RUN00001", "RUN00003"]),
        ("dotflow why la", ["latest", "latest:billing"]),
        ("dotflow logs fai", ["failed"]),
        ("dotflow runs --workflow b", ["billing"]),
        ("dotflow runs --status r", ["running"]),
        ("dotflow trace --format o", ["otlp-json"]),
        ("dotflow runs --l", ["--limit", "--lost"]),
    ],
)
def test_completion(tmp_path: Path, words: str, offered: list[str]) -> None:
    """A shell completes runs, workflows and words."""
    with MadeHistory(tmp_path / ".dotflow" / "history.db") as history:
        process = history.process()
        for number, run_id in enumerate(("RUN00001", "RUN00003")):
            history.add("billing", started=float(number), process=process, run_id=run_id)
    assert _completed(tmp_path, words) == Done(0, " ".join(sorted(offered)), "")


def test_completion_without_history(tmp_path: Path) -> None:
    """Where there is no history, a shell is offered nothing, and sees no error."""
    assert _completed(tmp_path, "dotflow trace la") == Done(0, "", "")


def _completed(folder: Path, words: str) -> Done:
    variables = {
        "_DOTFLOW_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = command(folder, **variables)
    return done._replace(out=" ".join(sorted(done.out.split())))


def test_without_telemetry(tmp_path: Path) -> None:
    """The history is shown by the command line alone: no library of telemetry is imported."""
    made(tmp_path)
    for library in ("opentelemetry", "prometheus_client", "structlog"):
        (tmp_path / f"{library}.py").write_text("raise ImportError('not here')\n")
    for args in (("runs",), ("trace", "latest"), ("why", "latest"), ("logs", "latest")):
        done = command(tmp_path, *args, PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}")
        assert (done.code, done.err) == (0, "")
