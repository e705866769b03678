"""A user's program that is killed while it runs: `killed.py HISTORY MODE RUNS`.

Prints a line once the first step has begun. Each run has steps that are quick, one that retries,
one that opens a span, and some that take a while.
"""

from __future__ import annotations

import os
import sys
import time

from opentelemetry import trace

from dotflow import DotFlow, action
from dotflow.providers import MetricsDefault
from dotflow_otel import observe


@action
def begin() -> None:
    """Signal that the run has begun."""
    os.write(1, b"begun\n")  # in one piece, beside other workers


@action
def quick() -> None:
    """Succeed."""


@action
def slow() -> None:
    """Take a while, with a span."""
    with trace.get_tracer("shop").start_as_current_span("select"):
        time.sleep(0.05)


@action(retry=2, retry_delay=0)
def unsteady() -> None:
    """Fail."""
    raise LookupError("no such table")


def main(history: str, mode: str, runs: int) -> None:
    """Run."""
    config = observe("shop", history=history, level="CRITICAL", metrics=MetricsDefault())
    for number in range(runs):
        flow = DotFlow(config=config, name=f"run{number}")
        for group in ("first", "second"):
            for step in (begin, quick, slow, unsteady, slow, quick, slow):
                flow.task.add(step, group_name=group)
        manager = flow.start(mode=mode, keep_going=True)
        if mode == "background":
            manager.thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
