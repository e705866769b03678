"""A user's program: one run whose traces, metrics and logs are all sent.

Takes the mode, and if told so the bound of its exit, in seconds. Prints when
the run began and ended, in nanoseconds since the epoch.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import time_ns

from dotflow import Context, DotFlow, action
from dotflow_otel import observe


@action
def read() -> str:
    """Succeed, and write a log record."""
    logging.getLogger("shop").warning("%d rows", 7)
    return "secret result"


@action(retry=2, retry_delay=0)
def unsteady(initial_context: Context) -> None:
    """Fail once, then succeed."""
    notes = Path(initial_context.storage["notes"])
    if not notes.exists():
        notes.touch()
        raise ConnectionError("busy")


@action(timeout=0.2, retry=2, retry_delay=0)
def late() -> None:
    """Take too long, twice."""
    Event().wait(30)


@action
def broken() -> None:
    """Fail."""
    raise ValueError("no such table")


@action
def never() -> None:
    """Come after one that fails."""


seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
flow = DotFlow(config=observe(service_name="shop", timeout=seconds), name="orders")
with TemporaryDirectory() as folder:
    given = {"notes": f"{folder}/notes", "token": "secret input"}
    for group, steps in {"good": [read, unsteady], "late": [late, never], "bad": [broken]}.items():
        flow.task.add(steps, initial_context=given, group_name=group)
    began = time_ns()
    flow.start(mode=sys.argv[1])
print(began, time_ns())
