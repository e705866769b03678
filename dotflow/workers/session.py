"""The use of a pool's workers by one run, driven from the run's own thread."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import selectors
import socket
import sys
from collections import deque
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.abc.executor import Session
from dotflow.core.attempt import Outcome
from dotflow.core.exception import PicklingFailed, WorkerLost
from dotflow.core.failure import TIMEOUT, WORKER_LOST, Failure
from dotflow.core.limit import limit_error
from dotflow.workers.child import KIT, RUN, STEP, SURROUNDINGS
from dotflow.workers.kits import Kits
from dotflow.workers.occupancy import everywhere
from dotflow.workers.performing import failure_read
from dotflow.workers.pickling import dump_in_pieces, load, load_or_none
from dotflow.workers.pool import live_workers
from dotflow.workers.step_store import StepStore
from dotflow.workers.wire import Closed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dotflow.core.attempt import Attempt
    from dotflow.workers.kits import Kit
    from dotflow.workers.pool import Pool
    from dotflow.workers.process import Worker
    from dotflow.workers.step_store import PickledStep
    from dotflow.workers.wire import Frame

# A coroutine is cancelled in the worker and has this long for its clean-up, in seconds.
_GRACE: Final = 0.5

# How many workers may die under an attempt before one of them has it.
_MOST_LOSSES: Final = 5

# How often workers are looked at where the system does not tell of their death, in seconds.
_LOOK: Final = 0.25

_numbers = itertools.count(1)


class _Job(NamedTuple):
    ticket: int
    attempt: Attempt
    step: PickledStep
    body: Sequence[bytes]
    number: int
    kits: Sequence[Kit]
    losses: int = 0


class LocalSession(Session):
    """Leases workers while there is work, and gives each back when there is none.

    All waiting is done here, in the thread of the run, over the sockets of its workers.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._selector = selectors.DefaultSelector()
        self._queue: deque[_Job] = deque()
        self._idle: list[Worker] = []
        self._jobs: dict[Worker, _Job] = {}
        self._due: dict[Worker, float] = {}
        self._done: list[tuple[int, Outcome]] = []
        self._steps = StepStore()
        self._last_worker: dict[str, Worker] = {}
        self._surroundings = _surroundings()
        self._bell = socket.socketpair()
        self._selector.register(self._bell[0], selectors.EVENT_READ, None)
        self._waits = False
        self._must_look = False
        self._kits = Kits()
        self._host = socket.gethostname()
        self._user = everywhere.join(self._jobs)

    def has_room(self) -> bool:
        """Tell whether one more attempt may be submitted now."""
        return len(self._jobs) + len(self._queue) + len(self._done) < self._pool.size

    def watch_workers(self, tell: Callable[[int, int], object]) -> None:
        """Have `tell` told how many workers live, and how many run an attempt of any run."""
        self._user.tell = tell

    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Begin an attempt."""
        try:
            job = self._job(ticket, attempt)
        except PicklingFailed as error:
            now = monotonic()
            self._done.append((ticket, Outcome(None, Failure.of(error), now, now)))
            return
        self._queue.append(job)
        self._dispatch()

    def _job(self, ticket: int, attempt: Attempt) -> _Job:
        step = self._steps.of(attempt)
        scopes, kits = self._kits.pack(attempt.remote) if attempt.remote else ((), ())
        return _Job(ticket, attempt, step, self._body(attempt, scopes), next(_numbers), kits)

    def _body(self, attempt: Attempt, scopes: Sequence[object]) -> Sequence[bytes]:
        contexts = attempt.initial, attempt.previous
        timeout = attempt.timeout
        what = f"the input of step {attempt.name}"
        if scopes:
            # What telemetry sends along cannot fail a step.
            try:
                return dump_in_pieces((contexts, timeout, scopes), what, self._steps.modules)
            except PicklingFailed:
                data = dump_in_pieces((contexts, timeout, ()), what, self._steps.modules)
            self._kits.warn()
            return data
        return dump_in_pieces((contexts, timeout, ()), what, self._steps.modules)

    # --- sending ----------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._queue:
            worker = self._free_worker(self._queue[0])
            if worker is None:
                return
            self._start(worker, self._queue.popleft())
        if self._waits:
            self._waits = False
            self._pool.stop_waiting(self._ring)

    def _free_worker(self, job: _Job) -> Worker | None:
        used = self._last_worker.get(job.attempt.task_id)
        if used is not None and used in self._idle:
            self._idle.remove(used)
            return used
        if self._idle:
            return self._idle.pop()
        worker = self._pool.lease(self._ring, used)
        self._waits = worker is None
        if worker is not None:
            self._watch(worker)
        return worker

    def _watch(self, worker: Worker) -> None:
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)
        if worker.death is None:
            self._must_look = True
        else:
            self._selector.register(worker.death, selectors.EVENT_READ, worker)

    def _unwatch(self, worker: Worker) -> None:
        self._selector.unregister(worker.connection)
        if worker.death is not None:
            self._selector.unregister(worker.death)

    def _start(self, worker: Worker, job: _Job) -> None:
        attempt = job.attempt
        self._jobs[worker] = job
        if attempt.number < attempt.step.policy.attempts:
            self._last_worker[attempt.task_id] = worker
        elif attempt.number > 1:
            self._last_worker.pop(attempt.task_id, None)
        if attempt.timeout:
            self._due[worker] = monotonic() + attempt.timeout
        try:
            self._introduce(worker, job)
            head = (RUN, job.number, job.step.key, attempt.task_id, attempt.number, attempt.name)
            worker.send(pickle.dumps(head), job.body)
        except Closed:
            self._lost(worker)
            return
        if worker.wants_to_send:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(worker.connection, both, worker)

    def _introduce(self, worker: Worker, job: _Job) -> None:
        if worker.surroundings is not self._surroundings:
            worker.known_steps.forget()
            worker.known_kits.clear()
            worker.send(pickle.dumps((SURROUNDINGS,)), pickle.dumps(self._surroundings))
            worker.surroundings = self._surroundings
        for kit in job.kits:
            if kit.key not in worker.known_kits:
                worker.known_kits.add(kit.key)
                worker.send(pickle.dumps((KIT, kit.key)), kit.data)
        if job.step not in worker.known_steps:
            keeps_others = worker.known_steps.add(job.step)
            worker.send(pickle.dumps((STEP, job.step.key, keeps_others)), job.step.data)

    # --- waiting ----------------------------------------------------------------------

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Give outcomes with their tickets."""
        until = None if seconds is None else monotonic() + seconds
        if self._idle and not self._done:
            self._release_idle()
        everywhere.publish(live_workers)
        while not self._done:
            for key, events in self._selector.select(self._patience(until)):
                self._on_event(key.data, events)
            if self._due:
                self._end_late_ones()
            if self._must_look:
                self._look_after_workers()
            if until is not None and monotonic() >= until:
                break
        done, self._done = self._done, []
        return done

    def _patience(self, until: float | None) -> float | None:
        times = list(self._due.values())
        if self._must_look:
            times.append(monotonic() + _LOOK)
        if until is not None:
            times.append(until)
        return max(0.0, min(times) - monotonic()) if times else None

    def _on_event(self, worker: Worker | None, events: int) -> None:
        if worker is None:
            self._on_bell()
            return
        if worker not in self._jobs and worker not in self._idle:
            return  # the other one of its two events has ended it
        try:
            if events & selectors.EVENT_WRITE:
                worker.send_more()
                if not worker.wants_to_send:
                    self._selector.modify(worker.connection, selectors.EVENT_READ, worker)
            frame = worker.read()
        except Closed:
            self._lost(worker)
            return
        if frame is not None:
            self._take_in(worker, frame)
        elif not worker.is_alive():
            self._lost(worker)

    def _look_after_workers(self) -> None:
        for worker in list(self._jobs):
            if worker in self._jobs and not worker.is_alive():
                self._on_event(worker, selectors.EVENT_READ)

    def _take_in(self, worker: Worker, frame: Frame) -> None:
        job = self._jobs.pop(worker)
        self._due.pop(worker, None)
        head: tuple[Any, ...] = pickle.loads(frame.head)  # noqa: S301 - from our own child
        *ended, is_spent = head
        outcome = self._outcome(worker, job, ended, frame.body)
        if outcome.failure is None:
            self._last_worker.pop(job.attempt.task_id, None)
        self._done.append((job.ticket, outcome))
        if is_spent:
            self._drop(worker)
        elif self._pool.is_wanted(self._ring):
            # Runs that wait get their turn between two attempts of this one.
            self._release(worker)
        else:
            self._idle.append(worker)
        self._dispatch()

    def _outcome(
        self, worker: Worker, job: _Job, ended_as: Sequence[Any], body: memoryview
    ) -> Outcome:
        _, failure, started, ended, recorded, exception = ended_as
        value = None
        name = job.attempt.name
        if _is_late(job.attempt, ended - started):
            # It would have been killed, had the run not been busy with other things.
            failure, recorded = _timeout(job.attempt), None
        elif failure is not None:
            failure = failure_read(failure, exception)
        else:
            try:
                value = load(body, f"the result of step {name}")
            except PicklingFailed as error:
                failure = Failure.of(error)
        if type(recorded) is bytes:
            recorded = load_or_none(recorded)
        return Outcome(value, failure, started, ended, recorded or {}, worker.pid, self._host)

    # --- workers that end -------------------------------------------------------------

    def _end_late_ones(self) -> None:
        now = monotonic()
        for worker, due in list(self._due.items()):
            if now < due:
                continue
            job = self._jobs[worker]
            limit = job.attempt.timeout + (_GRACE if job.attempt.step.is_coroutine else 0)
            # The time counts from when the step began, not from when it was sent, and until its
            # outcome is on its way, which takes as long as this run lets it.
            since = _running_since(job, worker)
            self._due[worker] = (now if since is None else since) + limit
            if since is not None and now >= since + limit:
                self._time_out(worker, since)
            elif since is None and worker.is_stopped():
                self._lost(worker)

    def _time_out(self, worker: Worker, started: float) -> None:
        job = self._jobs[worker]
        self._drop(worker)
        self._give_up(job, _timeout(job.attempt), started, worker.pid)

    def _lost(self, worker: Worker) -> None:
        job = self._jobs.get(worker)
        started = None if job is None else _start_of(job, worker)
        was_late = job is not None and _has_become_late(job, worker)
        ended = self._drop(worker)
        if job is None:
            return
        if started is None and job.losses < _MOST_LOSSES:
            # It died before it had this attempt, which so is no attempt yet.
            self._queue.appendleft(job._replace(losses=job.losses + 1))
            self._dispatch()
            return
        when = "before it began" if started is None else "while it ran"
        error = WorkerLost(f"the worker process {worker.pid} {ended} {when} {job.attempt.name}")
        failure = _timeout(job.attempt) if was_late else Failure.of(error, WORKER_LOST)
        self._give_up(job, failure, monotonic() if started is None else started, worker.pid)

    def _give_up(self, job: _Job, failure: Failure, started: float, pid: int) -> None:
        outcome = Outcome(None, failure, started, monotonic(), {}, pid, self._host)
        self._done.append((job.ticket, outcome))
        self._dispatch()

    def _drop(self, worker: Worker) -> str:
        self._unwatch(worker)
        self._jobs.pop(worker, None)
        self._due.pop(worker, None)
        if worker in self._idle:
            self._idle.remove(worker)
        return self._pool.discard(worker)

    # --- sharing ----------------------------------------------------------------------

    def _release(self, worker: Worker) -> None:
        self._unwatch(worker)
        self._pool.give_back(worker)

    def _release_idle(self) -> None:
        # There is nothing for them to do now, and another run may have something.
        idle, self._idle = self._idle, []
        for worker in idle:
            self._release(worker)

    def _ring(self) -> None:
        # From the thread of another run, which may do so just when this one ends.
        with contextlib.suppress(OSError):
            self._bell[1].send(b"!")

    def _on_bell(self) -> None:
        self._bell[0].recv(64)
        self._dispatch()

    def close(self) -> None:
        """End the use; workers that run an attempt are killed."""
        self._selector.close()
        self._queue.clear()
        try:
            for worker in self._idle:
                self._pool.give_back(worker)
        finally:
            self._pool.leave(self._ring)
            self._jobs.clear()
            for end in self._bell:
                end.close()
            self._user.has_left = True
        everywhere.publish(live_workers)


