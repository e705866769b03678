"""What a receiver that hangs adds to a run: `hanging.py notify|server COUNT ROUNDS`, in ms a run.

It accepts connections and never answers. `run` is a run of COUNT tasks, built and all, with a
notifier of each change of a status or with a server; `without` the same with neither, in turn;
`added` is the median of what the one took more than the other, `most` the most.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
from statistics import median
from time import perf_counter
from typing import Any

from rounds import tell
from workload import SilentLog, check

from dotflow import Config, DotFlow, action
from dotflow.providers import NotifyApprise, ServerDefault


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def providers(kind: str, port: int) -> dict[str, Any]:
    """Return the provider that is measured, whose receiver hangs."""
    if kind == "notify":
        url = f"json://127.0.0.1:{port}"
        return {"notify": NotifyApprise(url, statuses=None, rate_limit=None, flush_timeout=0)}
    os.environ |= {"SERVER_BASE_URL": f"http://127.0.0.1:{port}", "SERVER_USER_TOKEN": "none"}
    return {"server": ServerDefault(flush_timeout=0)}


def run(count: int, **given: Any) -> float:
    """Return how many milliseconds a run takes, from its building to its end."""
    gc.collect()
    begun = perf_counter()
    flow = DotFlow(config=Config(log=SilentLog(), **given))
    flow.task.add([step] * count)
    flow.start()
    spent = (perf_counter() - begun) * 1e3
    check(flow, count)
    return spent


def main(kind: str, count: int, rounds: int) -> None:
    """Tell the figures of `rounds`, after one of each that warms up."""
    logging.disable(logging.WARNING)  # of what is not delivered
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = providers(kind, silent.getsockname()[1])
        without = {"server": _no_server()}
        figures = [(run(count, **hanging), run(count, **without)) for _ in range(rounds + 1)][1:]
    added = [with_it - alone_it for with_it, alone_it in figures]
    tell(
        {
            "run": median(each for each, _ in figures),
            "without": median(each for _, each in figures),
            "added": median(added),
            "most": max(added),
        }
    )


def _no_server() -> ServerDefault:
    for name in ("SERVER_BASE_URL", "SERVER_USER_TOKEN"):
        os.environ.pop(name, None)
    return ServerDefault()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
