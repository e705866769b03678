"""What the threads of a process wait in, as its frames tell on this version of Python.

They are those of functions of Python's own library, whose names and variables may change: then
these tests fail, and nested runs on one pool of threads would wait for each other for ever.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from typing import Final

import pytest

from dotflow.providers.waiting_threads import WaitingThreads

# Has a thread wait in each of the ways, for the thread that looks: the code in `look` runs there.
PROGRAM: Final = """
import asyncio, queue, sys, threading, time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, as_completed, wait
from dotflow import Config, DotFlow, action
from dotflow.providers.waiting_threads import WaitingThreads
from dotflow.testing import RecordingLog

class Run:
    # As a run of ours waits: its own code tells for which threads.
    def __init__(self):
        self.looker, self.over = None, threading.Event()
    def threads(self):
        return [] if self.looker is None else [self.looker]
    def wait(self):
        self.over.wait()

def looks(threads):
    waiting = WaitingThreads(Run.wait.__code__)
    return waiting.all_wait(threads), waiting.is_certain

over = threading.Event()
begun = threading.Event()
found = (False, False)

def look():
    # Until the waiting thread has come to where it waits, or for a while: before, it starts
    # threads, which is a wait as well.
    global found
    try:
        begun.wait(60)
        for _ in range(looks_at_most):
            found = looks([waiter.ident])
            if found == expected:
                break
            time.sleep(0.01)
    finally:
        over.set()

def in_pool(wait_for):
    with ThreadPoolExecutor(1) as pool:
        wait_for(pool.submit(look))

def run(mode, timeout=0):
    flow = DotFlow(config=Config(log=RecordingLog()))
    flow.task.add(action(timeout=timeout)(look))
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join()

def by_join(timeout=None):
    looker = threading.Thread(target=look)
    looker.start()
    while looker.is_alive():
        looker.join(timeout)

def by_shutdown():
    pool = ThreadPoolExecutor(1)
    pool.submit(look)
    pool.shutdown()

def by_map():
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda _: look(), [1]))

def by_run():
    own = Run()
    def looker():
        own.looker = threading.get_ident()
        try:
            look()
        finally:
            own.over.set()
    threading.Thread(target=looker).start()
    own.wait()

def by_one_in_line():
    # For a thread that waits for one that waits for the looking one.
    def middle():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(look).result()
    thread = threading.Thread(target=middle)
    thread.start()
    thread.join()

def beside(wait_in):
    # In what may be for anybody.
    looker = threading.Thread(target=look)
    looker.start()
    wait_in()
    looker.join()

def full():
    held = queue.Queue(1)
    held.put(1)
    threading.Thread(target=lambda: (over.wait(), held.get())).start()
    held.put(2)

def empty():
    held = queue.Queue()
    threading.Thread(target=lambda: (over.wait(), held.put(1))).start()
    held.get()

def no_permit():
    permits = threading.Semaphore(0)
    threading.Thread(target=lambda: (over.wait(), permits.release())).start()
    permits.acquire()

def barrier():
    meeting = threading.Barrier(2)
    threading.Thread(target=lambda: (over.wait(), meeting.wait())).start()
    meeting.wait()

def condition():
    changed = threading.Condition()
    with changed:
        threading.Thread(target=lambda: (over.wait(), notify(changed))).start()
        changed.wait()

def notify(changed):
    with changed:
        changed.notify()

def loop():
    async def main():
        await asyncio.get_running_loop().run_in_executor(None, look)
    asyncio.run(main())

def idle_pool():
    # A thread that has nothing to run holds up nothing.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        beside(over.wait)

def sleeping():
    beside(lambda: [time.sleep(0.01) for _ in iter(over.is_set, True)])

def sleeper_joined():
    thread = threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(over.is_set, True)])
    thread.start()
    beside(thread.join)

def future_of_nobody():
    from concurrent.futures import Future
    future = Future()
    threading.Thread(target=lambda: (over.wait(), future.set_result(None))).start()
    beside(future.result)

def in_line():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: [time.sleep(0.01) for _ in iter(over.is_set, True)])
        beside(pool.submit(int).result)

def one_goes_on():
    # Another thread of the process may be the one that sets the event.
    thread = threading.Thread(target=lambda: [time.sleep(0.01) for _ in iter(over.is_set, True)])
    thread.start()
    beside(over.wait)

def lock():
    raw = threading.Lock()
    raw.acquire()
    threading.Thread(target=lambda: (over.wait(), raw.release())).start()
    beside(raw.acquire)

def simple_queue():
    held = queue.SimpleQueue()
    threading.Thread(target=lambda: (over.wait(), held.put(1))).start()
    beside(held.get)

