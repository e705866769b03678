"""One run of a workflow, from its checks to its end."""

from __future__ import annotations

import sys
from datetime import datetime
from threading import Thread, get_ident
from typing import TYPE_CHECKING
from uuid import uuid4

from dotflow.core.action import check_callback
from dotflow.core.arguments import check_flag, check_text, refuse_unknown, strict_arguments
from dotflow.core.config import check_config, default_config
from dotflow.core.engine import Engine
from dotflow.core.exception import InvalidOption, RunInProgress
from dotflow.core.failure import drop_tracebacks
from dotflow.core.hooks import RunHooks
from dotflow.core.ids import fresh_id
from dotflow.core.model import basic_callback
from dotflow.core.modes import (
    MODE_OPTIONS,
    SEQUENTIAL_GROUP,
    check_groups,
    check_run_options,
    check_tasks,
    check_workflow_id,
    grouper,
    mode_that_runs,
    parallel_chains,
    run_chains_here,
    run_chains_in_workers,
)
from dotflow.core.process import fork_safe_lock, interrupt_at_once
from dotflow.core.run import Attachment, Run, check_may_run
from dotflow.core.timing import monotonic
from dotflow.core.types import UNFINISHED, TypeExecution, TypeInputChange, TypeStatus
from dotflow.core.writer import writer_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack
    from uuid import UUID

    from dotflow.core.awaited import AwaitedRun
    from dotflow.core.checkpoint import Checkpoints
    from dotflow.core.config import Config
    from dotflow.core.model import Task
    from dotflow.core.modes import Groups
    from dotflow.core.options import Mode, ModeOptions, Policy, RunOptions, WorkflowCallback
    from dotflow.core.writer import TaskWriter

__all__ = ["Manager", "grouper"]


