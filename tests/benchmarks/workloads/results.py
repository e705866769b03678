"""What reading a run costs beside running it: `results.py COUNT ROUNDS`, in microseconds a task."""

from __future__ import annotations

import sys
from statistics import median

from rounds import tell, timed_call
from workload import check, flow_of

from dotflow import action


@action
def step() -> int:
    """Return a value that a result has as a text."""
    return 1


def once(count: int) -> dict[str, float]:
    """Build, run and read a flow; return what building and running took, and `result()`."""
    made = []

    def build_and_run() -> None:
        made.append(flow_of(step, count))
        made[0].start()

    ran, read = timed_call(build_and_run), timed_call(made[0].result)
    check(made[0], count)
    return {"build_and_run": ran * 1e6 / count, "result": read * 1e6 / count}


def main(count: int, rounds: int) -> None:
    """Return the medians of `rounds`, after one that warms up."""
    once(10)
    found = [once(count) for _ in range(rounds)]
    tell({name: median(each[name] for each in found) for name in found[0]})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
