"""Shows the runs of this process at the bottom of a terminal while they go on.

Hooks count; a thread of its own reads the counters some ten times a second and shows them.

The terminal itself keeps the rows separate: all else scrolls above them (its margins, DECSTBM). So
nobody's stream is replaced, and it does not matter who writes, through which stream or from which
process: steps, handlers of `logging` that hold an old `sys.stderr`, workers. The cursor stays where
they left it, in the middle of a line even; each change of the rows is a single write that returns
to it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import sys
import termios
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.abc.progress import Progress
from dotflow.core.process import call_at_exit, call_in_forked_child, fork_safe_lock
from dotflow.core.timing import monotonic
from dotflow.providers.progress_lines import RunCounts, Style, lines_of
from dotflow.workers.protocol import off_standard_streams, pipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.model import Task
    from dotflow.core.run import Run


_SAVE: Final = "\x1b7"
_RESTORE: Final = "\x1b8"
_NO_MARGINS: Final = "\x1b[r"
_ERASE_BELOW: Final = "\x1b[J"
_ERASE_REST: Final = "\x1b[K"
_PLAIN: Final = "\x1b[0m"
_DOWN: Final = "\x1bD"  # keeps the column, and scrolls at the bottom

# Reads the first of the rows, or 0 where there are none, whenever that changes. Whoever is killed
# says no more: then it erases the rows. It is in a session of its own, and nobody's child.
_GUARD: Final = """\
while read -r row; do last=$row; done
if [ "${last:-0}" -gt 0 ]; then printf '\\0337\\033[r\\033[%s;1H\\033[J\\0338' "$last"; fi
"""


class Size(NamedTuple):
    """The size of a terminal, in characters."""

    columns: int
    lines: int


def can_have_rows(stream: object) -> bool:
    """Return whether a stream goes to a terminal that knows more than to print."""
    if os.environ.get("TERM", "dumb") in {"dumb", "unknown"}:
        return False
    try:
        return os.isatty(stream.fileno())  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001 - it is closed, or none that has a descriptor
        return False


class BottomRows:
    """The bottom rows of a terminal.

    Only one process has rows on a terminal at a time, and only while it is in the foreground
    there. So a worker has none, nor has what a step or the shell starts in the background. While a
    program reads single keys, such as an editor that a step starts, there are none either.

    Args:
        descriptor: Of the terminal. It may be closed before the rows are erased.
        encoding: Of the terminal.

    Raises:
        OSError: It is none, another process has rows there, or this one is not in the foreground.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._encoding = encoding
        self._count = 0
        self._size = Size(0, 0)
        self._guard: _Guard | None = None
        # Opened again, for the lock to be this process's own: children share the streams.
        self._terminal = _opened(descriptor)
        try:
            self._check_foreground()
            fcntl.flock(self._terminal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._terminal)
            raise

    def size(self) -> Size:
        """Return the size of the terminal now.

        Raises:
            OSError: It is gone.
        """
        return Size(*os.get_terminal_size(self._terminal))

    def show(self, lines: Sequence[str], size: Size) -> None:
        """Show lines in as many rows; those that a call before this had more are left empty.

        Args:
            lines: They fit the width, and may be styled.
            size: What they were made for.

        Raises:
            OSError: The terminal is gone.
        """
        if self._belongs_to_another():
            self._leave()
            return
        if self._guard is None:
            self._guard = _Guard(self._terminal)
        room = self._room_for(len(lines), size)
        top = size.lines - self._count
        self._guard.note(top + 1)
        shown = [*lines, *[""] * (self._count - len(lines))]
        rows = "".join(
            f"\x1b[{top + number};1H{line}{_PLAIN}{_ERASE_REST}"
            for number, line in enumerate(shown, 1)
        )
        # The margins each time: other programs set them back.
        self._write(f"{room}{_SAVE}\x1b[1;{top}r{_PLAIN}{rows}{_RESTORE}")

    def close(self) -> None:
        """Erase the rows, and let others have some."""
        with suppress(OSError):
            self._leave()
        with suppress(OSError, ValueError):  # it was closed before
            # Also as far as the guard has it, which takes a moment to end.
            fcntl.flock(self._terminal, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Close what is open without writing, as in a forked child."""
        terminal, self._terminal = self._terminal, -1
        guard, self._guard = self._guard, None
        self._count = 0
        if guard is not None:
            guard.close()
        if terminal >= 0:
            os.close(terminal)

    def _room_for(self, count: int, size: Size) -> str:
        """Return what has the text above leave the rows free."""
        wiped = ""
        if self._count and size != self._size:
            # What was shown has moved with the text above it, and is below that still.
            wiped, self._count = f"{_SAVE}{_NO_MARGINS}{_RESTORE}{_ERASE_BELOW}", 0
        self._size = size
        further = count - self._count
        if further <= 0:
            return wiped
        self._count = count
        return f"{wiped}{_DOWN * further}\x1b[{further}A"

    def _leave(self) -> None:
        if not self._count:
            return
        erased = f"\x1b[{self._size.lines - self._count + 1};1H{_ERASE_BELOW}"
        if self._reads_keys():
            erased = ""  # what is there is that program's
        elif self.size() != self._size:
            erased = f"{_RESTORE}{_ERASE_BELOW}"
        self._count = 0
        self._write(f"{_SAVE}{_NO_MARGINS}{_PLAIN}{erased}{_RESTORE}")
        if self._guard is not None:
            self._guard.note(0)

    def _belongs_to_another(self) -> bool:
        return not self._is_in_foreground() or self._reads_keys()

    def _check_foreground(self) -> None:
        if not self._is_in_foreground():
            raise OSError(errno.ENOTTY, "the process is not in the foreground of the terminal")

    def _is_in_foreground(self) -> bool:
        # Of a terminal that does not control this process nobody can tell.
        return os.tcgetpgrp(self._terminal) == os.getpgrp()

    def _reads_keys(self) -> bool:
        try:
            local_modes: int = termios.tcgetattr(self._terminal)[3]
        except termios.error as error:
            raise OSError(*error.args) from error
        return not local_modes & termios.ICANON

    def _write(self, text: str) -> None:
        # What a process in the background writes stops it where the terminal is set so, unless
        # that signal is blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            data = text.encode(self._encoding, "replace")
            while data:
                data = data[os.write(self._terminal, data) :]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _opened(descriptor: int) -> int:
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return off_standard_streams(os.open(os.ttyname(descriptor), flags))
    except OSError:
        # Its name is another user's, after `su`, or not known in this container.
        return off_standard_streams(os.open("/dev/tty", flags))


class _Guard:
    """A process that erases the rows should this one be killed, where there is a shell for it.

    Args:
        terminal: The descriptor of the terminal.
    """

    def __init__(self, terminal: int) -> None:
        import subprocess  # noqa: PLC0415 - slow to import, and only where something is shown

        self._row = 0
        reading, self._writing = pipe()
        try:
            # The shell that is waited for starts the one that stays.
            subprocess.run(  # noqa: S603 - nothing of it comes from elsewhere
                ["/bin/sh", "-c", f"exec 3<&0\n{{ {_GUARD} }} <&3 3<&- &"],
                stdout=terminal,
                stderr=subprocess.DEVNULL,
                stdin=reading,
                cwd="/",
                start_new_session=True,
                check=False,
            )
        except OSError:
            self.close()
        finally:
            os.close(reading)

    def note(self, row: int) -> None:
        """Say which is the first of the rows; 0: there are none."""
        if row != self._row and self._writing >= 0:
            self._row = row
            try:
                os.write(self._writing, f"{row}\n".encode())
            except OSError:
                self.close()  # somebody has ended it

    def close(self) -> None:
        """Let it end."""
        writing, self._writing = self._writing, -1
        if writing >= 0:
            os.close(writing)


_logger: Final = logging.getLogger("dotflow")

# Seconds between two pictures, and how long a run goes on before there is a first one: what is
# over by then would only flicker.
_EVERY: Final = 0.1
_FIRST: Final = 0.3

# Seconds that the end of a run may wait for the terminal, and that the thread outlives its runs.
_PATIENCE: Final = 1.0
_LINGER: Final = 2.0

# The part of a terminal's height that may be taken, and the most rows.
_PART: Final = 3
_MOST_ROWS: Final = 8


class ProgressTerminal(Progress):
    """Shows runs at the bottom of the terminal that is stderr, and nothing where there is none.

    Of each run that takes longer than 0.3 s: how many tasks are done, failed, were retried and
    are running, busy workers, the time since it began, and the tasks that run longest.
    All that is written meanwhile, by whomever, scrolls above. The rows are erased at the end.

    All instances of a process share these rows. There are none in a worker, for a process in the
    background of its shell, in a terminal that cannot move its cursor (`TERM=dumb`), and while
    another process has some on that terminal. `NO_COLOR` is heeded.
    """

    def __init__(self) -> None:
        self._runs: dict[str, RunCounts] = {}

    def run_started(self, run: Run) -> None:
        """Begin to count."""
        if can_have_rows(sys.stderr):
            counts = self._runs[run.id] = RunCounts(run)
            display.add(counts)

    def run_finished(self, run: Run) -> None:
        """Show the run no longer."""
        counts = self._runs.pop(run.id, None)
        if counts is not None:
            display.remove(counts)

    def task_started(self, task: Task) -> None:
        """Count it as running."""
        counts = self._counts_of(task)
        if counts is not None:
            counts.running[task] = monotonic()

    def attempt_failed(self, task: Task) -> None:
        """Count it as waiting."""
        counts = self._counts_of(task)
        if counts is not None:
            counts.waiting[task] = None

    def task_retried(self, task: Task) -> None:
        """Count another attempt."""
        counts = self._counts_of(task)
        if counts is not None:
            counts.waiting.pop(task, None)
            counts.retried += 1

    def task_completed(self, task: Task) -> None:
        """Count it as done."""
        counts = self._counts_of(task)
        if counts is not None:
            counts.running.pop(task, None)
            counts.done += 1

    def task_failed(self, task: Task) -> None:
        """Count it as done, and failed."""
        counts = self._counts_of(task)
        if counts is not None:
            counts.running.pop(task, None)
            counts.waiting.pop(task, None)  # where it was interrupted
            counts.failed += 1
            counts.done += 1

    def task_restored(self, task: Task) -> None:
        """Count it as done."""
        self.task_completed(task)

    def workers_changed(self, workers: int, busy: int) -> None:
        """Note how many workers there are, of all runs."""
        display.workers = workers, busy

    def _counts_of(self, task: Task) -> RunCounts | None:
        return None if task.run is None else self._runs.get(task.run.id)


class Display:
    """What is shown of all runs of this process.

    Attributes:
        workers: How many workers live, and how many are busy.
    """

    def __init__(self) -> None:
        self.workers = (0, 0)
        self._is_over = False
        self._lock = fork_safe_lock()
        # Held while something is written, which takes long where the terminal is stopped.
        self._draws = fork_safe_lock()
        self._rows: BottomRows | None = None
        self._style = Style.of("ascii")
        self._begin()
        call_in_forked_child(self._begin)
        call_at_exit(self.close)

    def _begin(self) -> None:
        # A forked child has neither the thread nor the runs, and the rows are its parent's.
        self._runs: list[RunCounts] = []
        self._thread: Thread | None = None
        self._change, self._is_clear = Event(), Event()
        self._is_clear.set()
        if self._rows is not None:
            self._rows.forget()
            self._rows = None

    def add(self, counts: RunCounts) -> None:
        """Show a run from now on."""
        with self._lock:
            self._runs.append(counts)
            if self._thread is None:
                thread = Thread(target=self._work, name="dotflow-progress", daemon=True)
                with suppress(RuntimeError):  # at the interpreter's exit there are no more
                    thread.start()
                    self._thread = thread

    def remove(self, counts: RunCounts) -> None:
        """Show a run no longer; the last one waits until the terminal is clear."""
        with self._lock:
            if counts in self._runs:  # not where a forked child has gone on with it
                self._runs.remove(counts)
            if self._runs or self._is_clear.is_set():
                return
            self._change.set()
        self._is_clear.wait(_PATIENCE)

    def close(self) -> None:
        """Clear the terminal for good, whatever goes on; not where it takes no more text."""
        self._is_over = True
        if self._draws.acquire(timeout=_PATIENCE):
            try:
                self._clear()
            finally:
                self._draws.release()

    def _work(self) -> None:
        try:
            idle_since: float | None = None
            while idle_since is None or monotonic() - idle_since < _LINGER or self._goes_on():
                self._change.wait(_EVERY)
                self._change.clear()
                runs = self._due()
                idle_since = None if runs else idle_since or monotonic()
                with self._draws:
                    if runs and not self._is_over:
                        self._show(runs)
                    else:
                        self._clear()
        except Exception:
            self._clear()
            _logger.exception("the progress cannot be shown; the runs go on")

    def _goes_on(self) -> bool:
        """Return whether there are runs; where there are none, the thread counts as ended."""
        with self._lock:
            if not self._runs:
                self._thread = None
            return bool(self._runs)

    def _due(self) -> list[RunCounts]:
        with self._lock:
            runs = list(self._runs)
            if runs and monotonic() - runs[0].began >= _FIRST:
                self._is_clear.clear()
                return runs
        return []

    def _show(self, runs: list[RunCounts]) -> None:
        rows = self._opened()
        if rows is None:
            return
        try:
            size = rows.size()
            limit = min(size.lines // _PART, _MOST_ROWS)
            if limit:
                rows.show(lines_of(runs, self.workers, size.columns - 1, limit, self._style), size)
        except OSError:
            self._clear()  # the terminal is gone

    def _opened(self) -> BottomRows | None:
        if self._rows is None and can_have_rows(sys.stderr):
            encoding = getattr(sys.stderr, "encoding", None) or "ascii"
            with suppress(OSError):  # asked again before the next picture
                self._rows = BottomRows(sys.stderr.fileno(), encoding)
                self._style = Style.of(encoding)
        return self._rows

    def _clear(self) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()
        self._is_clear.set()


# One for all, for they share the terminal.
display: Final = Display()


def clear_terminal() -> None:
    """Erase what is shown, for a process that is about to end without its exit hooks."""
    display.close()
