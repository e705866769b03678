"""Shows the runs of this process at the bottom of a terminal while they go on.

Hooks count; a thread of its own reads the counters some ten times a second and shows them.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from dotflow.abc.progress import Progress
from dotflow.core.clock import monotonic
from dotflow.core.locks import fork_safe_lock
from dotflow.providers.progress_lines import RunCounts, Style, lines_of
from dotflow.providers.terminal_rows import BottomRows, can_have_rows

if TYPE_CHECKING:
    from dotflow.core.run import Run
    from dotflow.core.task import Task

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
            _display.add(counts)

    def run_finished(self, run: Run) -> None:
        """Show the run no longer."""
        counts = self._runs.pop(run.id, None)
        if counts is not None:
            _display.remove(counts)

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
        _display.workers = workers, busy

    def _counts_of(self, task: Task) -> RunCounts | None:
        return None if task.run is None else self._runs.get(task.run.id)


class _Display:
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
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.close)

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
_display: Final = _Display()


def clear_terminal() -> None:
    """Erase what is shown, for a process that is about to end without its exit hooks."""
    _display.close()
