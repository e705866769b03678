"""The record of one run of a workflow, and where none may begin: in a process that still reads.

A worker imports the modules of its steps. One that starts a workflow when it is imported would
start workers in each worker, and these in each of theirs, without end. So would a thread that
such a module starts.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakSet

from dotflow.core.exception import RunWhileReading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


COMPLETED: Final = "completed"
FAILED: Final = "failed"


class Attachment:
    """What the tracer attaches to a run, for logs and metrics to read; the core reads it not.

    Attributes:
        value: It; None until the tracer attaches something.
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None


class Run(NamedTuple):
    """One run: frozen. `finished` returns the record of its end.

    Attributes:
        id: Of this run alone; several runs may share a workflow id, one after another at least.
        workflow_id: The id of the workflow, as it was given or generated.
        name: The name of the workflow.
        mode: The mode as it runs (`sequential` over several groups is `sequential_group`).
        task_count: How many tasks it has; at the end with those that were run again or added.
        started_at: Seconds since the epoch.
        resumed_from: What the tracer kept with the checkpoints that this run resumes from.
        duration: Seconds, at the end.
        outcome: `completed` or `failed`, at the end.
        error: The exception that ended the run before its tasks were done, if any.
        attached: What the tracer attaches, shared with the record of the run's end.
    """

    id: str
    workflow_id: Any
    name: str
    mode: str
    task_count: int
    started_at: float
    resumed_from: Mapping[str, str] | None = None
    duration: float | None = None
    outcome: str | None = None
    error: BaseException | None = None
    attached: Attachment | None = None

    @property
    def failed(self) -> bool:
        """Whether the run has failed."""
        return self.outcome == FAILED

    def finished(
        self,
        duration: float,
        *,
        failed: bool,
        error: BaseException | None = None,
        further_tasks: int = 0,
    ) -> Run:
        """Return the record of the ended run."""
        outcome = FAILED if failed else COMPLETED
        count = self.task_count + further_tasks
        return self._replace(duration=duration, outcome=outcome, error=error, task_count=count)


class _Thread(threading.local):
    is_reading = False
    is_of_worker = False  # the main one of a worker


_thread: Final = _Thread()


class Imports:
    """What a worker imports while it reads, and the threads that were started by that.

    What a step starts may begin a run; what an import has started may not, then or later.

    It is a finder on `sys.meta_path` that finds nothing, and so is told when an import begins.
    """

    is_installed = False
    is_reading = False

    def __init__(self) -> None:
        self._before: Sequence[threading.Thread] | None = None
        self._started: WeakSet[threading.Thread] = WeakSet()

    def find_spec(self, *_: object) -> None:
        """Note which threads there are, where this is the first import of a reading."""
        if self.is_reading and self._before is None:
            self._before = threading.enumerate()

    def install(self) -> None:
        """Be told of imports."""
        self.is_installed = True
        sys.meta_path.insert(0, self)  # it finds nothing

    def note_reading(self, reading: bool) -> None:
        """Note whether the worker reads."""
        self.is_reading = reading
        if self._before is not None:
            self._started.update(self._new(threading.enumerate()))
            self._before = None

    def have_started(self, thread: threading.Thread) -> bool:
        """Return whether a thread was started by an import."""
        return thread in self._started or bool(self._new([thread]))

    def _new(self, threads: Sequence[threading.Thread]) -> list[threading.Thread]:
        before = threads if self._before is None else self._before
        return [thread for thread in threads if thread not in before]


watched_imports: Final = Imports()


def forbid_runs_of_imports() -> None:
    """Note that this process is a worker, and its main thread, this one, is reading."""
    watched_imports.install()
    _thread.is_of_worker = True
    note_reading(True)


def note_reading(reading: bool) -> bool:
    """Note whether this thread reads what travels, or performs a step; return what it did."""
    # Called twice an attempt, hence no context manager.
    before, _thread.is_reading = _thread.is_reading, reading
    if _thread.is_of_worker:
        watched_imports.note_reading(reading)
    return before


def check_may_run() -> None:
    """Check that this thread may begin a run.

    Raises:
        RunWhileReading: It is still reading what it shall run, or was started by what a worker
            has imported for that.
    """
    thread = threading.current_thread()
    started = watched_imports.is_installed and watched_imports.have_started(thread)
    if _thread.is_reading or started:
        raise RunWhileReading
