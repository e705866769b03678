"""Any executor of `concurrent.futures`."""

from __future__ import annotations

import socket
from concurrent import futures
from queue import Empty, SimpleQueue
from time import monotonic, monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.abc.executor import Executor, Session
from dotflow.core.attempt import Attempt, Outcome
from dotflow.core.checks import check_count, check_instance
from dotflow.core.exception import DotflowError, ExecutorUnusable, WorkerLost
from dotflow.core.failure import WORKER_LOST, Failure
from dotflow.core.signatures import strict_arguments
from dotflow.core.user_objects import name_of, text_of
from dotflow.providers.dask_access import DaskDoor, client_of, losses_of_dask
from dotflow.workers.performing import not_interrupted
from dotflow.workers.remote import Packer, perform_packed, perform_shared, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Future = futures.Future[Any]

# How many attempts of a run an executor has at a time that does not tell how many workers it has.
_IN_FLIGHT: Final = 64

_LOSSES: Final = futures.BrokenExecutor, futures.CancelledError

# Some of these errors have no text.
_GONE: Final = "the worker that had it is gone, or it was cancelled"


class ExecutorFutures(Executor):
    """Runs attempts in an executor of `concurrent.futures`, which its owner closes.

    Threads of a thread pool get the steps and contexts themselves, as steps in the run's own
    process do; every other executor gets them pickled, and its workers must be able to import
    `dotflow`. A timed-out step is abandoned where it runs, and the run goes on.

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
        client = client_of(self.executor)
        if client is None:
            return _FuturesSession(_begin_in(self.executor), self.in_flight)
        door = DaskDoor(self.executor, client)
        threads = door.open()
        room = max(self.in_flight, 2 * threads) if self._grows else self.in_flight
        return _FuturesSession(door.begin, room)


def _begin_in(executor: futures.Executor) -> Callable[[Attempt], Future]:
    if _shares_memory(executor):
        return lambda attempt: executor.submit(perform_shared, attempt)
    packer = Packer()
    return lambda attempt: executor.submit(perform_packed, packer.pack(attempt))


class _Job(NamedTuple):
    name: str
    future: Future
    submitted: float


class _FuturesSession(Session):
    def __init__(self, begin: Callable[[Attempt], Future], in_flight: int) -> None:
        self._begin = begin
        self._in_flight = in_flight
        self._jobs: dict[int, _Job] = {}
        self._failed: list[tuple[int, Outcome]] = []
        # What has ended, and when: put there by whichever thread ends it.
        self._ended: SimpleQueue[tuple[int, float]] = SimpleQueue()

    def has_room(self) -> bool:
        """Tell whether one more attempt may be submitted now."""
        return len(self._jobs) + len(self._failed) < self._in_flight

    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Begin an attempt. Its outcome comes from `wait`, whatever happens to it."""
        now = monotonic()
        try:
            future = self._begin(attempt)
        except Exception as error:  # noqa: BLE001 - the outcome tells
            self._failed.append((ticket, Outcome.failed(_refusal(error, attempt.name))))
            return
        self._jobs[ticket] = _Job(attempt.name, future, now)
        future.add_done_callback(lambda _: self._ended.put((ticket, monotonic())))

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Give outcomes with their tickets, waiting for the first one at most so long."""
        done, self._failed = self._failed, []
        timeout = 0 if done else seconds
        while True:
            try:
                ticket, when = self._ended.get(timeout=timeout)
            except Empty:
                return done
            done.append((ticket, _outcome(self._jobs.pop(ticket), when)))
            timeout = 0

    def close(self) -> None:
        """End the use: what waits is cancelled, what runs is abandoned."""
        for job in self._jobs.values():
            job.future.cancel()
        self._jobs.clear()


def _outcome(job: _Job, received: float) -> Outcome:
    error = _error_of(job.future)
    if error is not None:
        return Outcome(None, _failure(error, job.name), job.submitted, received)
    ended = job.future.result()
    if type(ended) is Outcome:
        return ended
    return _on_our_clock(unpacked(ended, job.name), ended.to_wall, job.submitted, received)


def _error_of(future: Future) -> BaseException | None:
    # Raised here, an interrupt of the worker's could not be told from one of this process.
    try:
        return future.exception()
    except futures.CancelledError as error:
        return error


def _on_our_clock(outcome: Outcome, to_wall: int, submitted: float, received: float) -> Outcome:
    # The clock of another machine tells how long, not when. Two may have the same name.
    fits = submitted <= outcome.started <= outcome.ended <= received
    if fits and outcome.host == socket.gethostname():
        return outcome
    lasted = max(0.0, outcome.ended - outcome.started)
    started = max(submitted, received - lasted)
    ended = min(received, started + lasted)
    ahead = time_ns() - monotonic_ns() - to_wall
    shift = ahead + round((started - outcome.started) * 1e9)
    return outcome._replace(started=started, ended=ended, shift=shift)


def _refusal(error: Exception, name: str) -> Failure:
    """Tell why an attempt was not submitted."""
    if issubclass(type(error), (DotflowError, *losses_of_dask())):
        return _failure(error, name)
    refused = ExecutorUnusable(name, error)
    refused.__cause__ = error
    if issubclass(type(error), futures.BrokenExecutor):
        # A worker of it has died, be it an earlier one.
        return Failure.of(refused, WORKER_LOST)
    return Failure.of(refused)


def _failure(error: BaseException, name: str) -> Failure:
    if issubclass(type(error), WorkerLost):
        return Failure.of(error, WORKER_LOST)
    if not issubclass(type(error), (*_LOSSES, *losses_of_dask())):
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
    apart = getattr(futures, "InterpreterPoolExecutor", ())
    return isinstance(executor, futures.ThreadPoolExecutor) and not isinstance(executor, apart)
