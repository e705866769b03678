"""Trivial tasks on luigi: `luigi_tasks.py COUNT SECONDS`, in us a task.

`luigi.build` with the local scheduler, in this process. A task keeps in an attribute whether it is
complete, which is less than any target.
"""

from __future__ import annotations

import sys
from itertools import count as numbers

import luigi
from rounds import tell_share, timed_call, within


class Step(luigi.Task):
    """Does nothing that takes time. luigi runs a task with the same parameters once."""

    lap = luigi.IntParameter()
    number = luigi.IntParameter()
    done = False

    def run(self) -> None:
        """Be complete."""
        self.done = True

    def complete(self) -> bool:
        """Return whether it is."""
        return self.done


laps = numbers()


def run(count: int) -> float:
    """Make new tasks and tell how many seconds they take."""
    lap = next(laps)
    steps = [Step(lap=lap, number=number) for number in range(count)]
    spent = timed_call(lambda: luigi.build(steps, local_scheduler=True, log_level="ERROR"))
    if not all(step.done for step in steps):
        raise RuntimeError("not every task completed")
    return spent


def main(count: int, seconds: float) -> None:
    """Return the median of the rounds that fit into the time."""
    tell_share(within(seconds, lambda: run(count)), count)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
