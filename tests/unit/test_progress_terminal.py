"""The bottom rows of a terminal, and what shows runs there, in this process."""

from __future__ import annotations

import logging
import os
import pty
import select
import termios
import threading
import time
import tty
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pyte
import pytest
from log_records import own_records
from waiting import wait_for

from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault, ProgressTerminal, progress_terminal
from dotflow.providers.progress_terminal import BottomRows, Size, can_have_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Screen:
    """A terminal that belongs to nobody, and what it shows.

    Attributes:
        descriptor: What programs write to.
    """

    def __init__(self) -> None:
        self._ours, self.descriptor = pty.openpty()
        self._screen = pyte.HistoryScreen(80, 24, history=1000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(80, 24)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        self._screen.set_margins()
        self._screen.resize(lines, columns)
        termios.tcsetwinsize(self._ours, (lines, columns))

    @property
    def rows(self) -> list[str]:
        """What the rows show now."""
        while select.select([self._ours], [], [], 0.02)[0]:
            self._stream.feed(os.read(self._ours, 65536))
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> list[str]:
        """All lines, those that scrolled away as well, that are not empty."""
        rows = self.rows
        above = ["".join(line[x].data for x in range(80)) for line in self._screen.history.top]
        return [line.rstrip() for line in [*above, *rows] if line.strip()]

    @property
    def scrolling(self) -> int:
        """How many rows scroll."""
        margins = self._screen.margins
        return self._screen.lines if margins is None else margins.bottom + 1

    def close(self) -> None:
        """Close both ends."""
        os.close(self._ours)
        os.close(self.descriptor)


@pytest.fixture
def foreground(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process group that is said to be in the foreground."""
    group = [os.getpgrp()]
    monkeypatch.setattr(os, "tcgetpgrp", lambda _descriptor: group[0])
    return group


@pytest.fixture
def screen(foreground: list[int]) -> Iterator[Screen]:
    """A terminal in whose foreground this process is."""
    made = Screen()
    yield made
    made.close()


@pytest.fixture
def rows(screen: Screen) -> Iterator[BottomRows]:
    """Its bottom rows."""
    made = BottomRows(screen.descriptor, "utf-8")
    yield made
    made.close()


def test_shown_and_erased(screen: Screen, rows: BottomRows) -> None:
    """Lines are at the bottom, all above scrolls; then it is as before."""
    os.write(screen.descriptor, b"one\r\ntw")
    rows.show(["a", "b"], rows.size())
    assert (screen.rows[:2], screen.rows[-3:]) == (["one", "tw"], ["", "a", "b"])
    assert screen.scrolling == 22
    os.write(screen.descriptor, b"o\r\n")
    rows.close()
    assert (screen.text, screen.scrolling) == (["one", "two"], 24)
    rows.close()  # once more does no harm


def test_room_is_made(screen: Screen, rows: BottomRows) -> None:
    """Nothing that stands at the bottom is lost when rows are taken there, and later more."""
    lines = [f"line {number}" for number in range(30)]
    os.write(screen.descriptor, "\r\n".join(lines).encode())
    for shown in (["a"], ["a", "b", "c"], ["a"]):
        rows.show(shown, rows.size())
        assert [line for line in screen.text if line not in shown] == lines
    assert screen.rows[-3:] == ["a", "", ""]
    os.write(screen.descriptor, b"!\r\nend")
    assert [*lines[:-1], "line 29!", "end", "a"] == screen.text


def test_other_size(screen: Screen, rows: BottomRows) -> None:
    """Rows are at the bottom of a window that became larger, and nowhere else."""
    rows.show(["a", "b"], rows.size())
    screen.resize(80, 40)
    rows.show(["c", "d"], rows.size())
    assert (screen.text, screen.rows[-2:], screen.scrolling) == (["c", "d"], ["c", "d"], 38)
    screen.resize(60, 50)
    rows.close()
    assert (screen.text, screen.scrolling) == ([], 50)


def test_one_at_a_time(screen: Screen, rows: BottomRows) -> None:
    """Who has rows on a terminal is the only one, until they are closed."""
    with pytest.raises(BlockingIOError):
        BottomRows(screen.descriptor, "utf-8")
    rows.close()
    BottomRows(screen.descriptor, "utf-8").close()


def test_background(screen: Screen, rows: BottomRows, foreground: list[int]) -> None:
    """Who is put into the background erases its rows and has none; back again, it has."""
    rows.show(["a"], rows.size())
    foreground[0] = 1
    rows.show(["b"], rows.size())
    assert (screen.text, screen.scrolling) == ([], 24)
    rows.close()
    with pytest.raises(OSError, match="not in the foreground"):
        BottomRows(screen.descriptor, "utf-8")
    foreground[0] = os.getpgrp()
    again = BottomRows(screen.descriptor, "utf-8")
    again.show(["c"], again.size())
    assert screen.text == ["c"]
    again.close()


def test_program_that_reads_keys(screen: Screen, rows: BottomRows) -> None:
    """Its screen is left alone: all rows scroll, and nothing is erased."""
    rows.show(["a"], rows.size())
    tty.setcbreak(screen.descriptor)
    rows.show(["b"], rows.size())
    assert (screen.text, screen.scrolling) == (["a"], 24)


def test_terminal_that_is_gone() -> None:
    """An error says so, and to close the rows does no harm."""
    assert not can_have_rows(None)
    reading, writing = os.pipe()
    with pytest.raises(OSError, match=r"ioctl|such device|tty"):
        BottomRows(writing, "utf-8")
    os.close(reading)
    os.close(writing)


def test_no_shell(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can stand by for a kill, rows are shown all the same."""

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError("/bin/sh")

    monkeypatch.setattr("subprocess.run", refuse)
    made = BottomRows(screen.descriptor, "utf-8")
    made.show(["a"], Size(80, 24))
    assert screen.text == ["a"]
    made.close()
    assert (screen.text, screen.scrolling) == ([], 24)


def shells_at(terminal: str) -> list[psutil.Process]:
    """Return the shells that stand by for the rows of a terminal."""

    def stands_by(process: psutil.Process) -> bool:
        try:
            return "read -r row" in " ".join(process.cmdline()) and (
                str(Path(f"/proc/{process.pid}/fd/1").readlink()) == terminal
            )
        except (OSError, psutil.Error):
            return False

    return [each for each in psutil.process_iter() if stands_by(each)]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_shell_that_was_ended(screen: Screen, rows: BottomRows) -> None:
    """Nor does it matter when that shell is ended by somebody."""
    rows.show(["a"], rows.size())
    (shell,) = shells_at(os.ttyname(screen.descriptor))
    shell.kill()  # not ended by what it reads, which it would take for the end of this process
    wait_for(lambda: not shell.is_running() or shell.status() == psutil.STATUS_ZOMBIE)
    for lines in (["a", "b"], ["c", "d", "e"]):
        rows.show(lines, rows.size())
        assert screen.text[-len(lines) :] == lines


# --- runs ---------------------------------------------------------------------------


@pytest.fixture
def stderr(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A terminal that is this process's stderr, with a display of its own."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    display = progress_terminal.Display()
    monkeypatch.setattr(progress_terminal, "display", display)
    with open(screen.descriptor, "w", encoding="utf-8", closefd=False) as stream:
        # Not in `sys` itself, where pytest puts its own when the test begins.
        monkeypatch.setattr(progress_terminal, "sys", SimpleNamespace(stderr=stream))
        yield screen
    display.close()


def run(look: Callable[[], object], mode: Any = "sequential") -> DotFlow:
    """Run a step that looks at the terminal, behind one that fails at first and one that has."""
    tries = []

    @action(retry=2, retry_delay=0)
    def unsteady() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("busy")

    @action
    def fails() -> None:
        raise ValueError("no luck")

    @action
    def looks() -> None:
        look()

    flow = DotFlow(
        config=Config(log=LogDefault(level=60), progress=ProgressTerminal()), name="sums"
    )
    flow.task.add([unsteady, fails, looks])
    manager = flow.start(mode=mode, keep_going=True)
    if mode == "background":
        manager.thread.join()
    return flow


@pytest.mark.parametrize("mode", ["sequential", "background"])
def test_run(stderr: Screen, mode: str) -> None:
    """It is shown while it goes on, and erased before its caller goes on."""
    seen: list[list[str]] = []

    def look() -> None:
        wait_for(lambda: any(row.startswith("sums") for row in stderr.rows))
        seen.append(stderr.text)

    flow = run(look, mode)
    assert [task.status for task in flow.result_task()] == ["Completed", "Failed", "Completed"]
    ((shown, task),) = seen
    assert shown.split("  ")[0] == "sums"
    assert "2/3  1 failed  1 retried  1 running" in shown
    assert task.split()[0] == "looks"
    assert (stderr.text, stderr.scrolling) == ([], 24)


def test_closed_meanwhile(stderr: Screen) -> None:
    """Before a process ends without its exit hooks, the terminal is cleared, and stays so."""

    def look() -> None:
        wait_for(lambda: stderr.text)
        progress_terminal.clear_terminal()
        assert (stderr.text, stderr.scrolling) == ([], 24)
        time.sleep(0.3)  # several pictures

    assert run(look).result_task()[-1].status == "Completed"
    assert stderr.text == []


def test_error_while_drawing(
    stderr: Screen, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, the terminal is clear, and this and later runs go on."""

    def broken(*_: object) -> list[str]:
        raise RuntimeError("broken")

    monkeypatch.setattr(progress_terminal, "lines_of", broken)
    with caplog.at_level(logging.ERROR, logger="dotflow"):
        run(lambda: wait_for(lambda: own_records(caplog)))
        run(lambda: None)
    (record,) = own_records(caplog)
    assert record.getMessage() == "the progress cannot be shown; the runs go on"
    assert (stderr.text, stderr.scrolling) == ([], 24)


def test_no_more_threads(stderr: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the interpreter's exit no thread can be begun: runs go on, and nothing is shown."""

    def refuse(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(Thread, "start", refuse)
    assert run(lambda: None).result_task()[-1].status == "Completed"
    assert stderr.text == []


@pytest.mark.parametrize("terminal", ["dumb", "unknown", None])
def test_nothing_is_counted_in_vain(
    stderr: Screen, monkeypatch: pytest.MonkeyPatch, terminal: str | None
) -> None:
    """Where nothing can be shown there is neither a thread nor a count."""
    if terminal is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", terminal)
    counted: list[object] = []
    monkeypatch.setattr(progress_terminal, "RunCounts", counted.append)
    before = set(threading.enumerate())
    begun: list[Thread] = []

    @action
    def looks() -> None:
        begun.extend(set(threading.enumerate()) - before)

    flow = DotFlow(config=Config(log=LogDefault(level=60), progress=ProgressTerminal()))
    flow.task.add(looks)
    flow.start()
    assert (counted, begun) == ([], [])