class Manager:
    """Runs tasks as one workflow. Making it runs them.

    The constructor runs the mode by calling the method of that name, and ends the run through
    `_callback_workflow`; a subclass may override each of these. Whatever an override runs with
    the modes of the base class belongs to the run, and what it runs in none of them is skipped.

    Args:
        tasks: The tasks.
        on_success: Called as `on_success(tasks=[...])` if no task failed.
        on_failure: Called as `on_failure(tasks=[...])` if one did.
        mode: `sequential`, `sequential_group`, `background` or `parallel`.
        keep_going: Whether a chain of tasks goes on after a failed one.
        workflow_id: The id of the workflow; a fresh UUID4 unless given.
        resume: Whether tasks that completed in an earlier run are restored, not run.
        on_input_change: What a resumed run does when the input changed: `reuse` the
            checkpoints, `reset` them, or `raise`.
        fingerprint: Stands for the input, in place of one made from the initial contexts.
        config: The providers; None: each task's own, and no events of the workflow.
        workflow_name: What the workflow is called in logs, traces and metrics.
        keep_checkpoints: Whether a later run can resume this one; by default where
            `workflow_id` is given or `resume` is set.
        start: Whether the constructor runs the tasks; else `execute` does.

    Attributes:
        started: When the run began: naive local time.
        thread: The thread of a background run.

    Raises:
        ExecutionModeNotExist: There is no such mode.
        InvalidOnInputChange: There is no such policy.
        InvalidOption: Another argument has a value that it cannot have.
        NotCallableObject: A callback cannot be called with `tasks=`, or an override of a mode not
            with the keywords of `ModeOptions`.
        InputChangedError: The input changed and the policy is `raise`.
        UnstableInput: The input of a resumed run has no fingerprint, and none was given.
        RunWhileReading: A worker is still reading the step that it shall run.
        WorkflowInUse: Another run with that `workflow_id` and storage goes on.
    """

    thread: Thread

    @strict_arguments
    def __init__(
        self,
        tasks: Sequence[Task],
        on_success: WorkflowCallback = basic_callback,
        on_failure: WorkflowCallback = basic_callback,
        mode: Mode = TypeExecution.SEQUENTIAL,
        keep_going: bool = False,
        workflow_id: str | UUID | None = None,
        resume: bool = False,
        on_input_change: Policy = TypeInputChange.REUSE,
        fingerprint: str | None = None,
        config: Config | None = None,
        workflow_name: str | None = None,
        keep_checkpoints: bool | None = None,
        *,
        start: bool = True,
    ) -> None:
        check_may_run()
        options: RunOptions = {
            "on_success": on_success,
            "on_failure": on_failure,
            "mode": mode,
            "keep_going": keep_going,
            "resume": resume,
            "on_input_change": on_input_change,
            "fingerprint": fingerprint,
        }
        check_run_options(options)
        check_config(config)
        check_workflow_id(workflow_id)
        check_text("workflow_name", workflow_name, optional=True, blank=True)
        check_flag("start", start)
        check_flag("keep_checkpoints", keep_checkpoints, optional=True)
        self._check_methods(mode)
        self.tasks = check_tasks(tasks)
        self.on_success = on_success
        self.on_failure = on_failure
        self.workflow_id = uuid4() if workflow_id is None else workflow_id
        self.config = config
        self.on_input_change = on_input_change
        self.fingerprint = fingerprint
        self.started = datetime.now()
        # Nobody can ask for the results of a run without a name once its tasks are gone.
        self._is_transient = (
            workflow_id is None if keep_checkpoints is None else not keep_checkpoints
        )
        if keep_checkpoints is None:
            keep_checkpoints = config is not None and workflow_id is not None
        self._keeps_checkpoints = keep_checkpoints
        self._mode = mode
        self._name = workflow_name or "workflow"
        self._whole = _Part(list(self.tasks), grouper(self.tasks), keep_going, resume)
        self._own = self._new_run(mode, self._whole, self, calls_back=True)
        # The ids of the tasks that calls of modes run beside it.
        self._beside: set[int] = set()
        self._lock = fork_safe_lock()
        self._has_begun = self._is_in_groups = False
        self._awaited: AwaitedRun[Manager] | None = None
        self._engine: Engine | None = None
        if start:
            self.execute()

    def execute(self, awaited: AwaitedRun[Manager] | None = None) -> None:
        """Run the tasks, where the constructor did not; a further call does nothing.

        Args:
            awaited: What this thread does it for, where another one awaits it.
        """
        if self._has_begun:
            return
        self._has_begun = True
        self._awaited = awaited
        run, whole = self._own, self._whole
        undo = interrupt_at_once()
        try:
            run.begin()
            getattr(self, self._mode)(
                tasks=whole.tasks,
                workflow_id=self.workflow_id,
                ignore=whole.keep_going,
                groups=whole.groups,
                resume=whole.resume,
            )
            thread = vars(self).get("thread")
            if isinstance(thread, Thread) and thread is not run.thread and thread.is_alive():
                # An override's own, which may run parts of the run yet.
                run.thread = thread
                self._run_in_thread(run, _Part([], {}, keep_going=False, resume=False))
            self._leave(run, self)
        except BaseException as error:
            self._leave(run, self, error)
            raise
        finally:
            if undo is not None:
                undo()

    def abandon(self, error: BaseException) -> None:
        """End the run of a caller that was interrupted before or while it called `execute`."""
        self._leave(self._own, self, error)

    def end_elsewhere(self, error: BaseException) -> None:
        """End the run in place of the thread that executes it, while that is in a step or waits."""
        try:
            if self._engine is not None:
                for task in self.tasks:
                    self._engine.abort(task, error)
        finally:
            if self._awaited is not None:
                self._own.release(self._awaited.thread.ident, error)
            self._leave(self._own, self, error)

    @property
    def is_running(self) -> bool:
        """Whether the run has not ended."""
        return self._own.record.outcome is None

    @property
    def interrupted(self) -> bool:
        """Whether the run ended by an exception before all its tasks were done."""
        return self._own.record.error is not None

    @property
    def failed(self) -> bool:
        """Whether the run has ended and failed."""
        return self._own.record.failed

    @strict_arguments
    def sequential(self, **options: Unpack[ModeOptions]) -> list[Task]:
        """Run tasks one after another in this thread; several groups as `sequential_group`.

        Called by itself, outside the run of the constructor, each of the modes is a run with
        events of its own, and without callbacks at its end.

        Args:
            **options: See `dotflow.core.options.ModeOptions`.

        Returns:
            The tasks.

        Raises:
            InvalidOption: An option has a value that it cannot have.
            RunInProgress: One of the tasks is running.
            TypeError: There is no such option.
        """
        part = self._part("sequential", options)
        if len(part.groups) == 1 or self._is_in_groups:
            return self._run(TypeExecution.SEQUENTIAL, part, self._run_here)
        try:
            # An override of that method may come back here.
            self._is_in_groups = True
            return self.sequential_group(**options)
        finally:
            self._is_in_groups = False

    @strict_arguments
    def sequential_group(self, **options: Unpack[ModeOptions]) -> list[Task]:
        """Run groups one after another in this thread, the tasks of each in order.

        Options, result and errors are those of `sequential`.
        """
        part = self._part("sequential_group", options)
        return self._run(SEQUENTIAL_GROUP, part, self._run_here)

    @strict_arguments
    def background(self, **options: Unpack[ModeOptions]) -> list[Task]:
        """Run tasks as `sequential` does, in the thread `self.thread`; return at once.

        Options, result and errors are those of `sequential`.
        """
        part = self._part("background", options)
        return self._run(TypeExecution.BACKGROUND, part, self._run_in_thread)

    @strict_arguments
    def parallel(self, **options: Unpack[ModeOptions]) -> list[Task]:
        """Run groups at the same time in workers, or of only one group every task.

        Options, result and errors are those of `sequential`.
        """
        part = self._part("parallel", options)
        return self._run(TypeExecution.PARALLEL, part, self._run_in_workers)

    def _callback_workflow(self, tasks: list[Task]) -> None:
        """End the run: its events, unless they were sent, then `on_success` or `on_failure`.

        What an override runs before it calls this belongs to the run.

        Args:
            tasks: Passed to the callback: to `on_failure` if one of them failed, or the run was
                interrupted.
        """
        run = self._own
        interruption = run.end()
        failed = run.record.failed if tasks is run.tasks else _has_failed(tasks)
        (self.on_failure if failed else self.on_success)(tasks=list(tasks))
        if interruption is not None:
            raise interruption

    def _check_methods(self, mode: str) -> None:
        for name, keywords in ((mode, MODE_OPTIONS), ("_callback_workflow", ("tasks",))):
            method = getattr(type(self), name)
            if method is not getattr(Manager, name):
                given = f"{type(self).__qualname__}.{name}"
                check_callback(getattr(self, name), keywords, given)

    def _part(self, mode: str, options: ModeOptions) -> _Part:
        """Return what a call of a mode is to run, checked."""
        if "keep_going" in options:
            raise TypeError(f"Manager.{mode}() takes no argument 'keep_going': is 'ignore' meant?")
        refuse_unknown(f"Manager.{mode}", options, MODE_OPTIONS)
        check_run_options(options)
        whole = self._whole
        given, groups = options.get("tasks", whole.tasks), options.get("groups")
        # In nearly every call they are all of the tasks, in their order.
        is_whole = given is whole.tasks and given == self.tasks
        tasks = whole.tasks if is_whole else check_tasks(given)
        workflow_id = options.get("workflow_id", self.workflow_id)
        if str(workflow_id) != str(self.workflow_id):
            expected = f"the Manager's workflow is {self.workflow_id!s}"
            raise InvalidOption("workflow_id", workflow_id, expected)
        if groups is None or groups is whole.groups:
            # Those of all tasks are those of a part of them, in another order, too.
            groups = whole.groups if is_whole else grouper(tasks)
        else:
            check_groups(groups, tasks)
        keep_going = options.get("ignore", whole.keep_going)
        return _Part(tasks, groups, keep_going, options.get("resume", whole.resume))

    def _new_run(self, mode: str, part: _Part, holder: object, *, calls_back: bool) -> _OpenRun:
        checkpoints = self._open_checkpoints(part)
        record = Run(
            id=fresh_id(),
            workflow_id=self.workflow_id,
            name=self._name,
            mode=mode_that_runs(mode, part.groups),
            task_count=len(part.tasks),
            started_at=datetime.now().timestamp(),
            resumed_from=checkpoints.carrier if checkpoints else None,
            attached=Attachment(),
        )
        writer = writer_for(self.config)(
            record, self.config, checkpoints, transient=self._is_transient
        )
        return _OpenRun(writer, RunHooks(self.config), checkpoints, part.tasks, holder, calls_back)

    def _open_checkpoints(self, part: _Part) -> Checkpoints | None:
        if not (part.resume or self._keeps_checkpoints):
            return None
        from dotflow.core.checkpoint import open_checkpoints  # noqa: PLC0415 - few runs have some

        return open_checkpoints(
            _config_of(self.config, part.tasks).storage,
            self.workflow_id,
            part.tasks,
            resume=part.resume,
            on_input_change=self.on_input_change,
            fingerprint=self.fingerprint,
            alone=not self._is_transient,
        )

    def _run(self, mode: str, part: _Part, drive: Callable[[_OpenRun, _Part], None]) -> list[Task]:
        """Run tasks as a part of the open run, or as a run of their own where none is open."""
        run, holder = self._own, get_ident()
        undo: Callable[[], None] | None = None
        try:
            if run.hold(holder):
                run.join(part.tasks)
            else:
                undo = interrupt_at_once()
                self._claim(part.tasks)
                run = self._new_run(mode, part, holder, calls_back=False)
                run.begin()
            with run.serving():
                drive(run, part)
            self._leave(run, holder)
        except BaseException as error:
            self._leave(run, holder, error)
            raise
        finally:
            if undo is not None:
                undo()
        return list(part.tasks)

    def _claim(self, tasks: Sequence[Task]) -> None:
        ids = {id(task) for task in tasks}
        with self._lock:
            if _is_running(tasks) or ids & self._beside:
                raise RunInProgress(self._name)
            self._beside |= ids

    def _run_here(self, run: _OpenRun, part: _Part) -> None:
        engine = self._engine = run.engine(part)
        if self._awaited is not None:
            self._awaited.run_outside(engine)
        run_chains_here(engine, part.groups.values())

    def _run_in_thread(self, run: _OpenRun, part: _Part) -> None:
        if self._awaited is not None:  # which is one already, and waited for no longer
            self.thread = run.thread = self._awaited.thread
            self._awaited.note_begun(self)
            self._run_here(run, part)
            return
        from dotflow.core.background import BackgroundRun  # noqa: PLC0415 - this mode only

        engine: Engine | None = None

        def drive() -> None:
            nonlocal engine
            try:
                # So that to wait for the last thread of a run is to wait for all of it.
                if before is not None:
                    background.outside(before.join, None)
                engine = run.engine(part)
                background.run_outside(engine)
                with run.serving():
                    run_chains_here(engine, part.groups.values())
                self._leave(run, holder)
            except BaseException as error:
                self._leave(run, holder, error)
                raise

        def give_up(error: BaseException) -> None:
            try:
                if engine is not None:
                    for task in part.tasks:
                        engine.abort(task, error)
            finally:
                self._leave(run, holder, error)

        holder, before = object(), run.thread
        background = BackgroundRun(drive, give_up, run.record.name)
        try:
            run.hold(holder)
            background.start()
            self.thread = run.thread = background.thread
        except BaseException:
            if background.call_off():
                run.release(holder)
            else:  # it goes on
                self.thread = run.thread = background.thread
            raise

    def _run_in_workers(self, run: _OpenRun, part: _Part) -> None:
        engine = run.engine(part)
        if not part.tasks:
            return
        executor = _config_of(self.config, part.tasks).executor
        chains = parallel_chains(part.groups)
        check = None if self._awaited is None else self._awaited.check
        run_chains_in_workers(engine, chains, executor, run.hooks, run.record, check)

    def _leave(self, run: _OpenRun, holder: object, error: BaseException | None = None) -> None:
        """Release a run, and end it where nobody holds it any longer.

        A second call goes on where the first one was interrupted.
        """
        if run.release(holder, error):
            with run.serving():
                self._end(run)

    def _end(self, run: _OpenRun) -> None:
        try:
            run.close_checkpoints()
        finally:
            try:
                if run.calls_back:
                    self._callback_workflow(tasks=run.tasks)
            finally:
                interruption = run.end()  # where an override did not
                run.drop_tracebacks()
                if not run.calls_back:
                    self._beside.difference_update(map(id, run.tasks))
                if interruption is not None:
                    raise interruption


