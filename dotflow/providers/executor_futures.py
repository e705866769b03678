"""Any executor of `concurrent.futures`."""

from __future__ import annotations

import logging
import socket
import threading
from concurrent import futures
from contextvars import ContextVar, copy_context
from importlib import import_module
from queue import Empty
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from dotflow.abc.executor import Executor, Session
from dotflow.core.arguments import check_count, check_instance, strict_arguments
from dotflow.core.attempt import Attempt, Outcome
from dotflow.core.exception import DotflowError, ExecutorUnusable, WorkerLost
from dotflow.core.failure import WORKER_LOST, Failure
from dotflow.core.limit import CLEAN_UP, Limit, current_limit
from dotflow.core.process import fork_safe_lock
from dotflow.core.timing import TimedQueue, monotonic, monotonic_ns
from dotflow.core.user_objects import mro_of, name_of, text_of
from dotflow.workers.performing import not_interrupted
from dotflow.workers.pickling import load_or_none
from dotflow.workers.remote import Packer, Parcel, perform_packed, perform_shared, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.abc.scope import WorkerScope

    Future = futures.Future[Any]

_logger = logging.getLogger("dotflow")

# How many attempts of a run an executor has at a time that does not tell how many workers it has.
_IN_FLIGHT: Final = 64

# Executors of other libraries that have a way of their own: by the module of their class, where the
# function `backend_of` returns a `Backend` for one of them.
_BACKENDS: Final = {"distributed.cfexecutor": "dotflow.dask.backend"}

_LOSSES: Final = futures.BrokenExecutor, futures.CancelledError

# The executors whose threads wait, or may wait, for what runs in this context.
_around: Final[ContextVar[tuple[futures.Executor, ...]]] = ContextVar("dotflow_around", default=())

# How long a thread of an executor waits for the others to begin what it submitted, in seconds.
_POLITE: Final = 0.005

# How long it waits between two looks at whether the others do anything before that, and how long
# it must look so where it cannot be known, in seconds.
_LOOK: Final = 0.1
DOUBT: Final = 1.0

# After how many seconds without a thread a run warns.
LONG: Final = 60.0
_WAITS_LONG: Final = (
    "step %s has waited %.0f s for a thread of its ThreadPoolExecutor. If a step in one of these "
    "threads waits for this run, neither ever ends: give one of the workflows a pool of its own, "
    "Config(executor=ThreadPoolExecutor()), or have the step wait in Thread.join or Future.result"
)

# The threads that run what no thread of an executor is free for, because all of them wait.
_helpers: Final[list[tuple[futures.Executor, int]]] = []
_looking: Final = fork_safe_lock()
# So far apart the wall clocks of two processes of a machine may seem, in nanoseconds.
_ALIKE: Final = 10**8

# Some of these errors have no text.
_GONE: Final = "the worker that had it is gone, or it was cancelled"


class ExecutorFutures(Executor):
    """Runs attempts in an executor of `concurrent.futures`, which its owner closes.

    Threads of a thread pool get the steps and contexts themselves, as steps in the run's own
    process do, and the caller's context variables; every other executor gets them pickled, and
    its workers must be able to import `dotflow`. A timed-out step is abandoned where it runs, and
    the run goes on.

    Where a step in a thread pool starts a run on that same pool, its thread runs what no other one
    is free for: also where the step starts the run in another thread and waits for that, in
    `Thread.join`, in the result of a future, in another run, or in an `Event`, `Condition` or
    `queue.Queue`. Not detected is what waits in C (`Lock.acquire()`, `queue.SimpleQueue.get()`, the
    loop of `uvloop`), an event loop with a timer, and a loop that sleeps and looks. Such a run
    waits for ever if no thread of the pool is free, and warns after a minute: give it a pool of its
    own.

    Args:
        executor: Such an executor.
        in_flight: How many attempts of a run it has at a time; by default twice its workers
            where it tells how many those are, else 64.

    Raises:
        InvalidOption: `executor` is none, or `in_flight` is no whole number of at least 1.
    """

    @strict_arguments
    def __init__(self, executor: futures.Executor, in_flight: int | None = None) -> None:
        expected = "give a concurrent.futures.Executor"
        check_instance("executor", executor, futures.Executor, expected)
        check_count("in_flight", in_flight)
        self.executor = executor
        self.in_flight = in_flight or _room_in(executor)
        self._grows = in_flight is None

    def session(self) -> Session:
        """Begin the use by one run.

        Raises:
            ClusterUnusable: It is one of Dask's, whose scheduler does not answer or refuses.
        """
        if _shares_memory(self.executor):
            return _SharedSession(self.executor, self.in_flight)
        backend = _backend_of(self.executor)
        if backend is None:
            packer = Packer()
            return _FuturesSession(_begin_in(self.executor, packer), self.in_flight, packer)
        threads = backend.open()
        room = max(self.in_flight, 2 * threads) if self._grows else self.in_flight
        return _FuturesSession(backend.begin, room, backend.packer, backend.losses)


