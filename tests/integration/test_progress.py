"""Runs that are shown in a real terminal: what is seen while they go on, and what is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_line import PROGRAM, STEPS, environment
from terminal import Terminal
from waiting import is_gone, wait_for

# Steps wait for files, and say by files how far they are: nothing here depends on time.
OWN = """
import logging, os, signal, subprocess, sys, threading, time
from pathlib import Path

from dotflow import Config, Context, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault, ProgressTerminal

handler = logging.StreamHandler(sys.stderr)  # it keeps that stream


def until(name):
    while not Path(name).exists():
        time.sleep(0.01)


@action
def first():
    return 1


@action
def waits():
    until("go")


@action(retry=2, retry_delay=0)
def fails():
    raise ValueError("no luck")


@action(retry=2, retry_delay=0.01)
def slow_at_second():
    if not Path("tried").exists():
        Path("tried").touch()
        raise ValueError("busy")
    until("go")


@action
def talks(initial_context):
    kind = initial_context.storage
    until("talk")
    for number in range(300):
        # Each line at once: `print` writes its end apart, and another process may come between.
        sys.stdout.write(f"out {kind} {number}.\\n")
        sys.stdout.flush()
        sys.stderr.write(f"err {kind} {number}.\\n")
        os.write(2, f"raw {kind} {number}.\\n".encode())
        handler.stream.write(f"old {kind} {number}.\\n")
        time.sleep(0.002)
    subprocess.run(["sh", "-c", f"for n in $(seq 300); do echo sub {kind} $n.; done"], check=True)


@action
def begins_a_line():
    print("name: ", end="", flush=True)
    until("go")
    print("Bob")


@action
def asks():
    return input("name: ")


@action
def long_line():
    print("x" * 200, end="", flush=True)
    until("go")
    print("y" * 10)


@action
def inner():
    flow(waits, name="inner").start()


@action
def starts_another():
    # Another process, with the same streams.
    program = [sys.executable, "-m", "dotflow.main", "start", "-s", "steps:waits"]
    subprocess.run([*program, "--name", "other"], check=True)


@action
def runs_in_a_worker():
    nested = flow(waits, name="nested")
    nested.start()


@action
def forks():
    pid = os.fork()
    if pid == 0:
        flow(first, name="forked").start()
        sys.stderr.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    until("go")


@action
def closes_stderr():
    until("close")
    os.close(2)
    Path("closed").touch()
    until("go")


@action
def ends_at_once():
    until("go")
    os._exit(3)


@action
def reads_keys():
    import termios, tty
    before = termios.tcgetattr(0)
    until("keys")
    tty.setcbreak(0)
    Path("reads").touch()
    until("go")
    termios.tcsetattr(0, termios.TCSADRAIN, before)
    Path("read").touch()
    until("end")


