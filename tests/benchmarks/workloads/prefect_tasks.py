"""Trivial tasks on Prefect 3: `prefect_tasks.py COUNT SECONDS`, in us a task.

One flow that calls them in turn, beside the server that Prefect starts itself where none is told
of, with its database in this folder. The first run, which starts it, is not counted. No usage
is reported and no records are sent to the server, by variables that Prefect documents.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ |= {
    "PREFECT_HOME": str(Path.cwd() / "prefect"),
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}

from prefect import flow, task
from rounds import tell_share, timed_call, within


@task
def step() -> int:
    """Do nothing that takes time."""
    return 1


@flow
def steps(count: int) -> int:
    """Call it so many times."""
    return sum(step() for _ in range(count))


def run(count: int) -> None:
    """Run the flow."""
    if steps(count) != count:
        raise RuntimeError("not every task gave its result")


def main(count: int, seconds: float) -> None:
    """Return the median of the rounds that fit into the time."""
    run(1)
    tell_share(within(seconds, lambda: timed_call(lambda: run(count))), count)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