class Backend(Protocol):
    """The way of one run's attempts into the executor of another library.

    Attributes:
        packer: Pickles attempts.
        losses: The errors that say that a worker is gone.
    """

    packer: Packer
    losses: tuple[type[BaseException], ...]

    def open(self) -> int:
        """Prepare for a run; return how many threads the workers have now.

        Raises:
            ClusterUnusable: It does not answer, or refuses.
        """
        ...

    def begin(self, attempt: Attempt) -> Future:
        """Begin an attempt; its future has what `perform_packed` returns, or an `Outcome`."""
        ...


def _backend_of(executor: futures.Executor) -> Backend | None:
    for kind in mro_of(type(executor)):
        if kind.__module__ in _BACKENDS:
            module: Any = import_module(_BACKENDS[kind.__module__])
            backend: Backend | None = module.backend_of(executor)
            return backend
    return None


def _begin_in(executor: futures.Executor, packer: Packer) -> Callable[[Attempt], Future]:
    return lambda attempt: executor.submit(perform_packed, packer.pack(attempt))


def _note_threads(executor: futures.Executor) -> None:
    # A pool notes a thread that it has started: not if an interrupt comes as it waits for the
    # start. The exit, which ends the threads that are noted, would wait for that one for ever.
    queue, noted = getattr(executor, "_work_queue", None), getattr(executor, "_threads", None)
    queues = getattr(futures.thread, "_threads_queues", None)
    if queue is None or noted is None or queues is None:
        return
    for each in threading.enumerate():
        if any(given is queue for given in getattr(each, "_args", ())):
            noted.add(each)
            queues[each] = queue


def _perform_in(executor: futures.Executor, attempt: Attempt) -> Outcome:
    _around.set((*_around.get(), executor))
    return perform_shared(attempt)


def _is_within(executor: futures.Executor) -> bool:
    # The run itself may have been given to the executor. Its threads have no public name.
    threads = getattr(executor, "_threads", ())
    return executor in _around.get() or threading.current_thread() in threads


def _members(executor: futures.Executor) -> list[int | None]:
    threads = list(getattr(executor, "_threads", ()))
    helpers = [ident for helped, ident in _helpers if helped is executor]
    return [*(thread.ident for thread in threads), *helpers]


class _Job(NamedTuple):
    attempt: Attempt
    future: Future
    submitted: float