def flow(*steps, name="sums", **slots):
    slots.setdefault("progress", ProgressTerminal())
    made = DotFlow(config=Config(log=LogDefault(level=60), **slots), name=name)
    for number, step in enumerate(steps):
        made.task.add(step, initial_context=number)
    return made
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the modules `steps`, of the command line, and `own`."""
    (tmp_path / "steps.py").write_text(f"{STEPS}\n{OWN}", encoding="utf-8")
    return tmp_path


def library(folder: Path, code: str, **options: Any) -> Terminal:
    """Start a program of somebody who uses the library."""
    return Terminal([sys.executable, "-c", f"from steps import *\n{code}"], folder, **options)


def command(folder: Path, *args: str, **options: Any) -> Terminal:
    """Start the command line."""
    return Terminal([*PROGRAM, *args], folder, **options)


def shown(terminal: Terminal, name: str = "sums") -> list[str]:
    """Return the rows at the bottom, from that of a run on."""
    rows = terminal.rows
    starts = [number for number, row in enumerate(rows) if row.startswith(f"{name}  ")]
    return rows[starts[0] :] if starts else []


@pytest.mark.parametrize("how", ["library", "start"])
def test_what_is_shown(folder: Path, how: str) -> None:
    """Counts, the time, and what runs since when; at the end nothing is left of it."""
    if how == "library":
        terminal = library(folder, "flow(first, fails, waits).start(keep_going=True)")
    else:
        steps = [f"-ssteps:{step}" for step in ("first", "fails", "waits")]
        terminal = command(folder, "start", *steps, "--name", "sums", "--keep-going")
    with terminal:
        terminal.wait_for(lambda: shown(terminal))
        run, task = shown(terminal)
        assert re.fullmatch(r"sums  (━+)  2/3  1 failed  1 retried  1 running  \d+\.\d s", run), run
        assert re.fullmatch(r"  waits   \d+\.\d s", task), task
        assert not terminal.is_clean  # else the next line says nothing
        (folder / "go").touch()
        assert terminal.finish() == (0 if how == "library" else 1)
        assert terminal.is_clean
        assert not shown(terminal)
        assert not terminal.shows("━")


def test_parallel_run(folder: Path) -> None:
    """In workers: how many there are and are busy, and the tasks that run longest."""
    code = "flow(*[waits] * 12, executor=ExecutorLocal(workers=2)).start(mode='parallel')"
    with library(folder, code, columns=120) as terminal:
        terminal.wait_for(lambda: terminal.shows("2 of 2 workers busy"))
        run, *tasks = shown(terminal)
        assert re.fullmatch(r"sums  ━+  0/12  2 running  2 of 2 workers busy  \d+\.\d s", run), run
        assert [task.split()[0] for task in tasks] == ["waits", "waits"]
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


def test_second_attempt(folder: Path) -> None:
    """A task that runs again says in which attempt."""
    with library(folder, "flow(slow_at_second).start()") as terminal:
        terminal.wait_for(lambda: terminal.shows("attempt 2"))
        assert re.fullmatch(r"  slow_at_second   \d+\.\d s  attempt 2", shown(terminal)[1])
        (folder / "go").touch()
        assert terminal.finish() == 0


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_lines_stay_whole(folder: Path, mode: str) -> None:
    """Whoever writes, by whichever stream, from whichever process: each line is there, once."""
    code = (
        "made = flow(talks, talks, executor=ExecutorLocal(workers=2))\n"
        f"manager = made.start(mode='{mode}')\n"
        "getattr(manager, 'thread', threading.Thread()).ident and manager.thread.join()"
    )
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: shown(terminal))
        (folder / "talk").touch()
        assert terminal.finish() == 0
        assert terminal.is_clean
        expected = [
            f"{stream} {kind} {number}."
            for kind in (0, 1)
            for stream in ("out", "err", "raw", "old")
            for number in range(300)
        ]
        expected += [f"sub {kind} {number}." for kind in (0, 1) for number in range(1, 301)]
        assert sorted(terminal.text) == sorted(expected)


def test_line_that_goes_on(folder: Path) -> None:
    """A line that a step has begun is where it was, at the bottom of the screen as well."""
    code = "print(*range(30), sep='\\n')\nflow(begins_a_line).start()"
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: shown(terminal) and terminal.shows("name:"))
        # Two rows are taken: this is the last one that scrolls.
        assert terminal.cursor == (len("name: "), 21)
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert terminal.text == [*map(str, range(30)), "name: Bob"]


def test_what_is_typed(folder: Path) -> None:
    """A step may ask, and shows what is answered."""
    with library(folder, "print(flow(asks).start().tasks[0].current_context.storage)") as terminal:
        terminal.wait_for(lambda: shown(terminal) and terminal.shows("name:"))
        terminal.type("Bob\n")
        assert terminal.finish() == 0
        assert terminal.text == ["name: Bob", "Bob"]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_widths(folder: Path, columns: int) -> None:
    """However narrow, the rows fit; there is no room only for what matters less."""
    code = "flow(first, fails, waits, name='weather').start(keep_going=True)"
    with library(folder, code, columns=columns) as terminal:
        terminal.wait_for(lambda: terminal.shows("2/3"))
        run = next(row for row in terminal.rows if "2/3" in row)
        assert len(run) < columns
        assert ("1 failed" in run) == (columns >= 40)
        assert ("━" in run) == ("1 running" in run) == (columns >= 80)
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert terminal.is_clean
        assert terminal.text == []


def test_resized(folder: Path) -> None:
    """Rows move along with the bottom of the window."""
    with library(folder, "print('before')\nflow(waits).start()\nprint('after')") as terminal:
        for columns, lines in ((80, 24), (40, 10), (120, 40), (30, 24)):
            terminal.resize(columns, lines)
            terminal.wait_for(lambda: bool(terminal.rows[-2].startswith("sums  ")))
            terminal.wait_for(lambda: sum(row.startswith("sums  ") for row in terminal.rows) == 1)
            assert terminal.rows[-1].startswith("  waits ")
        (folder / "go").touch()
        assert terminal.finish() == 0
        # To make it lower, pyte drops the lines at the top, however few they are; and a window that
        # grows while rows are drawn may leave an empty line.
        assert (terminal.is_clean, [each for each in terminal.text if each]) == (True, ["after"])


def test_nested_runs(folder: Path) -> None:
    """A run within a step is shown below the one that it belongs to."""
    with library(folder, "flow(inner, first, name='outer').start()") as terminal:
        terminal.wait_for(lambda: terminal.shows("waits"))
        rows = shown(terminal, "outer")
        assert [row.split()[0] for row in rows] == ["outer", "inner", "inner", "waits"]
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


def test_two_runs_at_a_time(folder: Path) -> None:
    """Each has its row; when one has ended, the other's goes on."""
    code = (
        "one = flow(waits, name='one').start(mode='background')\n"
        "two = flow(waits, closes_stderr, name='two').start(mode='background')\n"
        "one.thread.join()\nprint('joined', flush=True)\ntwo.thread.join()"
    )
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: shown(terminal, "one") and shown(terminal, "two"))
        (folder / "go").touch()
        terminal.wait_for(lambda: terminal.shows("joined") and not shown(terminal, "one"))
        assert shown(terminal, "two")
        (folder / "close").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, ["joined"])