WAYS = {
    "Thread.join": by_join,
    "Thread.join with a timeout": lambda: by_join(30),
    "Future.result": lambda: in_pool(lambda future: future.result()),
    "Future.result with a timeout": lambda: in_pool(lambda future: future.result(60)),
    "Future.exception": lambda: in_pool(lambda future: future.exception()),
    "wait": lambda: in_pool(lambda future: wait([future])),
    "wait for the first": lambda: in_pool(lambda future: wait([future], None, FIRST_COMPLETED)),
    "as_completed": lambda: in_pool(lambda future: list(as_completed([future]))),
    "Executor.map": by_map,
    "shutdown of a pool": by_shutdown,
    "a step's timeout": lambda: run("sequential", 60),
    "a background run": lambda: run("background"),
    "a background run's timeout": lambda: run("background", 60),
    "a run's threads": by_run,
    "a thread that waits": by_one_in_line,
    "Event": lambda: beside(over.wait),
    "Condition": lambda: beside(condition),
    "Semaphore": lambda: beside(no_permit),
    "Barrier": lambda: beside(barrier),
    "Queue.get": lambda: beside(empty),
    "Queue.put": lambda: beside(full),
    "event loop": loop,
    "idle thread of a pool": idle_pool,
    "sleep": sleeping,
    "Thread.join of one that sleeps": sleeper_joined,
    "future that no thread runs": future_of_nobody,
    "future in line": in_line,
    "Event beside a thread that goes on": one_goes_on,
    "Lock": lock,
    "SimpleQueue": simple_queue,
}

way, looks_at_most = sys.argv[1], 30 if sys.argv[2] == "goes on" else 3000
expected = {"certain": (True, True), "for anybody": (True, False), "goes on": None}[sys.argv[2]]

def work():
    begun.set()
    WAYS[way]()

waiter = threading.Thread(target=work)
waiter.start()
waiter.join()
print(*found)
"""

CERTAIN: Final = (
    "Thread.join",
    "Thread.join with a timeout",
    "Future.result",
    "Future.result with a timeout",
    "Future.exception",
    "wait",
    "wait for the first",
    "as_completed",
    "Executor.map",
    "shutdown of a pool",
    "a step's timeout",
    "a background run",
    "a background run's timeout",
    "a run's threads",
    "a thread that waits",
)
FOR_ANYBODY: Final = (
    "Event",
    "Condition",
    "Semaphore",
    "Barrier",
    "Queue.get",
    "Queue.put",
    "event loop",
    "idle thread of a pool",
)
GO_ON: Final = (
    "sleep",
    "Thread.join of one that sleeps",
    "future that no thread runs",
    "future in line",
    "Event beside a thread that goes on",
)
# What waits in C: see the docstring of `WaitingThreads`.
UNKNOWN: Final = ("Lock", "SimpleQueue")


def found_in(way: str, expected: str) -> str:
    """Return whether a thread that waits so is found to wait, and whether that is certain."""
    program = [sys.executable, "-c", PROGRAM, way, expected]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("way", CERTAIN)
def test_a_wait_for_a_thread_is_certain(way: str) -> None:
    """Its frames name the thread that is waited for."""
    assert found_in(way, "certain") == "True True"


@pytest.mark.parametrize("way", FOR_ANYBODY)
def test_a_wait_for_anybody_counts_where_no_thread_goes_on(way: str) -> None:
    """Whoever could end it waits as well."""
    assert found_in(way, "for anybody") == "True False"


@pytest.mark.parametrize("way", [*GO_ON, *UNKNOWN])
def test_what_goes_on_does_not_wait(way: str) -> None:
    """Nor does what is not run by a thread, or may be ended by one that goes on."""
    assert found_in(way, "goes on").startswith("False")


# Looks at threads that begin and end waits as fast as they can.
AT_ANY_MOMENT: Final = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dotflow.core.limit import Limit
from dotflow.providers.waiting_threads import WaitingThreads

sys.setswitchinterval(1e-6)
over = threading.Event()

def fails():
    raise ValueError

def waits():
    with ThreadPoolExecutor(2) as pool:
        while not over.is_set():
            wait([pool.submit(fails) for _ in range(20)])
            list(as_completed([pool.submit(fails) for _ in range(20)]))
            Limit(60, "step").call(int)

waiters = [threading.Thread(target=waits) for _ in range(2)]
for waiter in waiters:
    waiter.start()
try:
    until = time.monotonic() + 3
    while time.monotonic() < until:
        for waiter in waiters:
            WaitingThreads((lambda: None).__code__).all_wait([waiter.ident])
finally:
    over.set()
    for waiter in waiters:
        waiter.join()
print("looked")
"""


def test_threads_may_be_looked_at_at_any_moment() -> None:
    """Also where they have not come yet to what they will wait for, or have it no longer."""
    program = [sys.executable, "-c", AT_ANY_MOMENT]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("looked\n", "")


def test_a_look_keeps_nothing() -> None:
    """What threads have in variables goes when they have ended, without a garbage collection."""
    begun, over = threading.Event(), threading.Event()
    kept: list[weakref.ref[object]] = []

    class Value:
        pass

    def works() -> None:
        value = Value()
        kept.append(weakref.ref(value))
        begun.set()
        over.wait(60)

    thread = threading.Thread(target=works)
    gc.collect()
    gc.disable()
    try:
        thread.start()
        assert begun.wait(60)
        WaitingThreads((lambda: None).__code__).all_wait([thread.ident])
        over.set()
        thread.join()
        assert kept[0]() is None
    finally:
        gc.enable()
