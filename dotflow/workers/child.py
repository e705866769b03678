"""What a worker process does: wait for an attempt, perform it, send how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pickle
import signal
import socket
import stat
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.attempt import Attempt, Outcome
from dotflow.core.exception import PicklingFailed
from dotflow.core.failure import Failure
from dotflow.core.limit import is_abandoned
from dotflow.core.run import forbid_runs_of_imports
from dotflow.core.timing import monotonic
from dotflow.core.user_objects import attribute_of, is_a
from dotflow.workers import imports
from dotflow.workers.answers import Answers, Watchdog, start_thread
from dotflow.workers.environment import Baseline, ProcessEnvironment, become_worker, import_in_order
from dotflow.workers.performing import (
    NO_SCOPES,
    dumped_value,
    guarded_scopes,
    perform_separately,
    scopes_made,
)
from dotflow.workers.pickling import dump_or_none, load, load_or_none, load_step
from dotflow.workers.protocol import (
    Closed,
    Ended,
    Environment,
    FrameReader,
    Initializer,
    PermitTaker,
    Run,
    ScopeData,
    SharedScopes,
    SharedState,
    Step,
    decoded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dotflow.core.action import Action
    from dotflow.core.guard import GuardedScopes

_logger = logging.getLogger("dotflow")

# How many steps wait for a retry here; one more gets a fresh copy.
MOST_KEPT: Final = 1_000


def main(connection: int, state: int, lifeline: int, permits: int) -> None:
    """Serve until the owner closes the connection.

    Args:
        connection: The descriptor of the socket.
        state: The descriptor of the shared memory.
        lifeline: The descriptor of a pipe that ends when the owner dies.
        permits: The descriptor of the pipe of `Permits`.
    """
    for descriptor in (connection, state, lifeline, permits):
        # What a step starts must not keep our connection open.
        os.set_inheritable(descriptor, False)
    start_thread(die_with_owner, lifeline)
    leave_terminal()
    _write_blocking()
    become_worker()
    imports.become_stand_in()
    forbid_runs_of_imports()
    with (
        socket.socket(fileno=connection) as stream,
        contextlib.suppress(Closed, KeyboardInterrupt, BrokenPipeError),
    ):
        # Whether it blocks is the socket's, not the process's: gevent makes ones that do not.
        stream.setblocking(True)
        worker = Child(stream, SharedState(state), PermitTaker(permits))
        while True:
            worker.serve_one()


def die_with_owner(lifeline: int) -> None:
    """Kill this process and its children when a pipe ends: its owner is gone."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def leave_terminal() -> None:
    """Return up the terminal that controls this process, if there is one."""
    # A process group that is not in the foreground of its terminal is stopped for good when a step
    # asks there for a password. So that is an error: there is no terminal. A session of its own
    # would do as well, but systems schedule sessions separately, which takes time.
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return  # there is none
    import termios  # noqa: PLC0415 - most workers need it not

    with contextlib.suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    os.close(terminal)


def _write_blocking() -> None:
    # What the owner has made non-blocking, as gevent or Node.js do, fails who writes much to it.
    # To change that here would change it there as well, so this process opens it once more.
    for output in (1, 2):
        with contextlib.suppress(OSError):
            if not os.get_blocking(output) and not stat.S_ISREG(os.fstat(output).st_mode):
                again = os.open(f"/dev/fd/{output}", os.O_WRONLY | os.O_NOCTTY)
                os.dup2(again, output)
                os.close(again)


