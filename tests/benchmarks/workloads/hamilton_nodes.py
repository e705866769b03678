"""Trivial nodes on Apache Hamilton: `hamilton_nodes.py COUNT SECONDS`, in us a node.

The driver is built once; `execute` for all nodes is timed. The nodes know nothing of each other:
a chain of them takes Hamilton about twice as long, and a recursion limit to suit. Its own
telemetry is off, by the variable that it documents.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

os.environ["HAMILTON_TELEMETRY_ENABLED"] = "false"

from hamilton import ad_hoc_utils, driver
from rounds import tell_share, timed_call, within

if TYPE_CHECKING:
    from collections.abc import Callable


def named(name: str) -> Callable[[], int]:
    """Give a function for one node: the name of a node is that of its function."""

    def step() -> int:
        return 1

    step.__name__ = name
    return step


def main(count: int, seconds: float) -> None:
    """Tell the median of the rounds that fit into the time."""
    names = [f"node_{index}" for index in range(count)]
    module = ad_hoc_utils.create_temporary_module(*map(named, names))
    built = driver.Builder().with_modules(module).build()

    def run() -> None:
        if sum(built.execute(names).values()) != count:
            raise RuntimeError("not every node gave its result")

    tell_share(within(seconds, lambda: timed_call(run)), count)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
