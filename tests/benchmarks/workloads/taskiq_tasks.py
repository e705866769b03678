"""Trivial tasks on taskiq: `taskiq_tasks.py COUNT SECONDS`, in us a task.

The in-memory broker with `await_inplace`, which is what it has for tasks in order: without it a
task takes half as long again. It keeps all results (by default the last hundred), and each is
read.
"""

from __future__ import annotations

import asyncio
import sys

from rounds import tell_share, timed_call, within
from taskiq import InMemoryBroker


def main(count: int, seconds: float) -> None:
    """Return the median of the rounds that fit into the time."""
    broker = InMemoryBroker(await_inplace=True, max_stored_results=count)

    @broker.task
    async def step() -> int:
        return 1

    async def all_of_them() -> None:
        tasks = [await step.kiq() for _ in range(count)]
        results = [await task.wait_result() for task in tasks]
        if sum(result.return_value for result in results) != count:
            raise RuntimeError("not every task gave its result")

    with asyncio.Runner() as runner:
        runner.run(broker.startup())
        tell_share(within(seconds, lambda: timed_call(lambda: runner.run(all_of_them()))), count)
        runner.run(broker.shutdown())


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
