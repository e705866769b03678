"""A terminal of its own for a program, and what a person would see there.

The pseudo-terminal is the system's. What its screen shows, pyte says, which knows nothing of us.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
SECONDS = 60

# Has the terminal control the program, as a login does.
_LOGIN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program in a terminal; it is killed at the end of the `with` block.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        columns: The width of the terminal.
        lines: Its height.
        **variables: Of its environment, beside this process's; None: not set.

    Attributes:
        written: All bytes that came until now.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        columns: int = 80,
        lines: int = 24,
        **variables: str | None,
    ) -> None:
        self._ours, theirs = pty.openpty()
        self._screen = pyte.HistoryScreen(columns, lines, history=100_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self._resize(columns, lines)
        given = {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "NO_COLOR": None, **variables}
        environment = {**os.environ, "DOTFLOW_HISTORY": "0", **given}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LOGIN, *command],
            cwd=folder,
            env={name: value for name, value in environment.items() if value is not None},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)

    @property
    def rows(self) -> list[str]:
        """What the rows of the screen show."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> list[str]:
        """What scrolled away and what the screen shows, without empty lines at its end."""
        width = self._screen.columns
        above = [
            "".join(line[column].data for column in range(width)).rstrip()
            for line in self._screen.history.top
        ]
        lines = [*above, *self.rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def is_clean(self) -> bool:
        """Whether all rows scroll and the cursor is there."""
        whole = (None, (0, self._screen.lines - 1))
        return self._screen.margins in whole and not self._screen.cursor.hidden

    @property
    def cursor(self) -> tuple[int, int]:
        """The column and row of the cursor, from 0."""
        return self._screen.cursor.x, self._screen.cursor.y

    def style_at(self, column: int, row: int) -> Any:
        """Return a character with its colours."""
        return self._screen.buffer[row][column]

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window; as most terminals do, set the margins back."""
        self._screen.set_margins()
        self._screen.resize(lines, columns)
        self._resize(columns, lines)

    def _resize(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    def wait_for(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        """Read until something holds."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"it did not happen in time: {self.rows}"
            self.read(0.05)

    def shows(self, text: str) -> bool:
        """Return whether a row has a text."""
        return any(text in row for row in self.rows)

    def read(self, seconds: float = 0.0) -> bool:
        """Read what comes within that time; return whether more may come."""
        if not select.select([self._ours], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # nobody has the other end open
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def finish(self, seconds: float = SECONDS) -> int:
        """Read until the program has ended and all is read; return its exit code."""
        until = time.monotonic() + seconds
        while self.read(0.05):
            assert time.monotonic() < until, f"it did not end in time: {self.rows}"
        return self.process.wait(max(0.1, until - time.monotonic()))
