"""A large result, `bytes`, from another process: `large_result.py dotflow|pipe BYTES ROUNDS`.

`dotflow` is a run in mode `parallel` with one task, in a warm worker; `pipe` sends the same from
a child that waits for the word to do so, over a `multiprocessing.Pipe`, with `send` and `recv`.
`run` is the median in ms. `owner` and `worker` are how far the peak of memory of either process
lay above what it had in memory before its first result, as multiples of the result's size.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from statistics import median
from typing import TYPE_CHECKING, Any

from proc import children, memory
from rounds import tell, timed_call
from workload import check, flow_of

from dotflow import action
from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection


class Peaks:
    """How far the memory of this process and of its worker goes up."""

    def __init__(self, worker: int) -> None:
        self._pids = {"owner": os.getpid(), "worker": worker}
        self._before = {name: memory(pid, "VmRSS") for name, pid in self._pids.items()}

    def above(self, size: int) -> dict[str, float]:
        """Return how far, as multiples of a size."""
        peaks = {name: memory(pid, "VmHWM") for name, pid in self._pids.items()}
        return {name: (peak - self._before[name]) / size for name, peak in peaks.items()}


def figures(call: Callable[[], object], worker: int, size: int, rounds: int) -> dict[str, float]:
    """Measure the memory of one call, and the time of `rounds` others."""
    peaks = Peaks(worker)
    call()
    above = peaks.above(size)
    return {"run": median(timed_call(call) for _ in range(rounds)) * 1e3, **above}


def in_worker(size: int, rounds: int) -> dict[str, float]:
    """Measure a result that a worker returns."""

    @action
    def small() -> int:
        return 1

    @action
    def large() -> bytes:
        return b"x" * size

    executor = ExecutorLocal(workers=1)

    def run(step: Any, length: int) -> None:
        flow = flow_of(step, 1, executor)
        flow.start(mode="parallel")
        check(flow, 1)
        if length and len(flow.result_storage()[0]) != length:
            raise RuntimeError("the result is not whole")

    run(small, 0)
    (worker,) = children()
    return figures(lambda: run(large, size), worker, size, rounds)


def send_when_asked(connection: Connection, size: int) -> None:
    """Say that this process is up; send as often as something comes, and end when None does."""
    connection.send(None)
    while connection.recv() is not None:
        connection.send(b"x" * size)


def over_pipe(size: int, rounds: int) -> dict[str, float]:
    """Measure the same bytes over a pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=send_when_asked, args=(theirs, size))
    child.start()

    def run() -> None:
        ours.send(1)
        if len(ours.recv()) != size:
            raise RuntimeError("the bytes are not whole")

    ours.recv()
    assert child.pid is not None
    told = figures(run, child.pid, size, rounds)
    ours.send(None)
    child.join()
    return told


def main(way: str, size: int, rounds: int) -> None:
    """Return the figures."""
    tell({"dotflow": in_worker, "pipe": over_pipe}[way](size, rounds))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