def _is_late(attempt: Attempt, lasted: float) -> bool:
    # A coroutine is cancelled by its worker, which tells of it.
    return 0 < attempt.timeout < lasted and not attempt.step.is_coroutine


def _has_become_late(job: _Job, worker: Worker) -> bool:
    # Then it ended itself, for this run did not.
    since = _running_since(job, worker)
    return since is not None and 0 < job.attempt.timeout <= monotonic() - since


def _running_since(job: _Job, worker: Worker) -> float | None:
    ended = worker.page.ended(job.number)
    return worker.page.begun(job.number) if ended is None else None


def _timeout(attempt: Attempt) -> Failure:
    return Failure.of(limit_error(attempt.name, attempt.timeout), TIMEOUT)


def _start_of(job: _Job, worker: Worker) -> float | None:
    begun = worker.page.begun(job.number)
    return worker.page.received(job.number) if begun is None else begun


def _surroundings() -> tuple[Any, ...]:
    try:
        folder = str(Path.cwd())
    except OSError:
        folder = "/"  # the folder was removed
    return folder, _environment(), list(sys.path), list(sys.argv)


def _environment() -> dict[str, str]:
    # Another thread may take a variable away while they are read.
    found = ((name, os.environ.get(name)) for name in list(os.environ))
    return {name: value for name, value in found if value is not None}
