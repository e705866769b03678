"""The use of a pool's workers by one run, driven from the run's own thread."""

from __future__ import annotations

import pickle
import selectors
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.executor import Session, sessions_around
from dotflow.core.attempt import Outcome
from dotflow.core.clock import monotonic
from dotflow.core.exception import DotflowError, PicklingFailed, WorkerLost
from dotflow.core.failure import WORKER_LOST, Failure
from dotflow.workers.answers import RECORDED
from dotflow.workers.child import INITIALIZER, KIT, SHARED, STEP, SURROUNDINGS
from dotflow.workers.crew import LOOK_IN_LINE, Crew
from dotflow.workers.imports import code_version
from dotflow.workers.interpreter import hint
from dotflow.workers.job import Jobs
from dotflow.workers.performing import failure_read
from dotflow.workers.pickling import dump, dump_or_none, load, load_or_none
from dotflow.workers.surroundings import Surroundings
from dotflow.workers.usage import count_living, worker_usage
from dotflow.workers.wire import Closed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.abc.scope import WorkerScope
    from dotflow.core.attempt import Attempt
    from dotflow.workers.job import Job
    from dotflow.workers.pool import Pool, Wake
    from dotflow.workers.process import Worker
    from dotflow.workers.wire import Frame

# How many workers may die under an attempt before one of them has it.
_MOST_LOSSES: Final = 5

# How long a process may take to end whose socket has ended, in seconds.
_MOMENT: Final = 0.5

# How often workers are looked at where the system does not tell of their death, in seconds.
_LOOK: Final = 0.25


