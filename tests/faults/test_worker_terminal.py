"""Steps that use the terminal of a program: they get an error, and do not stand still."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30

PROGRAM = """
import getpass, os, subprocess, sys, termios
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault

@action
def password():
    return getpass.getpass("password: ", stream=sys.stdout)

@action
def asks():
    return input()

@action
def opens():
    return os.open("/dev/tty", os.O_RDWR)

@action
def sets():
    # That of the standard error stream, which is the terminal still.
    termios.tcsetattr(2, termios.TCSADRAIN, termios.tcgetattr(2))

@action
def starts_what_asks():
    return subprocess.run(["sh", "-c", "read answer </dev/tty"], check=True)

log = LogDefault(output="file", path=os.devnull)
flow = DotFlow(config=Config(log=log, executor=ExecutorLocal(workers=1)))
flow.task.add([password, asks, opens, sets, starts_what_asks])
flow.start(mode="parallel", keep_going=True)
told = [task.errors[-1].exception if task.errors else "" for task in flow.result_task()]
os.open("/dev/tty", os.O_RDWR)  # the program has it still
print("ENDED", told, flush=True)
"""


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_terminal_is_not_there(tmp_path: Path) -> None:
    """Each step ends, with the error that a program has without a terminal."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, str(program)]
        os.execve(command[0], command, environment)  # noqa: S606 - a copy of this process
    shown = b""
    until = time.monotonic() + SECONDS
    try:
        while b"]" not in shown.partition(b"ENDED")[2] and time.monotonic() < until:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 4096)
    except OSError:
        pass  # the program has ended
    finally:
        os.kill(pid, signal.SIGKILL)  # its worker ends with it
        os.waitpid(pid, 0)
        os.close(terminal)
    told = "['EOFError', 'EOFError', 'OSError', '', 'CalledProcessError']"
    assert f"ENDED {told}" in shown.decode()
