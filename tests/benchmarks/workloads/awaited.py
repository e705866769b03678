"""How long `start_async` holds its event loop: `awaited.py COUNT ROUNDS`, in ms.

A run of COUNT tasks in the background; `first` is the longest stretch that the first call of the
process kept the loop from anything else, imports and all, `held` the median of ROUNDS further
ones, and `thread` that of as many bare calls of `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import sys
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rounds import tell
from workload import check, flow_of

from dotflow import action

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


class Timed:
    """Awaits something, and notes how long each turn of it holds the loop."""

    def __init__(self, awaited: Awaitable[Any]) -> None:
        self._awaited = awaited
        self.turns: list[float] = []

    def __await__(self) -> Generator[Any, Any, Any]:
        turn = self._awaited.__await__()
        while True:
            begun = perf_counter()
            try:
                future = next(turn)
            except StopIteration as ended:
                return ended.value
            finally:
                self.turns.append((perf_counter() - begun) * 1e3)
            yield future


async def held_by_run(count: int) -> float:
    """Return the longest turn of a run's start."""
    flow = flow_of(step, count)
    timed = Timed(flow.start_async(mode="background"))
    manager = await timed
    await asyncio.to_thread(manager.thread.join)
    check(flow, count)
    return max(timed.turns)


async def held_by_thread() -> float:
    """Return the longest turn of a call in a thread."""
    timed = Timed(asyncio.to_thread(int))
    await timed
    return max(timed.turns)


async def main(count: int, rounds: int) -> None:
    """Tell the figures."""
    first = await held_by_run(count)
    pairs = [(await held_by_run(count), await held_by_thread()) for _ in range(rounds)]
    held, thread = (median(each) for each in zip(*pairs, strict=True))
    tell({"first": first, "held": held, "thread": thread})


asyncio.run(main(*map(int, sys.argv[1:])))
