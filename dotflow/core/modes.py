"""The execution modes: how tasks are cut into chains, and run in this thread or in workers."""

from __future__ import annotations

import logging
from _thread import start_new_thread
from collections import deque
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from dotflow.abc.executor import sessions_around
from dotflow.core.action import check_callback
from dotflow.core.arguments import check_flag, check_text
from dotflow.core.exception import ExecutionModeNotExist, InvalidOnInputChange, InvalidOption
from dotflow.core.limit import SharedLoop
from dotflow.core.model import Task, basic_callback
from dotflow.core.timing import Latch, monotonic
from dotflow.core.types import VALID_POLICIES, TypeExecution, TypeStatus
from dotflow.core.user_objects import repr_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dotflow.abc.executor import Executor, Session
    from dotflow.core.attempt import Outcome
    from dotflow.core.engine import Engine
    from dotflow.core.hooks import RunHooks
    from dotflow.core.run import Run

    Chain = Sequence[Task]

    Groups = Mapping[str, Sequence[Task]]


SEQUENTIAL_GROUP: Final = "sequential_group"
MODES: Final = (
    TypeExecution.SEQUENTIAL,
    SEQUENTIAL_GROUP,
    TypeExecution.BACKGROUND,
    TypeExecution.PARALLEL,
)


# The names of `RunOptions` and `ModeOptions`, types that no run needs to import.
RUN_OPTIONS: Final = (
    "mode",
    "keep_going",
    "resume",
    "on_input_change",
    "fingerprint",
    "on_success",
    "on_failure",
)
MODE_OPTIONS: Final = ("tasks", "workflow_id", "ignore", "groups", "resume")
_FLAGS: Final = ("keep_going", "ignore", "resume")
_CALLBACKS: Final = ("on_success", "on_failure")


def check_run_options(options: Mapping[str, Any]) -> None:
    """Check the values of a run's options, of those that are there.

    Raises:
        ExecutionModeNotExist: There is no such mode.
        InvalidOnInputChange: There is no such policy.
        InvalidOption: Another one is of the wrong type.
        NotCallableObject: A callback cannot be called with `tasks=`.
    """
    if "mode" in options:
        check_mode(options["mode"])
    policy = options.get("on_input_change", VALID_POLICIES[0])
    if not (isinstance(policy, str) and policy in VALID_POLICIES):
        raise InvalidOnInputChange(policy)
    for name in _FLAGS:
        check_flag(name, options.get(name, False))
    given = options.get("fingerprint")
    expected = "give a text that changes with the input"
    check_text("fingerprint", given, expected, optional=True, blank=True)
    for name in _CALLBACKS:
        callback = options.get(name, basic_callback)
        if callback is not basic_callback:
            check_callback(callback, ("tasks",), f"{name}={repr_of(callback)}")