@pytest.mark.parametrize("how", ["another process", "worker", "fork"])
def test_one_process_shows(folder: Path, how: str) -> None:
    """What else runs on that terminal, in processes of the run's own, shows nothing there."""
    codes = {
        "another process": "flow(starts_another).start()",
        "worker": "flow(runs_in_a_worker, executor=ExecutorLocal(1)).start(mode='parallel')",
        "fork": "flow(forks).start()",
    }
    with library(folder, codes[how]) as terminal:
        terminal.wait_for(lambda: shown(terminal))
        # Longer than it takes to show a run, of a process that takes long to begin.
        assert terminal.read(2.0)
        for _ in range(20):
            terminal.read(0.1)
        for other in ("other", "nested", "forked"):
            assert not shown(terminal, other)
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert terminal.is_clean


@pytest.mark.parametrize("how", ["ctrl-c", "terminated", "killed", "exits"])
@pytest.mark.parametrize("who", ["library", "start"])
def test_ends_of_a_program(folder: Path, who: str, how: str) -> None:
    """However it ends, the terminal is as it was."""
    step = "ends_at_once" if how == "exits" else "waits"
    if who == "library":
        terminal = library(folder, f"print('before', flush=True)\nflow({step}).start()")
    else:
        terminal = command(folder, "start", f"-ssteps:{step}", "--name", "sums")
    with terminal:
        terminal.wait_for(lambda: shown(terminal))
        if how == "ctrl-c":
            terminal.type("\x03")
        elif how == "exits":
            (folder / "go").touch()
        else:
            terminal.process.send_signal(signal.SIGTERM if how == "terminated" else signal.SIGKILL)
        code = terminal.finish()
        by_command = {"ctrl-c": 130, "terminated": 143, "killed": -9, "exits": 3}
        by_python = {"ctrl-c": -2, "terminated": -15, "killed": -9, "exits": 3}
        assert code == (by_python if who == "library" else by_command)[how]
        assert terminal.is_clean
        assert not terminal.shows("━")
        assert not terminal.shows("  waits  ")
        if who == "library":
            assert terminal.text[0] == "before"


