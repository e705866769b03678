"""Bare pebble on loky's context: `pebble_calls.py warm|first|cpu|all ...`.

`warm COUNT WORKERS ROUNDS IN_FLIGHT` in us a call, `first COUNT WORKERS` in ms, `cpu SECONDS` in
seconds: as `parallel_warm.py`, `parallel_first.py` and `parallel_cpu.py`. `all COUNT SECONDS` hands
all calls over at once, for the plot, in us a call. Every call goes by cloudpickle, as pebble's own
pickles carry no function of the main module; the function is pickled once, each result is read.
"""

from __future__ import annotations

import sys
from collections import deque
from statistics import median
from time import perf_counter, process_time

import cloudpickle
from loky.backend import get_context
from pebble import ProcessPool
from pickled_call import call
from rounds import tell, tell_share, timed_call, within


def step() -> int:
    """Do nothing that takes time."""
    return 1


def pool_of(workers: int) -> ProcessPool:
    """Return a pool, which starts its processes when they are first needed."""
    return ProcessPool(max_workers=workers, context=get_context("loky"))


def run(pool: ProcessPool, count: int, in_flight: int) -> None:
    """Make the calls, with at most so many under way."""
    pickled = cloudpickle.dumps(step)
    futures: deque = deque()
    results = []
    for _ in range(count):
        if len(futures) == in_flight:
            results.append(futures.popleft().result())
        futures.append(pool.schedule(call, args=(pickled,)))
    results += [future.result() for future in futures]
    if sum(results) != count:
        raise RuntimeError("not every call gave its result")


def warm(count: int, workers: int, rounds: int, in_flight: int) -> None:
    """Return the median of `rounds`, after a run that warms up."""
    with pool_of(workers) as pool:
        run(pool, count, in_flight)
        spent = median(timed_call(lambda: run(pool, count, in_flight)) for _ in range(rounds))
    tell_share(spent, count)


def first(count: int, workers: int) -> None:
    """Return how long the first calls take, with the start of the workers."""
    begun = perf_counter()
    with pool_of(workers) as pool:
        run(pool, count, count)
        spent = perf_counter() - begun
    tell({"run": spent * 1e3})


def cpu(seconds: float) -> None:
    """Return how long two calls take that work so long each, in warm workers."""

    def work() -> int:
        until, laps = process_time() + seconds, 0
        while process_time() < until:
            laps += 1
        return laps

    pickled = cloudpickle.dumps(work)
    with pool_of(2) as pool:
        run(pool, 100, 2)
        begun = perf_counter()
        futures = [pool.schedule(call, args=(pickled,)) for _ in range(2)]
        for future in futures:
            future.result()
        spent = perf_counter() - begun
    tell({"run": spent})


def at_once(count: int, seconds: float) -> None:
    """Return the median of the rounds that fit into the time."""
    with pool_of(2) as pool:
        tell_share(within(seconds, lambda: timed_call(lambda: run(pool, count, count))), count)


def main(which: str, *numbers: str) -> None:
    """Return the figures of one of them."""
    ways = {"warm": warm, "first": first, "cpu": cpu, "all": at_once}
    ways[which](*(float(each) if "." in each else int(each) for each in numbers))


if __name__ == "__main__":
    main(*sys.argv[1:])
