"""Runs a workflow in a child process, which ends as its maker has it.

Arguments: how the child is made; whether telemetry is set up `before` it or `in` it; the bound of
an exit, in seconds; the mode. Prints how many seconds the child took.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from time import monotonic, sleep

from dotflow import DotFlow, action
from dotflow_otel import observe

HOW, WHEN, BOUND, MODE = sys.argv[1:]


@action
def step() -> None:
    """Go on for a while where nobody waits for it."""
    sleep(0.3 if MODE == "background" else 0)


def job() -> None:
    """Run the workflow."""
    flow = DotFlow(config=observe("jobs", logs=True, timeout=float(BOUND)), name="child")
    flow.task.add(step)
    flow.start(mode=MODE)


def run_in(method: str) -> None:
    """Run the workflow in a process of a start method."""
    process = multiprocessing.get_context(method).Process(target=job)
    process.start()
    process.join()
    assert process.exitcode == 0


def run_by_fork() -> None:
    """Run it in a child that knows nothing of multiprocessing."""
    child = os.fork()
    if not child:
        job()
        sys.exit()
    os.waitpid(child, 0)


def run_in_executor() -> None:
    """Run it in a worker of an executor, which ends with that."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        executor.submit(job).result()


def run_in_pool() -> None:
    """Run it in a worker of a pool that is closed."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(job)
        pool.close()
        pool.join()


def run_nested() -> None:
    """Run it in a child of a child."""
    process = multiprocessing.get_context("fork").Process(target=run_in, args=("fork",))
    process.start()
    process.join()


WAYS = {
    "os": run_by_fork,
    "executor": run_in_executor,
    "pool": run_in_pool,
    "nested": run_nested,
}

if __name__ == "__main__":
    if WHEN == "before":
        observe("jobs", logs=True, timeout=float(BOUND))
    began = monotonic()
    WAYS.get(HOW, lambda: run_in(HOW))()
    print(monotonic() - began)
