"""Lending workers: how many, in which order, and their end."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from dotflow.workers import pool as pool_module
from dotflow.workers import usage as usage_module
from dotflow.workers.pool import Pool
from dotflow.workers.usage import count_living, worker_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow.workers.worker import Worker


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Return a pool of one worker, all of whose processes end with the test."""
    made = Pool(1)
    yield made
    for worker in list(made.leased):
        made.discard(worker)
    made.close()


def _leased(worker: Worker | None) -> Worker:
    assert worker is not None
    return worker


def _nobody() -> None:
    raise AssertionError("nobody was to be woken")


def _waiter(calls: list[str], name: str) -> Callable[[], None]:
    return lambda: calls.append(name)


def test_no_more_workers_than_the_size(pool: Pool) -> None:
    """Who asks while all are lent gets none."""
    _leased(pool.acquire(_nobody))
    assert pool.counts() == (1, 1)
    assert pool.acquire(_waiter([], "late")) is None
    assert pool.counts() == (1, 1)


def test_a_free_worker_is_lent_again(pool: Pool) -> None:
    """A worker that was given back is kept warm."""
    first = _leased(pool.acquire(_nobody))
    pool.release(first)
    assert pool.counts() == (1, 0)
    assert pool.acquire(_nobody) is first


def test_the_preferred_worker(pool: Pool) -> None:
    """Of several free ones the preferred one is lent."""
    pool.size = 2
    one, two = _leased(pool.acquire(_nobody)), _leased(pool.acquire(_nobody))
    pool.release(one)
    pool.release(two)
    assert pool.acquire(_nobody, one) is one


def test_a_dead_worker_is_not_lent(pool: Pool) -> None:
    """One that died while it was free makes place for a new one."""
    dead = _leased(pool.acquire(_nobody))
    pool.release(dead)
    os.kill(dead.pid, signal.SIGKILL)
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert _leased(pool.acquire(_nobody)).pid != dead.pid
    assert pool.counts() == (1, 1)


def test_the_line_is_served_in_order(pool: Pool) -> None:
    """The first that waits is woken alone, and nobody takes the worker in its place."""
    calls: list[str] = []
    first, second = _waiter(calls, "first"), _waiter(calls, "second")
    worker = _leased(pool.acquire(_nobody))
    assert pool.acquire(first) is None
    assert pool.acquire(second) is None
    pool.release(worker)
    assert calls == ["first"]
    assert pool.acquire(second) is None  # it asks again, in vain
    assert pool.acquire(first) is worker
    pool.release(worker)
    assert calls == ["first", "second"]
    assert pool.acquire(second) is worker


def test_who_waits_is_seen(pool: Pool) -> None:
    """A run learns that another one waits; its own waiting does not count."""
    one, other = _waiter([], "one"), _waiter([], "other")
    assert not pool.is_wanted(one)
    _leased(pool.acquire(_nobody))
    pool.acquire(one)
    assert not pool.is_wanted(one)
    assert pool.is_wanted(other)


def test_what_stands_still_is_lent_beyond_the_size(pool: Pool) -> None:
    """As many more as there are, for as long as they do; none of them may begin an attempt then."""
    worker = _leased(pool.acquire(_nobody))
    waiter, other = _waiter([], "waiter"), _waiter([], "other")
    assert pool.acquire(waiter) is None
    worker.attempts, worker.has_attempt = 1, True
    assert pool.unused(waiter) == frozenset()
    worker.has_attempt = False
    unused = pool.unused(waiter)
    assert unused == {(worker, 1)}
    assert pool.unused(_nobody) == frozenset()  # it knows what it does with its own
    assert not pool.is_full()
    worker.attempts = 2  # it had another one meanwhile
    assert pool.acquire(waiter, unused=unused) is None
    second = _leased(pool.acquire(waiter, unused=pool.unused(waiter)))
    assert pool.counts() == (2, 2)
    assert pool.acquire(other, unused={(worker, 2)}) is None
    second.has_attempt = True
    assert pool.is_full()
    assert not pool.is_full([waiter])
    pool.release(second)
    assert pool.counts() == (1, 1)
    assert not pool.is_full()


def test_an_outcome_that_nobody_reads(pool: Pool) -> None:
    """Its worker stands still, and one whose connection is closed does."""
    worker = _leased(pool.acquire(_nobody))
    worker.has_attempt = True
    assert not worker.stands_still()
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert worker.stands_still()
    pool.discard(worker)
    assert worker.stands_still()


def test_a_promise_that_is_not_taken(pool: Pool) -> None:
    """It is taken back for another one, who comes after it for the next worker."""
    calls: list[str] = []
    first, second = _waiter(calls, "first"), _waiter(calls, "second")
    worker = _leased(pool.acquire(_nobody))
    pool.acquire(first)
    pool.acquire(second)
    pool.release(worker)
    unused = pool.unused(second)
    assert unused == {(first, 0)}
    assert pool.acquire(second, unused=unused) is worker
    assert pool.acquire(first) is None
    pool.release(worker)
    assert calls == ["first", "first"]
    assert pool.acquire(first) is worker