class Child:
    """Serves the messages of the owner, one after another.

    Args:
        connection: This end of the socket.
        state: What is shared with the owner.
        permits: What it may begin of what the owner can take back.
    """

    def __init__(self, connection: socket.socket, state: SharedState, permits: PermitTaker) -> None:
        self._answers = Answers(connection)
        self._reader = FrameReader(connection)
        self._state = state
        self._permits = permits
        # An attempt goes on here that has ended for its owner, which ends this process.
        self._is_spent = False
        self._watchdog = Watchdog()
        self._pid = os.getpid()
        # Steps as they came; and those that are kept for a retry, by the task's id and the
        # step's key, for a caller may give two tasks the same id.
        self._steps: dict[int, bytes] = {}
        self._by_name = True
        self._kept: dict[tuple[str, int], Action] = {}
        # What the scopes of several attempts share, by its key.
        self._scope_data: dict[int, Any] = {}
        self._modules: Sequence[str] = ()
        self._baseline: Baseline | None = None
        # Why nothing can run here: the error of the initializer.
        self._unfit: BaseException | None = None
        # What this process has of the main module came from the owner's.
        self._has_main = imports.is_stand_in()

    def serve_one(self) -> None:
        """Wait for a message and do what it says.

        Raises:
            Closed: The owner is gone.
        """
        head, body = self._reader.wait()
        message = decoded(head)
        head.release()
        if isinstance(message, Run):
            if self._may_run(message):
                self._run(body, message)
                if self._baseline is not None:
                    self._baseline.restore()
        elif isinstance(message, Step):
            self._keep_step(body, message)
        elif isinstance(message, ScopeData):
            self._scope_data[message.key] = load_or_none(body)
        elif isinstance(message, Initializer):
            self._initialise(body)
        elif isinstance(message, SharedScopes):
            shared = guarded_scopes(load_or_none(body) or {})
            self._answers.share(shared)
            shared.prepare(self._answers.note_shared)
        elif isinstance(message, Environment):
            self._move(ProcessEnvironment(*pickle.loads(body)))  # noqa: S301 - from our own parent

    def _may_run(self, message: Run) -> bool:
        batch = message.batch
        return not batch or (not self._is_spent and self._permits.take(batch))

    def _keep_step(self, body: memoryview, message: Step) -> None:
        if not message.keeps_others:
            self._steps.clear()
        self._by_name = self._by_name and message.by_name
        self._steps[message.key] = bytes(body)

    def _initialise(self, body: memoryview) -> None:
        try:
            load(body, "the initializer of an ExecutorLocal")()
        except BaseException as error:  # noqa: BLE001 - each attempt here fails with it
            self._unfit = error

    def _move(self, given: ProcessEnvironment) -> None:
        # A new run: nothing of the one before is needed any more.
        self._steps.clear()
        self._kept.clear()
        self._scope_data.clear()
        self._answers.share(NO_SCOPES)
        self._by_name = True
        self._modules = given.modules
        imports.renew(*given.main)
        self._baseline = Baseline(given)

    def _run(self, body: memoryview, message: Run) -> None:
        number, _, task_id, attempt, name, _, _ = message
        began = monotonic()
        self._state.receive(number, began)
        scopes: GuardedScopes | None = None
        try:
            if self._unfit is not None:
                self._refuse()
            what = f"the input of step {name}"
            (initial, previous), timeout, sent = self._read(load, body, what)
            scopes = NO_SCOPES
            if sent:
                scopes = guarded_scopes(scopes_made(sent, self._scope_data))
            self._answers.begin(number, scopes)
            if sent:
                scopes.prepare(self._answers.note)
            step = self._read(self._step, message)
        except BaseException as error:  # noqa: BLE001 - reading may import what exits; owner is told
            recorded = {} if scopes is None else scopes.collect()
            self._send(number, Outcome.failed(Failure.of(error), began), name, recorded)
            return
        if self._baseline is not None:
            self._baseline.note_modules()
        body.release()  # a large input is not held in its pickled form while the step runs
        # Only a coroutine can be stopped from within. What else is late, the owner ends.
        limit = timeout if timeout and step.is_coroutine else 0
        call = Attempt(step, name, task_id, initial, previous, limit, number=attempt)
        self._begin(number, timeout)
        outcome = perform_separately(call, scopes)
        self._keep_for_retry(call, message.step, outcome)
        self._send(number, outcome, name, scopes.collect() if sent else {})

    def _refuse(self) -> None:
        if self._unfit is not None:
            raise self._unfit

    def _read(self, read: Callable[..., Any], *args: Any) -> Any:
        try:
            return read(*args)
        except PicklingFailed as error:
            if _lacking(error.__cause__) not in self._modules:
                raise
        # Modules that import each other may be importable from one end alone.
        refused = import_in_order(self._modules)
        self._modules = ()
        try:
            return read(*args)
        except PicklingFailed:
            if refused is not None:
                raise refused from None
            raise

    def _begin(self, number: int, timeout: float) -> None:
        now = monotonic()
        self._state.begin(number, now)
        if timeout:
            self._watchdog.watch(now, timeout)

    def _step(self, message: Run) -> Action:
        _, key, task_id, attempt, name, seeds, _ = message
        # Each task gets a step of its own, whichever worker it meets; its retries go on
        # with that same one, so what a closure counts goes on counting.
        kept = self._kept.pop((task_id, key), None) if self._kept else None
        if kept is not None and attempt > 1:
            return kept
        what = f"step {name}"
        pickled = self._steps[key]
        step: Action = load_step(pickled, what, seeds) if seeds else load(pickled, what)
        return step

    def _keep_for_retry(self, call: Attempt, key: int, outcome: Outcome) -> None:
        if outcome.failure is None or call.number >= call.step.policy.attempts:
            return
        if len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]  # the oldest: its retry may be elsewhere
        self._kept[call.task_id, key] = call.step

    def _send(self, number: int, outcome: Outcome, name: str, recorded: dict[str, object]) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:  # noqa: SIM105 - it takes half as long
                stream.flush()
            except Exception:  # noqa: BLE001, S110 - it is the step's, or closed
                pass
        if os.getpid() != self._pid:
            os._exit(0)  # a copy that the step forked: the outcome is the original's
        by_name, has_main = self._by_name, self._has_main
        body, failure = dumped_value(outcome, name, by_name=by_name, has_main=has_main)
        exception = None if failure is None else failure.exception
        ended = Ended(
            number,
            None if failure is None else tuple(failure._replace(exception=None)),
            outcome.started,
            outcome.ended,
            _sendable(recorded) if recorded else None,
            None
            if failure is None
            else dump_or_none(exception, by_name=by_name, has_main=has_main),
            failure is not None and is_abandoned(exception),
        )
        self._is_spent = ended.is_spent
        if self._watchdog.stop():
            self._state.end(number, monotonic())
        self._answers.send(ended, body or b"")


def _lacking(error: BaseException | None) -> str | None:
    """Return the name of the module that lacks something, where that is the error."""
    if is_a(error, ImportError):
        name = attribute_of(error, "name")
    elif is_a(error, AttributeError):
        found = attribute_of(error, "obj")
        name = found.__name__ if type(found) is ModuleType else None
    else:
        return None
    return name if type(name) is str else None


def _sendable(recorded: dict[str, object]) -> dict[str, object] | bytes | None:
    # Bytes need no pickle of their own, which keeps what cannot travel from failing the rest.
    plain = all(type(each) is bytes for each in recorded.values())
    return recorded if plain else dump_or_none(recorded)