def test_second_signal_in_the_background(folder: Path) -> None:
    """A command that leaves at once leaves the terminal clean."""
    with command(folder, "start", "-ssteps:waits", "-mbackground", "--name", "sums") as terminal:
        terminal.wait_for(lambda: shown(terminal))
        terminal.process.send_signal(signal.SIGTERM)
        terminal.wait_for(lambda: terminal.shows("once more leaves it"))
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.finish() == 143
        assert terminal.is_clean
        assert not terminal.shows("━")


def test_stderr_that_is_closed(folder: Path) -> None:
    """What a program does with its streams meanwhile does not matter."""
    with library(folder, "flow(closes_stderr).start()") as terminal:
        terminal.wait_for(lambda: shown(terminal))
        (folder / "close").touch()
        wait_for((folder / "closed").exists)
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


def test_terminal_that_is_stopped(folder: Path) -> None:
    """Where the terminal takes no more text (Ctrl-S), runs and programs end all the same."""
    code = (
        "for _ in range(2): flow(waits).start()\n"
        "Path('ended').touch()\nuntil('exit')\n"
        "import atexit; atexit._run_exitfuncs(); Path('exited').touch(); until('end')"
    )
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: shown(terminal))
        terminal.type("\x13")
        for _ in range(5):
            terminal.read(0.1)  # what was on its way
        (folder / "go").touch()
        wait_for((folder / "ended").exists, 20)
        (folder / "exit").touch()
        wait_for((folder / "exited").exists, 20)
        terminal.type("\x11")
        terminal.wait_for(lambda: terminal.is_clean)
        (folder / "end").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


def test_forked_child_that_goes_on(folder: Path) -> None:
    """A child that a step leaves behind goes on with the run, and shows nothing of it."""
    code = (
        "@action\n"
        "def splits():\n"
        "    Path(str(os.getpid())).touch()\n"
        "    if os.fork() == 0: until('go'); return\n"
        "    until('go'); os.wait()\n"
        "flow(splits).start()"
    )
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: shown(terminal))
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


def test_error_of_ours(folder: Path) -> None:
    """An error while it is shown is logged once; the terminal is clean, and the run goes on."""
    code = (
        "import dotflow.providers.progress_terminal as own\n"
        "lines_of, calls = own.lines_of, []\n"
        "def broken(*arguments):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 3: raise RuntimeError('broken')\n"
        "    return lines_of(*arguments)\n"
        "own.lines_of = broken\n"
        "flow(waits).start()\nprint('ended')"
    )
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: terminal.shows("RuntimeError: broken"))
        terminal.wait_for(lambda: terminal.is_clean)
        assert not terminal.shows("━")
        (folder / "go").touch()
        assert terminal.finish() == 0
        text = "\n".join(terminal.text)
        assert text.count("the progress cannot be shown; the runs go on") == 1
        assert terminal.text[-1] == "ended"


def test_programs_that_read_keys(folder: Path) -> None:
    """While an editor, say, has the terminal, nothing is written to it."""
    with library(folder, "flow(reads_keys).start()") as terminal:
        terminal.wait_for(lambda: shown(terminal))
        (folder / "keys").touch()
        wait_for((folder / "reads").exists)
        terminal.wait_for(lambda: terminal.is_clean)
        before = len(terminal.written)
        for _ in range(5):
            terminal.read(0.1)
        assert terminal.written[before:] == b""
        (folder / "go").touch()
        wait_for((folder / "read").exists)
        terminal.wait_for(lambda: not terminal.is_clean)
        (folder / "end").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


QUIET: dict[str, Any] = {
    "a terminal that only prints": {"TERM": "dumb"},
    "an unknown terminal": {"TERM": None},
}


@pytest.mark.parametrize("where", QUIET)
def test_quiet_where_nothing_can_be_shown(folder: Path, where: str) -> None:
    """Not one character is written there."""
    (folder / "go").touch()
    code = "time.sleep(0)\nflow(waits).start()\ntime.sleep(0.5)"
    with library(folder, code, **QUIET[where]) as terminal:
        assert terminal.finish() == 0
        assert terminal.written == b""


