"""Trivial calls on Dask: `dask_calls.py pair COUNT ROUNDS`, or `here|bare COUNT SECONDS`.

In us a call, on a cluster of two processes of one thread each on this machine. `pair` tells
`run`, this project's `parallel` mode on the client's executor, and `bare`, `client.submit` with
as many calls in flight, in turn. For the plot are `here`, the same, and `bare`: `client.map` and
`client.gather`, which Dask documents for many calls.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from distributed import Client, LocalCluster, as_completed
from in_flight import Counting
from rounds import tell, tell_share, timed_call, within
from workload import SilentLog, check

from dotflow import Config, DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable


def plain_step() -> int:
    """Do nothing that takes time."""
    return 1


step = action(plain_step)


def cluster() -> LocalCluster:
    """Start the cluster."""
    return LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    )


def here(config: Config, count: int) -> float:
    """Build a flow and tell how many seconds `start()` takes."""
    flow = DotFlow(config=config)
    for _ in range(count):
        flow.task.add(step)
    spent = timed_call(lambda: flow.start(mode="parallel"))
    check(flow, count)
    return spent


def submitted(client: Client, count: int, in_flight: int) -> None:
    """Submit the calls, with at most so many in flight, and read each result."""
    results, left = [], count

    def one_more() -> object:
        nonlocal left
        left -= 1
        return client.submit(plain_step, pure=False)

    ended = as_completed([one_more() for _ in range(min(in_flight, count))], with_results=True)
    for _, result in ended:
        results.append(result)
        if left:
            ended.add(one_more())
    _all_there(results, count)


def mapped(client: Client, count: int) -> None:
    """Map all calls at once and gather the results."""
    futures = client.map(lambda _: 1, range(count), pure=False)
    _all_there(client.gather(futures), count)


def _all_there(results: list[int], count: int) -> None:
    if sum(results) != count:
        raise RuntimeError("not every call gave its result")


def pair(client: Client, config: Config, count: int, rounds: int) -> None:
    """Return both, each first in every other round, after one that warms up."""
    counting = Counting(config.executor)
    here(Config(log=SilentLog(), executor=counting), count)
    most = counting.most
    submitted(client, count, most)
    sides: dict[str, Callable[[], float]] = {
        "run": lambda: here(config, count),
        "bare": lambda: timed_call(lambda: submitted(client, count, most)),
    }
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            figures[name].append(sides[name]())
    told = {name: median(values) * 1e6 / count for name, values in figures.items()}
    tell({**told, "in_flight": most})


def main(way: str, count: int, time: float) -> None:
    """Return the figures of one of them."""
    with cluster() as local, Client(local) as client:
        executor = client.get_executor(pure=False)
        config = Config(log=SilentLog(), executor=executor)
        if way == "pair":
            pair(client, config, count, int(time))
        elif way == "here":
            tell_share(within(time, lambda: here(config, count)), count)
        else:
            spent = within(time, lambda: timed_call(lambda: mapped(client, count)))
            tell_share(spent, count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
