"""What it costs to ask providers that are silent: `dispatch.py COUNT ROUNDS`, in us a task.

`run` is a run with the default providers and a log whose methods do nothing. `without` is
the same with hooks that call nobody: what the engine alone takes.
"""

from __future__ import annotations

import gc
import sys
from statistics import median
from typing import TYPE_CHECKING, Any

from rounds import tell
from workload import flow_of, timed

from dotflow import action
from dotflow.core import writer

if TYPE_CHECKING:
    from collections.abc import Iterable


class NoHooks(writer.Hooks):
    """Hooks that look up no provider and call none."""

    def _calls(self, places: Iterable[tuple[str, str]]) -> tuple[()]:
        return ()

    def fire(self, *_args: Any) -> None:
        """Call nobody."""


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def run(count: int, hooks: type[writer.Hooks]) -> float:
    """Run a flow whose engine has these hooks; in microseconds a task."""
    kept, writer.Hooks = writer.Hooks, hooks
    gc.collect()
    try:
        return timed(step, count)["run"]
    finally:
        writer.Hooks = kept


def main(count: int, rounds: int) -> None:
    """Return the medians of `rounds`, after one that warms up."""
    flow_of(step, count).start()
    sides = {"run": writer.Hooks, "without": NoHooks}
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        # Each first in every other round.
        for name in sorted(sides, reverse=bool(number % 2)):
            figures[name].append(run(count, sides[name]))
    tell({name: median(values) for name, values in figures.items()})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
