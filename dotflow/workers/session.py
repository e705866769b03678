"""The use of a pool's workers by one run, driven from the run's own thread."""

from __future__ import annotations

import pickle
import selectors
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dotflow.abc.executor import Session, sessions_around
from dotflow.core.attempt import Outcome
from dotflow.core.exception import DotflowError, PicklingFailed, WorkerLost
from dotflow.core.failure import WORKER_LOST, Failure
from dotflow.core.timing import monotonic
from dotflow.workers import verdict
from dotflow.workers.ahead import BRIEF, MOST, TOGETHER, Ahead
from dotflow.workers.environment import ProcessEnvironment
from dotflow.workers.imports import code_version
from dotflow.workers.leased import LOOK_IN_LINE, LeasedWorkers
from dotflow.workers.payload import AttemptEncoder
from dotflow.workers.performing import failure_read
from dotflow.workers.pickling import dump, dump_or_none, load, load_or_none
from dotflow.workers.protocol import (
    Closed,
    Ended,
    Environment,
    Initializer,
    Recorded,
    ScopeData,
    SharedScopes,
    Step,
    decoded,
)
from dotflow.workers.usage import count_living, worker_usage
from dotflow.workers.worker import hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.abc.scope import WorkerScope
    from dotflow.core.attempt import Attempt
    from dotflow.workers.payload import PendingAttempt, PickledStep
    from dotflow.workers.pool import Pool, Wake
    from dotflow.workers.protocol import Frame
    from dotflow.workers.worker import Worker

# How long a process may take to end whose socket has ended, in seconds.
_MOMENT: Final = 0.5

# How often workers are looked at where the system does not tell of their death, in seconds.
_LOOK: Final = 0.25