class _FuturesSession(Session):
    """The use of an executor by one run.

    Args:
        begin: Begins an attempt.
        in_flight: How many of them the executor has at a time.
        packer: Pickles them; None where nothing travels.
        losses: The errors that say that a worker is gone.
    """

    def __init__(
        self,
        begin: Callable[[Attempt], Future],
        in_flight: int,
        packer: Packer | None = None,
        losses: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._begin = begin
        self._losses = losses
        self._in_flight = in_flight
        self._packer = packer
        self._notify_shared: Callable[[Mapping[str, object]], object] | None = None
        self._jobs: dict[int, _Job] = {}
        self._failed: list[tuple[int, Outcome]] = []
        # What has ended, and when: put there by whichever thread ends it.
        self._ended: TimedQueue[tuple[int, float]] = TimedQueue()

    def threads(self) -> Sequence[int | None]:
        """Return the threads that this run waits for, where they are of this process."""
        return ()

    def share(
        self, scopes: Mapping[str, WorkerScope], notify: Callable[[Mapping[str, object]], object]
    ) -> None:
        """Register scopes that each other process sets up; outcomes bring what they recorded."""
        if self._packer is not None:
            self._packer.share(scopes)
            self._notify_shared = notify

    def has_room(self) -> bool:
        """Return whether one more attempt may be submitted now."""
        return len(self._jobs) + len(self._failed) < self._in_flight

    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Begin an attempt. Its outcome comes from `wait`, whatever happens to it."""
        now = monotonic()
        try:
            future = self._begin(attempt)
        except Exception as error:  # noqa: BLE001 - the outcome tells
            self._failed.append(
                (ticket, Outcome.failed(_refusal(error, attempt.name, self._losses)))
            )
            return
        self._jobs[ticket] = _Job(attempt, future, now)
        future.add_done_callback(lambda _: self._ended.put((ticket, monotonic())))

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Return outcomes with their tickets, waiting for the first one at most so long."""
        done, self._failed = self._failed, []
        timeout = 0 if done else seconds
        while True:
            try:
                ticket, when = self._ended.get(timeout)
            except Empty:
                return done
            job = self._jobs.pop(ticket)
            done.append((ticket, _outcome(job, when, self._losses)))
            self._note_shared(job.future)
            timeout = 0

    def _note_shared(self, future: Future) -> None:
        parcel = None if _error_of(future) is not None else future.result()
        if self._notify_shared is not None and type(parcel) is Parcel and parcel.shared:
            self._notify_shared(load_or_none(parcel.shared) or {})

    def close(self) -> None:
        """End the use: what waits is cancelled, what runs is abandoned."""
        for job in self._jobs.values():
            job.future.cancel()
        self._jobs.clear()


class _SharedSession(_FuturesSession):
    """The use of a thread pool, all of whose threads may wait for what none is free to run.

    So a run in a thread of the pool, or below a step in one, runs in its own thread what no other
    one is free for. Any other run does so where no thread of the pool goes on before it, which one
    that waits for this run does not. That can be known but for threads that wait for something
    unknown: of these a run that waits very long warns.
    """

    def __init__(self, executor: futures.Executor, in_flight: int) -> None:
        super().__init__(self._begin_in_thread, in_flight)
        self._executor = executor
        # They have no seconds: they stand for what can be cancelled of the steps.
        self._limits: WeakKeyDictionary[Future, Limit] = WeakKeyDictionary()
        self._helps: bool | None = None
        # Since when nothing of this run is begun, and since when it seems that nothing will be.
        self._idle_since: float | None = None
        self._stuck_since: float | None = None
        self._has_warned = False

    def threads(self) -> Sequence[int | None]:
        """Return the threads that this run waits for; none where it goes on by itself.

        It does so where it runs what is in line, and where it has nothing in the pool: it waits
        for the delay of a retry then, or is about to end.
        """
        jobs = list(self._jobs.values())
        if not jobs or (self._helps and not all(job.future.running() for job in jobs)):
            return ()
        return _members(self._executor)

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        # Not asked before something has been submitted: a thread of the pool is known to it only
        # when the call that started it has ended, for which every later one waits.
        if self._helps is None:
            self._helps = _is_within(self._executor)
        until = None if seconds is None else monotonic() + seconds
        pause = _POLITE
        while self._jobs and not self._failed and (until is None or monotonic() + pause < until):
            done = super().wait(pause)
            if done or self._help_where_needed():
                self._idle_since = None
                return done or super().wait(0)
            if self._helps or self._idle_since is None:
                break
            pause = _LOOK
        return super().wait(None if until is None else max(0.0, until - monotonic()))

    def close(self) -> None:
        """End the use: what waits is cancelled, as coroutines are that run; other steps go on."""
        running = [job.future for job in self._jobs.values() if not job.future.cancel()]
        super().close()
        stopped = [each for each in running if each in self._limits and self._limits[each].cancel()]
        if stopped:
            futures.wait(stopped, CLEAN_UP)

    def _begin_in_thread(self, attempt: Attempt) -> Future:
        executor, context = self._executor, copy_context()
        limit = Limit(None, attempt.name, current_limit())
        context.run(limit.cover)
        try:
            future = executor.submit(context.run, _perform_in, executor, attempt)
        except BaseException:
            _note_threads(executor)
            raise
        self._limits[future] = limit
        return future

    def _help_where_needed(self) -> bool:
        if self._helps:
            return self._help()
        if any(job.future.running() or job.future.done() for job in self._jobs.values()):
            self._idle_since = self._stuck_since = None
            return False
        now = monotonic()
        self._idle_since = now if self._idle_since is None else self._idle_since
        own = self._executor, threading.get_ident()
        try:
            with _looking:
                if not self._is_stuck(now):
                    self._warn(now - self._idle_since)
                    return False
                _helpers.append(own)
            return self._help()
        finally:
            with _looking:
                _helpers[:] = [each for each in _helpers if each is not own]

    def _is_stuck(self, now: float) -> bool:
        from dotflow.providers.waiting_threads import WaitingThreads  # noqa: PLC0415 - rarely needed

        waiting = WaitingThreads(_FuturesSession.wait.__code__)
        if not waiting.all_wait(_members(self._executor)):
            self._stuck_since = None
            return False
        self._stuck_since = now if self._stuck_since is None else self._stuck_since
        return waiting.is_certain or now >= self._stuck_since + DOUBT

    def _warn(self, idle: float) -> None:
        if idle >= LONG and not self._has_warned:
            self._has_warned = True
            name = next(iter(self._jobs.values())).attempt.name
            _logger.warning(_WAITS_LONG, name, idle)

    def _help(self) -> bool:
        for ticket, job in self._jobs.items():
            # Cancelled, it counts as ended: its outcome is put in place before anybody looks.
            if job.future.cancel():
                ended: Future = futures.Future()
                ended.set_result(copy_context().run(_perform_in, self._executor, job.attempt))
                self._jobs[ticket] = job._replace(future=ended)
                return True
        return False


def _outcome(job: _Job, received: float, losses: tuple[type[BaseException], ...]) -> Outcome:
    name = job.attempt.name
    error = _error_of(job.future)
    if error is not None:
        return Outcome(None, _failure(error, name, losses), job.submitted, received)
    ended = job.future.result()
    if type(ended) is Outcome:
        return ended
    return _on_our_clock(unpacked(ended, name), ended.to_wall, job.submitted, received)


def _error_of(future: Future) -> BaseException | None:
    # Raised here, an interrupt of the worker's could not be told from one of this process.
    try:
        return future.exception()
    except futures.CancelledError as error:
        return error


def _on_our_clock(outcome: Outcome, to_wall: int, submitted: float, received: float) -> Outcome:
    # The clock of another machine tells how long, not when. Two may have the same name.
    fits = submitted <= outcome.started <= outcome.ended <= received
    ahead = time_ns() - monotonic_ns() - to_wall
    if fits and outcome.host == socket.gethostname():
        # A process may have another time of day than its machine has, as in tests.
        return outcome if abs(ahead) < _ALIKE else outcome._replace(shift=ahead)
    lasted = max(0.0, outcome.ended - outcome.started)
    started = max(submitted, received - lasted)
    ended = min(received, started + lasted)
    shift = ahead + round((started - outcome.started) * 1e9)
    return outcome._replace(started=started, ended=ended, shift=shift)


def _refusal(error: Exception, name: str, losses: tuple[type[BaseException], ...]) -> Failure:
    """Return why an attempt was not submitted."""
    if issubclass(type(error), (DotflowError, *losses)):
        return _failure(error, name, losses)
    refused = ExecutorUnusable(name, error)
    refused.__cause__ = error
    if issubclass(type(error), futures.BrokenExecutor):
        # A worker of it has died, be it an earlier one.
        return Failure.of(refused, WORKER_LOST)
    return Failure.of(refused)


def _failure(error: BaseException, name: str, losses: tuple[type[BaseException], ...]) -> Failure:
    if issubclass(type(error), WorkerLost):
        return Failure.of(error, WORKER_LOST)
    if not issubclass(type(error), (*_LOSSES, *losses)):
        return not_interrupted(Failure.of(error))
    how = f"{text_of(error) or _GONE} ({name_of(type(error))})"
    lost = WorkerLost(f"the executor lost {name}: {how}")
    lost.__cause__ = error
    return Failure.of(lost, WORKER_LOST)


def _room_in(executor: futures.Executor) -> int:
    # It has no public name, and other executors than those of Python may have none at all.
    workers = getattr(executor, "_max_workers", None)
    return 2 * workers if isinstance(workers, int) and workers > 0 else _IN_FLIGHT


def _shares_memory(executor: futures.Executor) -> bool:
    # A pool of interpreters, from Python 3.14 on, is a thread pool that shares no objects.
    separate = getattr(futures, "InterpreterPoolExecutor", ())
    return isinstance(executor, futures.ThreadPoolExecutor) and not isinstance(executor, separate)