class LocalSession(Session):
    """Leases workers while there is work, and gives each back when there is none.

    All waiting is done here, in the thread of the run, over the sockets of its workers.

    Args:
        pool: Lends the workers.
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
        self._crew = Crew(pool, [session.wake for session in around])
        self.wake: Wake = self._crew.wake
        self._queue: deque[Job] = deque()
        self._jobs: dict[Worker, Job] = {}
        self._due: dict[Worker, float] = {}
        self._done: list[tuple[int, Outcome]] = []
        self._made = Jobs()
        self._last_worker: dict[str, Worker] = {}
        code_version.renew()
        self._surroundings = Surroundings.here()
        self._host = socket.gethostname()
        self._user = worker_usage.register(self._jobs)
        self._notify_recorded: Callable[[int, Mapping[str, object]], object] | None = None
        self._shared: bytes | None = None
        self._notify_shared: Callable[[Mapping[str, object]], object] | None = None

    def has_room(self) -> bool:
        """Tell whether one more attempt may be submitted now."""
        return len(self._jobs) + len(self._queue) + len(self._done) < self._pool_size

    def watch_workers(self, notify: Callable[[int, int], object]) -> None:
        """Register what is notified of how many workers live, and run an attempt of any run."""
        worker_usage.listen(self._user, notify)

    def watch_recorded(self, notify: Callable[[int, Mapping[str, object]], object]) -> None:
        """Register what is notified of what attempts record while they run."""
        self._notify_recorded = notify

    def share(
        self, scopes: Mapping[str, WorkerScope], notify: Callable[[Mapping[str, object]], object]
    ) -> None:
        """Have scopes set up in each worker, before its first attempt."""
        self._shared, self._notify_shared = dump_or_none(scopes), notify

    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Begin an attempt."""
        try:
            job = self._made.make(ticket, attempt)
        except Exception as error:  # noqa: BLE001 - of the step's or its input's; the outcome tells
            self._done.append((ticket, Outcome.failed(Failure.of(error))))
            return
        self._queue.append(job)
        self._dispatch()

    # --- sending ----------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._queue:
            try:
                worker = self._crew.take(self._last_worker.get(self._queue[0].attempt.task_id))
            except (OSError, DotflowError) as error:
                self._not_started(self._queue.popleft(), error)
                continue
            if worker is None:
                return
            self._start(worker, self._queue.popleft())
        self._crew.want_no_more()

    def _not_started(self, job: Job, error: OSError | DotflowError) -> None:
        if isinstance(error, DotflowError):
            self._done.append((job.ticket, Outcome.failed(Failure.of(error))))
            return
        # Others run on where there are workers already, and a retry may find room for its own.
        lost = WorkerLost(f"no worker process can be started for {job.attempt.name}: {error}")
        lost.__cause__ = error
        self._done.append((job.ticket, Outcome.failed(Failure.of(lost, WORKER_LOST))))

    def _start(self, worker: Worker, job: Job) -> None:
        attempt = job.attempt
        self._jobs[worker] = job
        worker.attempts += 1
        worker.has_attempt = True
        if attempt.number < attempt.step.policy.attempts:
            self._last_worker[attempt.task_id] = worker
        elif attempt.number > 1:
            self._last_worker.pop(attempt.task_id, None)
        if attempt.timeout:
            self._due[worker] = monotonic() + attempt.timeout
        try:
            self._introduce(worker, job)
            worker.send(job.head(), job.body)
        except Closed:
            self._disconnected(worker)
            return
        if worker.wants_to_send:
            self._crew.watch_sending(worker)

    def _introduce(self, worker: Worker, job: Job) -> None:
        if worker.surroundings is not self._surroundings:
            worker.known_steps.forget()
            worker.known_kits.clear()
            worker.send(pickle.dumps((SURROUNDINGS,)), pickle.dumps(tuple(self._surroundings)))
            worker.surroundings = self._surroundings
            if self._initializer is not None and not worker.is_initialised:
                worker.is_initialised = True
                worker.send(pickle.dumps((INITIALIZER,)), self._initializer)
            if self._shared is not None:
                worker.send(pickle.dumps((SHARED,)), self._shared)
        for kit in job.kits:
            if kit.key not in worker.known_kits:
                worker.known_kits.add(kit.key)
                worker.send(pickle.dumps((KIT, kit.key)), kit.data)
        if job.step not in worker.known_steps:
            keeps_others = worker.known_steps.add(job.step)
            told = STEP, job.step.key, keeps_others, job.step.by_name
            worker.send(pickle.dumps(told), job.step.data)

    # --- waiting ----------------------------------------------------------------------

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Give outcomes with their tickets."""
        until = None if seconds is None else monotonic() + seconds
        if self._crew.has_free and not self._done:
            self._crew.release_free()  # there is nothing for them to do now
        worker_usage.notify(count_living)
        while not self._done:
            for worker, events in self._crew.events(self._patience(until)):
                self._on_event(worker, events)
            if self._due:
                self._end_late_ones()
            if self._crew.must_look:
                self._look_after_workers()
            if self._crew.waits and self._crew.look():
                self._dispatch()
            if until is not None and monotonic() >= until:
                break
        done, self._done = self._done, []
        return done

    def _patience(self, until: float | None) -> float | None:
        times = list(self._due.values())
        if self._crew.must_look:
            times.append(monotonic() + _LOOK)
        if self._crew.waits:
            times.append(monotonic() + LOOK_IN_LINE)
        if until is not None:
            times.append(until)
        return max(0.0, min(times) - monotonic()) if times else None

    def _on_event(self, worker: Worker | None, events: int) -> None:
        if worker is None:
            self._dispatch()
            return
        if worker not in self._jobs and not self._crew.is_free(worker):
            return  # the other one of its two events has ended it
        try:
            if events & selectors.EVENT_WRITE:
                worker.send_more()
                if not worker.wants_to_send:
                    self._crew.watch_sending(worker)
            has_sent = self._receive(worker)
        except Closed:
            self._disconnected(worker)
            return
        if not has_sent and not worker.is_alive():
            self._lost(worker)

    def _receive(self, worker: Worker) -> bool:
        """Take in what has arrived of a worker; return whether that was anything.

        Raises:
            Closed: The worker is gone.
        """
        frame = worker.read()
        if frame is None:
            return False
        # What arrived with one message is not told of again: all are read, the outcome is the last.
        while frame is not None and not self._take_in(worker, frame):
            frame = worker.read()
        return True

    def _look_after_workers(self) -> None:
        for worker in list(self._jobs):
            if worker in self._jobs and not worker.is_alive():
                self._on_event(worker, selectors.EVENT_READ)

    def _take_in(self, worker: Worker, frame: Frame) -> bool:
        """Take in a message; return whether it was an outcome."""
        head: tuple[Any, ...] = pickle.loads(frame.head)  # noqa: S301 - from our own child
        if head[0] == RECORDED:
            self._take_in_recorded(worker, frame.body, is_shared=head[1] is None)
            return False
        worker.has_attempt = False
        job = self._jobs.pop(worker)
        self._due.pop(worker, None)
        *ended, is_spent = head
        outcome = self._outcome(worker, job, ended, frame.body)
        if outcome.failure is None:
            self._last_worker.pop(job.attempt.task_id, None)
        self._done.append((job.ticket, outcome))
        if is_spent:
            self._drop(worker)
        else:
            self._crew.keep(worker)
        self._dispatch()
        return True

    def _take_in_recorded(self, worker: Worker, body: memoryview, *, is_shared: bool) -> None:
        recorded, job = load_or_none(body), self._jobs.get(worker)
        if is_shared:
            if recorded is not None and self._notify_shared is not None:
                self._notify_shared(recorded)
        elif recorded is not None and job is not None and self._notify_recorded is not None:
            self._notify_recorded(job.ticket, recorded)

    def _outcome(
        self, worker: Worker, job: Job, ended_as: Sequence[Any], body: memoryview
    ) -> Outcome:
        _, failure, started, ended, recorded, exception = ended_as
        value = None
        name = job.attempt.name
        if job.is_late(ended - started):
            # It would have been killed, had the run not been busy with other things.
            failure, recorded = job.timeout(), None
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
            # The time counts from when the step began, not from when it was sent, and until its
            # outcome is on its way, which takes as long as this run lets it.
            since = job.running_since(worker.page)
            self._due[worker] = (now if since is None else since) + job.limit
            if since is not None and now >= since + job.limit:
                self._time_out(worker, since)
            elif since is None and worker.is_stopped():
                self._lost(worker)

    def _time_out(self, worker: Worker, started: float) -> None:
        job = self._jobs[worker]
        with suppress(Closed):
            self._receive(worker)  # what it has sent is kept
        if worker not in self._jobs:
            return  # its outcome was there
        self._drop(worker)
        self._give_up(job, job.timeout(), started, worker.pid)

    def _disconnected(self, worker: Worker) -> None:
        # Its process, which ends a moment later, tells how, unless it goes on.
        ended = worker.has_ended(_MOMENT)
        self._lost(worker, None if ended else "has closed its connection")

    def _lost(self, worker: Worker, how: str | None = None) -> None:
        job = self._jobs.get(worker)
        started = None if job is None else job.start(worker.page)
        was_late = job is not None and job.has_become_late(worker.page)
        ended = self._drop(worker)
        if job is None:
            return
        if started is None and job.losses < _MOST_LOSSES:
            # It died before it had this attempt, which so is no attempt yet.
            self._queue.appendleft(job._replace(losses=job.losses + 1))
            self._dispatch()
            return
        when = "before it began" if started is None else "while it ran"
        what = f"{how or ended} {when} {job.attempt.name}"
        if started is None:
            what += hint(self._surroundings.environment)
        error = WorkerLost(f"the worker process {worker.pid} {what}")
        failure = job.timeout() if was_late else Failure.of(error, WORKER_LOST)
        self._give_up(job, failure, monotonic() if started is None else started, worker.pid)

    def _give_up(self, job: Job, failure: Failure, started: float, pid: int) -> None:
        outcome = Outcome(None, failure, started, monotonic(), {}, pid, self._host)
        self._done.append((job.ticket, outcome))
        self._dispatch()

    def _drop(self, worker: Worker) -> str:
        self._jobs.pop(worker, None)
        self._due.pop(worker, None)
        return self._crew.drop(worker)

    def close(self) -> None:
        """End the use; workers that run an attempt are killed."""
        self._queue.clear()
        try:
            self._crew.close()
        finally:
            self._jobs.clear()
            worker_usage.release(self._user)
        worker_usage.notify(count_living)