@pytest.mark.parametrize("switch", ["--no-progress", "--progress"])
def test_switch(folder: Path, switch: str) -> None:
    """`--no-progress` shows nothing of a run, and `--progress` is the default."""
    steps = ("-ssteps:begins_a_line", "--name", "sums")
    with command(folder, "start", *steps, switch) as terminal:
        terminal.wait_for(lambda: terminal.shows("name:"))
        for _ in range(10):
            terminal.read(0.1)
        assert bool(shown(terminal)) == (switch == "--progress")
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert "name: Bob" in terminal.text


def test_quiet_in_a_pipe(folder: Path) -> None:
    """Without a terminal there is nothing but what the steps write and the result."""
    (folder / "go").touch()
    done = subprocess.run(
        [*PROGRAM, "start", "-ssteps:waits", "-ssteps:read", "--progress"],
        cwd=folder,
        env=environment(DOTFLOW_HISTORY="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert "\x1b" not in done.stdout


def test_quiet_in_the_background_of_a_shell(folder: Path) -> None:
    """A job that its shell has put into the background leaves the terminal to others."""
    program = f"set -m; {sys.executable} -c 'from steps import *; flow(waits).start()' & wait"
    with Terminal(["/bin/sh", "-c", program], folder) as terminal:
        for _ in range(20):
            terminal.read(0.1)
        (folder / "go").touch()
        terminal.finish()
        assert b"\x1b" not in terminal.written


@pytest.mark.parametrize("colours", [True, False])
def test_colours(folder: Path, colours: bool) -> None:
    """`NO_COLOR` leaves the text; it is the same."""
    code = "flow(first, fails, waits).start(keep_going=True)"
    variables = {} if colours else {"NO_COLOR": "1"}
    with library(folder, code, **variables) as terminal:
        terminal.wait_for(lambda: terminal.shows("1 failed"))
        row = len(terminal.rows) - 2
        styled = [
            terminal.style_at(column, row).fg != "default" or terminal.style_at(column, row).bold
            for column in range(80)
        ]
        assert any(styled) == colours
        (folder / "go").touch()
        assert terminal.finish() == 0


def test_terminal_without_unicode(folder: Path) -> None:
    """Where the encoding of stderr has no bars, there are other ones."""
    code = "flow(first, waits, name='caf\\xe9').start()"
    with library(folder, code, PYTHONIOENCODING="ascii") as terminal:
        terminal.wait_for(lambda: terminal.shows("1/2"))
        run = next(row for row in terminal.rows if "1/2" in row)
        assert re.fullmatch(r"caf\?  #+-+  1/2  1 running  \d+\.\d s", run), run
        assert terminal.written.isascii()
        (folder / "go").touch()
        assert terminal.finish() == 0


def test_short_runs_leave_no_trace(folder: Path) -> None:
    """What is over at once is not shown, whether it is one run or a hundred."""
    code = "for _ in range(100): flow(first).start()"
    with library(folder, code) as terminal:
        assert terminal.finish() == 0
        assert terminal.written == b""


def test_the_thread_ends(folder: Path) -> None:
    """Some seconds after the last run nothing is left of it, no thread and no other process."""
    code = (
        "flow(waits).start()\n"
        "while 'dotflow-progress' in [thread.name for thread in threading.enumerate()]:\n"
        "    time.sleep(0.05)\n"
        "(Path('go').unlink(), flow(waits).start())"
    )
    with library(folder, code) as terminal:
        terminal.wait_for(lambda: shown(terminal))
        guards = _guards_of(terminal)
        assert len(guards) == 1
        (folder / "go").touch()
        wait_for(lambda: not (folder / "go").exists())
        wait_for(lambda: is_gone(guards[0]))
        terminal.wait_for(lambda: shown(terminal))  # a later run is shown as well
        (folder / "go").touch()
        assert terminal.finish() == 0
        assert (terminal.is_clean, terminal.text) == (True, [])


def _guards_of(terminal: Terminal) -> list[int]:
    # The shell that stands by to clear the terminal: in nobody's session, with that terminal open.
    found = []
    path = Path(f"/proc/{terminal.process.pid}/fd/2").readlink()
    for each in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208
        with suppress(OSError):
            is_on = Path(f"/proc/{each}/fd/1").readlink() == path
            if is_on and os.getsid(each) != terminal.process.pid:
                found.append(each)
    return found