def check_tasks(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks as a list of their own.

    Raises:
        InvalidOption: They are no list, or hold something else.
    """
    if not isinstance(tasks, (list, tuple)):
        raise InvalidOption("tasks", tasks, "give a list of Task, such as DotFlow.task.queue")
    # Nearly all are plain tasks, which one look tells.
    for index, task in enumerate(tasks) if {*map(type, tasks)} != {Task} else ():
        if not isinstance(task, Task):
            made = "give Task objects, such as DotFlow.task.add makes of steps"
            raise InvalidOption(f"tasks[{index}]", task, made)
    return list(tasks)


def check_groups(groups: Groups, tasks: Sequence[Task]) -> None:
    """Check that groups hold the tasks.

    Raises:
        InvalidOption: They do not, or not each task once.
    """
    try:
        grouped = [task for group in groups.values() for task in group]
    except (AttributeError, TypeError):
        raise InvalidOption("groups", groups, "give what grouper(tasks) returns") from None
    if sorted(map(id, grouped)) != sorted(map(id, tasks)):
        raise InvalidOption("groups", groups, "they must hold each of the tasks, once")


def check_workflow_id(workflow_id: object) -> None:
    """Check what is given as the id of a workflow.

    Raises:
        InvalidOption: It is neither a text nor a UUID.
    """
    is_blank = isinstance(workflow_id, str) and not workflow_id.strip()
    if is_blank or not isinstance(workflow_id, str | UUID | None):
        raise InvalidOption("workflow_id", workflow_id, "give a text or a UUID")


def check_mode(mode: str) -> None:
    """Check that there is such a mode.

    Raises:
        ExecutionModeNotExist: There is not.
    """
    if mode not in MODES:
        raise ExecutionModeNotExist(mode, MODES)


def grouper(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Return the tasks by the name of their group, groups in order of first appearance."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.group_name, []).append(task)
    return groups


def mode_that_runs(mode: str, groups: Groups) -> str:
    """Return the mode as it runs: `sequential` over several groups is `sequential_group`."""
    return SEQUENTIAL_GROUP if mode == TypeExecution.SEQUENTIAL and len(groups) > 1 else mode


def parallel_chains(groups: Groups) -> Sequence[Chain]:
    """Return the chains that run at the same time: the groups, or the tasks of the only one."""
    chains = list(groups.values())
    return chains if len(chains) > 1 else [[task] for chain in chains for task in chain]


def run_chains_here(engine: Engine, chains: Iterable[Chain]) -> None:
    """Run chains one after another in this thread."""
    for chain in chains:
        before: Task | None = None
        done = engine.restore(chain) if engine.resume else 0
        if done:
            before = context_source(chain[done - 1])
            if before is None and not engine.keep_going:
                continue
        with SharedLoop():
            for task in chain[done:] if done else chain:
                engine.run_here(task, before)
                before = context_source(task)
                if before is None and not engine.keep_going:
                    break


def context_source(task: Task) -> Task | None:
    """Return the task itself where it has a context for the next one, else None."""
    return task if task.status == TypeStatus.COMPLETED else None


_logger = logging.getLogger("dotflow")

# How often a run in workers that may be cancelled looks whether it is, in seconds: no executor
# needs a way of its own by which another thread ends the wait.
_CHECK: Final = 0.1


def run_chains_in_workers(
    engine: Engine,
    chains: Sequence[Chain],
    executor: Executor,
    hooks: RunHooks,
    run: Run,
    check: Callable[[], None] | None = None,
) -> None:
    """Run chains at the same time, as many as the executor takes.

    Args:
        engine: Runs the tasks.
        chains: The chains.
        executor: Where their attempts run.
        hooks: Notified of what workers record, and of how many live and are busy.
        run: The record of the run.
        check: Called from time to time; raises what the run is to end by, if that has come.

    Raises:
        KeyboardInterrupt: It came while waiting; what was running has been ended.
    """
    session = executor.session()
    driver = _Driver(engine, chains, session, check)
    end = _End(session)
    around = sessions_around.set((*sessions_around.get(), session))
    try:
        if hooks.workers_changed is not None:
            session.watch_workers(hooks.workers_changed)
        scopes = hooks.worker_scopes(run)
        if scopes:
            session.share(scopes, hooks.worker_recorded)
        session.watch_recorded(driver.note_recorded)
        driver.drive()
        session.close()
    except BaseException as error:
        # Whoever presses Ctrl-C again interrupts the main thread, wherever it is. So another
        # thread ends the use. To start that one is a single call of the interpreter's: no
        # interrupt comes between the one that led here and that call.
        try:
            start_new_thread(end.run, ())
        except RuntimeError:  # there are no more threads, as at the interpreter's exit
            end.run()
        finally:
            try:
                end.wait()
            finally:
                driver.abort(error)
        raise
    finally:
        sessions_around.reset(around)


class _End:
    """The end of a session that a run leaves by an exception, in a thread of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ended = Latch()

    def run(self) -> None:
        try:
            self._session.close()
        except Exception:
            _logger.exception("the use of an executor did not end as it should")
        finally:
            self._ended.open()

    def wait(self) -> None:
        self._ended.wait()


class _Place:
    """Where a chain has come to: its next task, since when that is ready, after which one."""

    __slots__ = ("before", "chain", "index", "ready")

    def __init__(self, chain: Chain, ready: float) -> None:
        self.chain = chain
        self.index = 0
        self.ready = ready
        self.before: Task | None = None

    @property
    def task(self) -> Task:
        return self.chain[self.index]

    @property
    def is_last(self) -> bool:
        return self.index + 1 == len(self.chain)


class _Driver:
    def __init__(
        self,
        engine: Engine,
        chains: Sequence[Chain],
        session: Session,
        check: Callable[[], None] | None,
    ) -> None:
        self._engine = engine
        self._check = check
        self._session = session
        self._chains = chains
        began = monotonic()
        # Made one by one as there is room, so that 100,000 chains need no 100,000 places.
        self._fresh: Iterator[_Place] = (_Place(chain, began) for chain in chains)
        self._ready: deque[_Place] = deque()
        self._delayed: list[tuple[float, int, _Place]] = []
        self._running: dict[int, _Place] = {}
        self._tickets = count()

    def drive(self) -> None:
        """Run all chains to their ends."""
        self._fill()
        while self._running or self._delayed:
            if self._check is not None:
                self._check()
            for ticket, outcome in self._session.wait(self._patience()):
                place = self._running.pop(ticket)
                if place.is_last and outcome.failure is None:
                    # Nothing becomes ready by it, so its worker need not wait until it is told.
                    self._fill()
                self._settle(place, outcome)
            self._fill()

    def note_recorded(self, ticket: int, recorded: Mapping[str, object]) -> None:
        """Take in what an attempt that goes on has recorded, by slot."""
        self._engine.note_recorded(self._running[ticket].task, recorded)

    def abort(self, error: BaseException) -> None:
        """Fail every task that has begun and not ended."""
        # All are asked: one may be between two of the places here when an interrupt comes.
        # A further one ends nothing any more: the error is raised when all have been asked.
        for chain in self._chains:
            for task in chain:
                with suppress(KeyboardInterrupt, SystemExit):
                    self._engine.abort(task, error)

    def _fill(self) -> None:
        while self._session.has_room():
            place = self._next()
            if place is None:
                break
            self._launch(place)

    def _next(self) -> _Place | None:
        if self._delayed and self._delayed[0][0] <= monotonic():
            return heappop(self._delayed)[2]
        while True:
            if self._ready:
                return self._ready.popleft()
            place = next(self._fresh, None)
            if place is None or not self._engine.resume:
                return place
            restored = self._engine.restore(place.chain)
            if not restored:
                return place
            place.index = restored - 1
            self._advance(place, monotonic())

    def _patience(self) -> float | None:
        until_delayed = max(0.0, self._delayed[0][0] - monotonic()) if self._delayed else None
        if self._check is None:
            return until_delayed
        return _CHECK if until_delayed is None else min(_CHECK, until_delayed)

    def _launch(self, place: _Place) -> None:
        task = place.task
        if task.status != TypeStatus.RETRY:
            self._engine.note_ready(task, place.ready)
            if not self._engine.begin(task, place.before):
                self._advance(place, monotonic())
                return
        else:
            self._engine.try_again(task)
        ticket = next(self._tickets)
        self._running[ticket] = place
        self._session.submit(ticket, self._engine.remote_attempt(task))

    def _settle(self, place: _Place, outcome: Outcome) -> None:
        task = place.task
        delay = self._engine.settle(task, outcome, place.ready)
        now = monotonic()
        if delay is None:
            self._advance(place, now)
            return
        place.ready = now + delay
        heappush(self._delayed, (place.ready, next(self._tickets), place))

    def _advance(self, place: _Place, now: float) -> None:
        place.before = context_source(place.task)
        if place.before is None and not self._engine.keep_going:
            return
        place.index += 1
        if place.index < len(place.chain):
            place.ready = now
            self._ready.append(place)