class _Part:
    """What one call of a mode runs."""

    def __init__(self, tasks: list[Task], groups: Groups, keep_going: bool, resume: bool) -> None:
        self.tasks = tasks
        self.groups = groups
        self.keep_going = keep_going
        self.resume = resume


class _OpenRun:
    """A run from its first event to its last.

    It is held by all that run a part of it: the constructor, calls of modes, background
    threads. It ends when the last of them has released it.

    Args:
        writer: What changes the state of its tasks.
        hooks: The calls of its start and end.
        checkpoints: Where completed tasks are noted; None where nobody can resume.
        tasks: The tasks that belong to it from the start.
        holder: Whoever runs the first part of it.
        calls_back: Whether the Manager's callbacks are called at its end.

    Attributes:
        record: The record of its start, and once the run has ended of its end.
        tasks: All tasks that belong to it.
        thread: The last thread in the background that was started for it.
    """

    def __init__(
        self,
        writer: TaskWriter,
        hooks: RunHooks,
        checkpoints: Checkpoints | None,
        tasks: Sequence[Task],
        holder: object,
        calls_back: bool,
    ) -> None:
        self.record = writer.run
        self.calls_back = calls_back
        self.hooks = hooks
        self.tasks = list(tasks)
        self.thread: Thread | None = None
        self._given: Sequence[Task] | None = tasks
        self._further = 0
        self._writer = writer
        self._checkpoints = checkpoints
        self._error: BaseException | None = None
        self._lock = fork_safe_lock()
        self._holders = {holder}
        self._is_noted = self._has_reported = self._has_ended = False
        self._ended_by: int | None = None
        self._clock = monotonic()
        self._writer.adopt(tasks)

    def join(self, tasks: Sequence[Task]) -> None:
        """Make the tasks of a part tasks of the run; what ran before is as fresh as when added."""
        given, self._given = self._given, None
        if tasks is given:
            return  # the first part has them all, untouched
        if _is_running(tasks):
            raise RunInProgress(self.record.name)
        new = [task for task in tasks if task.run is not self._writer.run]
        self.tasks += new
        self._writer.adopt(new)
        again = [task for task in tasks if task.status != TypeStatus.NOT_STARTED]
        self._writer.adopt(again)
        # Each time that a task is run counts: it starts and ends again.
        self._further += len(new) + len(again)

    def begin(self) -> None:
        """Send the events of the start."""
        self.hooks.run_started(self.record)

    def serving(self) -> AbstractContextManager[object]:
        """Return what is entered around what serves the run, until that has ended."""
        return self.hooks.run_scope(self.record)

    def engine(self, part: _Part) -> Engine:
        """Return what runs the tasks of a part."""
        if self._checkpoints is not None:
            with self._lock:
                if not self._is_noted:
                    self._is_noted = True
                    self._checkpoints.begin(self.hooks.run_carrier(self.record))
        return Engine(self._writer, resume=part.resume, keep_going=part.keep_going)

    def hold(self, holder: object) -> bool:
        """Keep the run from ending; return whether it is open."""
        with self._lock:
            if self.record.outcome is None:
                self._holders.add(holder)
            return self.record.outcome is None

    def release(self, holder: object, error: BaseException | None = None) -> bool:
        """Let the run end as far as this holder goes; return whether this thread is to end it.

        Args:
            holder: Whoever held it, or was interrupted before it did.
            error: What ended that part of the run before its tasks were done.
        """
        with self._lock:
            if self._has_ended:
                return False
            self._error = error if self._error is None else self._error
            # Nor does a call of a mode in this thread that was interrupted before it came here.
            others = self._holders - {holder, get_ident()}
            if others:
                self._holders = others
                return False
            # The last one stays, so that what an override of the end runs is part of the run.
            if self._ended_by is None:
                self._ended_by = get_ident()
            return self._ended_by == get_ident()

    def close_checkpoints(self) -> None:
        """Write to the checkpoints that the run is over.

        Raises:
            Exception: The storage's own; the run has failed then.
        """
        if self._checkpoints is None or self._error is not None:
            return
        try:
            self._checkpoints.finish(completed=not _has_failed(self.tasks))
        except BaseException as error:
            self._error = error
            raise

    def end(self) -> BaseException | None:
        """Report the tasks that did not run, and send the events of the end; once.

        Returns:
            An interruption that came meanwhile, to be raised when all else is done.
        """
        interruption: BaseException | None = None
        while not self._has_ended:
            try:
                if self.hooks.counts and not self._has_reported:
                    self._has_reported = True
                    found = self._writer.report_others(self.tasks, self._error)
                    interruption = found if interruption is None else interruption
                if self.record.outcome is None:
                    self._finish_record(interruption)
                if self._checkpoints is not None:
                    self._checkpoints.close()
                self.hooks.run_finished(self.record)
                self._has_ended = True
                self._holders.clear()
            except BaseException as error:  # noqa: BLE001 - raised by the caller
                interruption = error if interruption is None else interruption
        return interruption

    def _finish_record(self, interruption: BaseException | None) -> None:
        self._error = interruption if self._error is None else self._error
        failed = self._error is not None or _has_failed(self.tasks)
        duration = monotonic() - self._clock
        self.record = self.record.finished(
            duration, failed=failed, error=self._error, further_tasks=self._further
        )

    def drop_tracebacks(self) -> None:
        """Let go of what failed steps held: the frames of the exceptions that tasks keep."""
        if self.record.failed:
            failures = (task.failure for task in self.tasks)
            errors = [each.exception for each in failures if each and each.exception is not None]
            drop_tracebacks(errors, keep=sys.exception())


def _config_of(config: Config | None, tasks: Sequence[Task]) -> Config:
    return config or (tasks[0].config if tasks else default_config())


def _is_running(tasks: Sequence[Task]) -> bool:
    return any(task.status in UNFINISHED and task.run is not None for task in tasks)


def _has_failed(tasks: Sequence[Task]) -> bool:
    return any(task.status == TypeStatus.FAILED for task in tasks)