@pytest.mark.parametrize("woken", [False, True])
def test_leaving_the_line(woken: bool, pool: Pool) -> None:
    """Who leaves, woken already or not, leaves the worker to the next."""
    calls: list[str] = []
    first, second = _waiter(calls, "first"), _waiter(calls, "second")
    worker = _leased(pool.acquire(_nobody))
    pool.acquire(first)
    pool.acquire(second)
    if woken:
        pool.release(worker)
        pool.stop_waiting(first)
    else:
        pool.stop_waiting(first)
        pool.release(worker)
    assert calls == ["first"] * woken + ["second"]


def test_discarding_makes_place(pool: Pool) -> None:
    """A worker that is discarded is dead, says how it ended, and wakes the next in line."""
    calls: list[str] = []
    worker = _leased(pool.acquire(_nobody))
    pool.acquire(_waiter(calls, "next"))
    assert pool.discard(worker) == "was killed by SIGKILL"
    assert calls == ["next"]
    assert pool.counts() == (0, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_start_that_fails(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error reaches who asked, and the place is free for the next time."""

    def refuse(*_: object) -> Worker:
        raise OSError("no more processes")

    with monkeypatch.context() as patch:
        patch.setattr(pool_module, "Worker", refuse)
        with pytest.raises(OSError, match="no more processes"):
            pool.acquire(_nobody)
    assert pool.counts() == (0, 0)
    assert pool.acquire(_nobody) is not None


def test_closing(pool: Pool) -> None:
    """Free workers are gone when it returns, lent ones are killed; then new ones start."""
    pool.size = 2
    free, lent = _leased(pool.acquire(_nobody)), _leased(pool.acquire(_nobody))
    pool.release(free)
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(free.pid, 0)
    assert pool.discard(lent) == "was killed by SIGKILL"
    assert _leased(pool.acquire(_nobody)).pid not in (free.pid, lent.pid)


# In a process of its own: pytest has threads, and a fork of those is warned of.
FORKED = """
import os
from dotflow.workers.pool import Pool

def nobody(): raise AssertionError("nobody was to be woken")
def anyone(): pass

pool = Pool(1)
worker = pool.acquire(nobody)
assert pool.acquire(anyone) is None
child = os.fork()
if not child:
    assert pool.counts() == (0, 0)
    assert not pool.is_wanted(nobody)
    own = pool.acquire(nobody)
    assert own.pid != worker.pid
    pool.discard(own)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert os.waitpid(worker.pid, os.WNOHANG) == (0, 0)
assert (pool.counts(), pool.is_wanted(nobody)) == ((1, 1), True)
pool.release(worker)
assert pool.acquire(anyone) is worker
pool.discard(worker)
"""


def test_forgetting() -> None:
    """After a fork the copy has no workers and no line, and leaves the others' alone."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_pool_that_is_let_go() -> None:
    """Its free workers end with it."""
    pool = Pool(1)
    worker = _leased(pool.acquire(_nobody))
    pool.release(worker)
    del pool
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_many_pools_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are gone are forgotten."""
    monkeypatch.setattr(usage_module, "known_pools", [])
    for _ in range(20):
        Pool(1)
    assert len(usage_module.known_pools) == 1


class Listener:
    """Notes what it is told, with a lock that the thread which lets go of a pool may hold."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.told: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def hear(self, live: int, busy: int) -> None:
        with self.lock:
            self.told.put((live, busy))


@pytest.mark.parametrize("held", ["nothing", "the listener's lock", "threading's lock"])
def test_listeners_hear_of_a_pool_that_is_let_go(held: str) -> None:
    """Its workers are taken off at once, in another thread: this one may hold any lock."""
    gc.collect()  # of other tests' pools
    worker_usage.notify(count_living)
    listener = Listener()
    run = worker_usage.register(())
    worker_usage.listen(run, listener.hear)
    others = count_living()
    pool = Pool(2)
    pool.release(_leased(pool.acquire(_nobody)))
    worker_usage.notify(count_living)
    worker_usage.release(run)
    assert listener.told.get(timeout=5) == (others + 1, 0)
    of_threading = threading._active_limbo_lock  # noqa: SLF001 - held as threads begin and end
    locks = {"the listener's lock": listener.lock, "threading's lock": of_threading}
    with locks.get(held, contextlib.nullcontext()):
        del pool
    assert listener.told.get(timeout=5) == (others, 0)


def test_an_unused_pool_that_is_let_go_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no news."""
    told: list[object] = []
    monkeypatch.setattr(pool_module, "notify_elsewhere", lambda: told.append(1))
    Pool(1)
    assert told == []