class LocalSession(Session):
    """Leases workers while there is work, and gives each back when there is none.

    All waiting is done here, in the thread of the run, over the sockets of its workers.

    Args:
        pool: Has the workers.
        initializer: Called once in each worker.

    Attributes:
        wake: What stands at the pool for this run.

    Raises:
        PicklingFailed: The initializer cannot travel.
    """

    def __init__(self, pool: Pool, initializer: Callable[[], object] | None = None) -> None:
        self._initializer: bytes | None = None
        if initializer is not None:
            self._initializer = dump(initializer, "the initializer of an ExecutorLocal")
        self._pool_size = pool.size
        around = [each for each in sessions_around.get() if isinstance(each, LocalSession)]
        self._workers = LeasedWorkers(pool, [session.wake for session in around])
        self.wake: Wake = self._workers.wake
        self._queue: deque[PendingAttempt] = deque()
        self._running: dict[Worker, PendingAttempt] = {}
        self._due: dict[Worker, float] = {}
        self._ahead = Ahead(self._running)
        # How many attempts are held back, to be sent to a worker in one piece.
        self._held: dict[Worker, int] = {}
        self._done: list[tuple[int, Outcome]] = []
        self._encoder = AttemptEncoder()
        # By the id of a task whose attempt may be retried: who has it, with which step.
        self._last: dict[str, tuple[Worker, PickledStep]] = {}
        code_version.renew()
        self._environment = ProcessEnvironment.here()
        self._host = socket.gethostname()
        self._user = worker_usage.register(self._running)
        self._notify_recorded: Callable[[int, Mapping[str, object]], object] | None = None
        self._shared: bytes | None = None
        self._notify_shared: Callable[[Mapping[str, object]], object] | None = None

    def has_room(self) -> bool:
        """Return whether one more attempt may be submitted now."""
        begun = len(self._running) + len(self._queue) + len(self._done) + self._ahead.count
        if self._ahead.are_brief:
            return begun < self._pool_size * (1 + MOST)
        return begun < self._pool_size

    def watch_workers(self, notify: Callable[[int, int], object]) -> None:
        """Register what is notified of how many workers live, and run an attempt of any run."""
        worker_usage.listen(self._user, notify)

    def watch_recorded(self, notify: Callable[[int, Mapping[str, object]], object]) -> None:
        """Register what is notified of what attempts record while they run."""
        self._notify_recorded = notify

    def share(
        self, scopes: Mapping[str, WorkerScope], notify: Callable[[Mapping[str, object]], object]
    ) -> None:
        """Register scopes that are set up in each worker, before its first attempt."""
        self._shared, self._notify_shared = dump_or_none(scopes), notify

    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Begin an attempt."""
        try:
            pending = self._encoder.encode(ticket, attempt, self._key_of_retry(attempt))
        except Exception as error:  # noqa: BLE001 - of the step's or its input's; the outcome tells
            self._done.append((ticket, Outcome.failed(Failure.of(error))))
            return
        self._queue.append(pending)
        self._dispatch()

    def _key_of_retry(self, attempt: Attempt) -> int | None:
        # By that key its worker keeps the step for it, also where it was pickled anew meanwhile.
        last = self._last.get(attempt.task_id)
        # A caller may give two tasks the same id.
        return last[1].key if last is not None and last[1].step is attempt.step else None

    # --- sending ----------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._queue:
            busy = self._worker_to_wait_in(self._queue[0])
            if busy is not None:
                self._send_ahead(busy, self._queue.popleft())
                continue
            try:
                last = self._last.get(self._queue[0].attempt.task_id)
                worker = self._workers.take(last[0] if last else None)
            except (OSError, DotflowError) as error:
                self._not_started(self._queue.popleft(), error)
                continue
            if worker is None:
                return
            self._start(worker, self._queue.popleft())
        self._workers.cancel_wait()

    def _worker_to_wait_in(self, pending: PendingAttempt) -> Worker | None:
        # Where other runs have workers, or wait for one, this one takes its turn.
        if len(self._running) < self._pool_size or self._workers.are_wanted:
            return None
        return self._ahead.worker_for(pending)

    def _not_started(self, pending: PendingAttempt, error: OSError | DotflowError) -> None:
        if isinstance(error, DotflowError):
            self._done.append((pending.ticket, Outcome.failed(Failure.of(error))))
            return
        # Others run on where there are workers already, and a retry may find room for its own.
        lost = WorkerLost(f"no worker process can be started for {pending.attempt.name}: {error}")
        lost.__cause__ = error
        self._done.append((pending.ticket, Outcome.failed(Failure.of(lost, WORKER_LOST))))

    def _start(self, worker: Worker, pending: PendingAttempt) -> None:
        self._note_running(worker, pending)
        self._introduce(worker, pending)
        worker.hold(pending.message(), pending.body)
        self._send_held(worker)

    def _send_ahead(self, worker: Worker, pending: PendingAttempt) -> None:
        self._ahead.add(worker, pending)
        self._introduce(worker, pending)
        worker.hold(pending.message(worker.permit()), pending.body)
        held = self._held[worker] = self._held.get(worker, 0) + 1
        if held == TOGETHER:
            self._send_held(worker)

    def _note_running(self, worker: Worker, pending: PendingAttempt) -> None:
        self._running[worker] = pending
        worker.attempts += 1
        worker.has_attempt = True
        worker.is_slow = False
        if pending.attempt.timeout:
            self._due[worker] = monotonic() + pending.attempt.timeout

    def _send_all_held(self) -> None:
        for worker in tuple(self._held):
            self._send_held(worker)

    def _send_held(self, worker: Worker) -> None:
        self._held.pop(worker, None)
        with suppress(Closed):  # read to its end, it tells so as well: what it sent before counts
            worker.send_more()
        if worker.wants_to_send:
            self._workers.watch_sending(worker)

    def _introduce(self, worker: Worker, pending: PendingAttempt) -> None:
        attempt = pending.attempt
        if attempt.number < attempt.step.policy.attempts:
            self._last[attempt.task_id] = worker, pending.step
        elif attempt.number > 1:
            self._last.pop(attempt.task_id, None)
        if worker.environment is not self._environment:
            worker.known_steps.forget()
            worker.known_scope_data.clear()
            worker.hold(Environment(), pickle.dumps(tuple(self._environment)))
            worker.environment = self._environment
            if self._initializer is not None and not worker.is_initialised:
                worker.is_initialised = True
                worker.hold(Initializer(), self._initializer)
            if self._shared is not None:
                worker.hold(SharedScopes(), self._shared)
        for shared in pending.scope_data:
            if shared.key not in worker.known_scope_data:
                worker.known_scope_data.add(shared.key)
                worker.hold(ScopeData(shared.key), shared.data)
        step = pending.step
        if step not in worker.known_steps:
            keeps_others = worker.known_steps.add(step)
            worker.hold(Step(step.key, keeps_others, step.by_name), step.data)

    # --- waiting ----------------------------------------------------------------------

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Return outcomes with their tickets."""
        until = None if seconds is None else monotonic() + seconds
        if self._workers.has_free and not self._done:
            self._workers.release_free()  # there is nothing for them to do now
        worker_usage.notify(count_living)
        self._send_all_held()
        while not self._done:
            for worker, events in self._workers.events(self._patience(until)):
                self._on_event(worker, events)
            if self._due:
                self._end_late_ones()
            if self._ahead.count:
                self._take_back_from_slow_ones()
            if self._workers.must_look:
                self._look_after_workers()
            if self._workers.waits and self._workers.look():
                self._dispatch()
            self._send_all_held()
            if until is not None and monotonic() >= until:
                break
        done, self._done = self._done, []
        return done

    def _patience(self, until: float | None) -> float | None:
        times = list(self._due.values())
        if self._ahead.count:
            times.append(monotonic() + BRIEF)
        if self._workers.must_look:
            times.append(monotonic() + _LOOK)
        if self._workers.waits:
            times.append(monotonic() + LOOK_IN_LINE)
        if until is not None:
            times.append(until)
        return max(0.0, min(times) - monotonic()) if times else None

    def _on_event(self, worker: Worker | None, events: int) -> None:
        if worker is None:
            self._dispatch()
            return
        if worker not in self._running and not self._workers.is_free(worker):
            return  # the other one of its two events has ended it
        if events & selectors.EVENT_WRITE:
            with suppress(Closed):
                worker.send_more()
            if not worker.wants_to_send:
                self._workers.watch_sending(worker)
        try:
            has_sent = self._receive(worker)
        except Closed:
            self._disconnected(worker)
            return
        if not has_sent and not worker.is_alive():
            self._receive_all(worker)
            self._lost(worker)

    def _receive(self, worker: Worker) -> bool:
        """Read what has arrived of a worker; return whether that was anything.

        Raises:
            Closed: The worker is gone.
        """
        frame = worker.read()
        if frame is None:
            return False
        while frame is not None:
            self._read_message(worker, frame)
            # What arrived with one message is not announced again: all are read.
            frame = worker.read() if worker.has_more else None
        return True

    def _receive_all(self, worker: Worker) -> None:
        # So that what it has sent before it died, or is killed, counts; and its attempt is known.
        with suppress(Closed):
            while worker in self._running and self._receive(worker):
                pass

    def _look_after_workers(self) -> None:
        for worker in list(self._running):
            if worker in self._running and not worker.is_alive():
                self._on_event(worker, selectors.EVENT_READ)

    def _read_message(self, worker: Worker, frame: Frame) -> None:
        message = decoded(frame.head)
        if isinstance(message, Recorded):
            self._read_recorded(worker, frame.body, is_shared=message.number is None)
            return
        assert isinstance(message, Ended)  # noqa: S101 - a worker sends nothing else
        worker.has_attempt = False
        pending = self._running.pop(worker)
        self._due.pop(worker, None)
        outcome = self._outcome(worker, pending.attempt, message, frame.body)
        if outcome.failure is None:
            self._last.pop(pending.attempt.task_id, None)
        self._done.append((pending.ticket, outcome))
        self._ahead.note(message.ended - message.started)
        if message.is_spent:
            self._drop(worker)
        else:
            self._go_on(worker)
        self._dispatch()

    def _go_on(self, worker: Worker) -> None:
        following = self._ahead.next_of(worker)
        if following is None:
            self._workers.keep(worker)
            return
        self._note_running(worker, following)
        if worker in self._held:
            self._send_held(worker)
        if self._workers.are_wanted:
            self._take_back(worker)

    def _take_back(self, worker: Worker) -> None:
        self._queue.extendleft(reversed(self._ahead.take_back(worker)))

    def _take_back_from_slow_ones(self) -> None:
        for worker in self._ahead.slow_ones(monotonic()):
            worker.is_slow = True
            self._take_back(worker)
            self._dispatch()

    def _read_recorded(self, worker: Worker, body: memoryview, *, is_shared: bool) -> None:
        recorded, pending = load_or_none(body), self._running.get(worker)
        if is_shared:
            if recorded is not None and self._notify_shared is not None:
                self._notify_shared(recorded)
        elif recorded is not None and pending is not None and self._notify_recorded is not None:
            self._notify_recorded(pending.ticket, recorded)

    def _outcome(
        self, worker: Worker, attempt: Attempt, message: Ended, body: memoryview
    ) -> Outcome:
        _, failed_as, started, ended, recorded, exception, _ = message
        value, failure = None, None
        if verdict.is_late(attempt, ended - started):
            # It would have been killed, had the run not been busy with other things.
            failure, recorded = verdict.timed_out(attempt), None
        elif failed_as is not None:
            failure = failure_read(failed_as, exception)
        else:
            try:
                value = load(body, f"the result of step {attempt.name}")
            except PicklingFailed as error:
                failure = Failure.of(error)
        if isinstance(recorded, bytes):
            recorded = load_or_none(recorded)
        return Outcome(value, failure, started, ended, recorded or {}, worker.pid, self._host)

    # --- workers that end -------------------------------------------------------------

    def _end_late_ones(self) -> None:
        now = monotonic()
        for worker, due in list(self._due.items()):
            if now < due:
                continue
            pending = self._running.get(worker)
            if pending is None:
                continue
            moments = worker.shared_state.moments(pending.number)
            self._due[worker] = verdict.due(pending.attempt, moments, now)
            if now >= self._due[worker]:
                self._time_out(worker, pending)
            elif moments.running_since is None and worker.is_stopped():
                self._lost(worker)

    def _time_out(self, worker: Worker, pending: PendingAttempt) -> None:
        started = worker.shared_state.moments(pending.number).started
        # In this order: where the next one has begun, the outcome of this one is there.
        self._take_back(worker)
        self._receive_all(worker)
        if self._running.get(worker) is not pending:
            self._dispatch()
            return
        self._drop(worker)
        self._give_up(pending, verdict.timed_out(pending.attempt), started, worker.pid)

    def _disconnected(self, worker: Worker) -> None:
        # Its process, which ends a moment later, tells how, unless it goes on.
        ended = worker.has_ended(_MOMENT)
        self._lost(worker, None if ended else "has closed its connection")

    def _lost(self, worker: Worker, how: str | None = None) -> None:
        pending = self._running.get(worker)
        if pending is None:
            self._drop(worker)
            return
        now = monotonic()
        moments = worker.shared_state.moments(pending.number)
        pid, ended = worker.pid, self._drop(worker)
        reason = hint(self._environment.environment)
        failure = verdict.lost(
            pending.attempt, moments, pending.losses, now, f"{pid} {how or ended}", reason
        )
        if failure is None:
            self._queue.appendleft(pending._replace(losses=pending.losses + 1))
            self._dispatch()
            return
        self._give_up(pending, failure, moments.started, pid)

    def _give_up(
        self, pending: PendingAttempt, failure: Failure, started: float | None, pid: int
    ) -> None:
        now = monotonic()
        began = now if started is None else started
        outcome = Outcome(None, failure, began, now, {}, pid, self._host)
        self._done.append((pending.ticket, outcome))
        self._dispatch()

    def _drop(self, worker: Worker) -> str:
        self._running.pop(worker, None)
        self._due.pop(worker, None)
        self._held.pop(worker, None)
        # What waited there has not begun: it goes to others, and nothing is lost of it.
        self._queue.extendleft(reversed(self._ahead.forget(worker)))
        return self._workers.drop(worker)

    def close(self) -> None:
        """End the use; workers that run an attempt are killed."""
        self._queue.clear()
        try:
            self._workers.close()
        finally:
            self._running.clear()
            worker_usage.release(self._user)
        worker_usage.notify(count_living)
