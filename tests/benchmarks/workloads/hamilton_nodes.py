"""Trivial nodes on Apache Hamilton: `hamilton_nodes.py apart|chain COUNT SECONDS`, us a node.

The driver is built once; `execute` is timed. Nodes `apart` know nothing of each other, and all are
asked for; in a `chain` each takes the one before, which needs a recursion limit to suit, and the
last is asked for. Hamilton's own telemetry is off, by the variable that it documents.
"""

from __future__ import annotations

import os
import sys
from inspect import Parameter, Signature
from typing import TYPE_CHECKING

os.environ["HAMILTON_TELEMETRY_ENABLED"] = "false"

from hamilton import ad_hoc_utils, driver
from rounds import tell_share, timed_call, within

if TYPE_CHECKING:
    from collections.abc import Callable


def apart(index: int) -> Callable[[], int]:
    """Return the function of a node: what it is called is the node's name."""

    def step() -> int:
        return 1

    step.__name__ = f"node_{index}"
    return step


def chained(index: int) -> Callable[..., int]:
    """Return that of a node in a chain: what its parameter is called is the node before."""
    if index == 0:
        return apart(0)

    def step(**before: int) -> int:
        return 1

    before = Parameter(f"node_{index - 1}", Parameter.KEYWORD_ONLY, annotation=int)
    step.__signature__ = Signature([before], return_annotation=int)
    step.__annotations__ = {before.name: int, "return": int}
    step.__name__ = f"node_{index}"
    return step


def main(shape: str, count: int, seconds: float) -> None:
    """Return the median of the rounds that fit into the time."""
    sys.setrecursionlimit(max(1000, 10 * count))
    names = [f"node_{index}" for index in range(count)]
    functions = map({"apart": apart, "chain": chained}[shape], range(count))
    module = ad_hoc_utils.create_temporary_module(*functions)
    built = driver.Builder().with_modules(module).build()

    if sum(built.execute(names).values()) != count:
        raise RuntimeError("not every node gave its result")
    asked = names if shape == "apart" else names[-1:]

    def run() -> None:
        if built.execute(asked)[names[-1]] != 1:
            raise RuntimeError("the last node did not give its result")

    tell_share(within(seconds, lambda: timed_call(run)), count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
