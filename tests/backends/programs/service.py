"""A user's service: runs that end in every way there is, and one that goes on.

Takes a folder. When all is there to be scraped it prints a line of JSON: the URL of its metrics
and when it began. It goes on until its input is closed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

from dotflow import Context, DotFlow, action
from dotflow.abc.notify import Notify
from dotflow.providers import ExecutorLocal, StorageFile
from dotflow_otel import observe, serve_metrics

folder = Path(sys.argv[1])
closed = Event()


class BrokenNotify(Notify):
    """A provider that raises."""

    def hook_status_task(self, task: Any) -> None:
        """Raise."""
        raise RuntimeError("no connection")


@action
def ok() -> int:
    """Succeed."""
    return 1


@action
def fails() -> None:
    """Fail."""
    raise ValueError("no such table")


attempts = count(1)


@action(retry=3, retry_delay=0)
def unsteady() -> None:
    """Fail twice, then succeed."""
    if next(attempts) < 3:
        raise ConnectionError("busy")


@action(timeout=0.1, retry=2, retry_delay=0)
def late() -> None:
    """Take too long, twice."""
    Event().wait(5)


@action
def when_mended() -> None:
    """Fail, the first time."""
    if not (folder / "mended").exists():
        (folder / "mended").touch()
        raise FileNotFoundError("mended")


@action
def killed() -> None:
    """Take the worker down."""
    os.kill(os.getpid(), signal.SIGKILL)


@action
def meets(initial_context: Context) -> None:
    """Succeed when two of these run at the same time, each in a worker."""
    (folder / f"met {initial_context.storage}").touch()
    while len(list(folder.glob("met *"))) < 2:
        Event().wait(0.01)


@action
def endless() -> None:
    """Go on until the input is closed."""
    closed.wait()


executor = ExecutorLocal(workers=2)
config = observe(service_name="shop", level="ERROR", executor=executor)


def run(name: str, *steps: Any, mode: str = "sequential", **options: Any) -> DotFlow:
    """Run steps as a workflow."""
    flow = DotFlow(config=options.pop("config", config), name=name)
    for step in steps:
        flow.task.add(step, **options)
    flow.start(mode=mode)
    return flow


began = time.time()
for _ in range(3):
    run("completed", ok)
run("failed", ok, fails, ok, ok)
run("retried", unsteady)
run("timed out", late)
run("lost", ok, killed, ok, ok, mode="parallel")

pair = DotFlow(config=config, name="pair")
for number in (1, 2):
    pair.task.add(meets, initial_context=number)
pair.start(mode="parallel")

for _ in range(2):
    stored = observe(level="ERROR", storage=StorageFile(path=folder))
    flow = DotFlow(config=stored, name="resumed", workflow_id="resumed")
    flow.task.add([ok, ok, when_mended])
    flow.start(resume=True)

run("noisy", ok, config=observe(level="ERROR", notify=BrokenNotify()))
background = run("endless", endless, mode="background")

server = serve_metrics(0)
print(json.dumps({"url": server.url, "began": began}), flush=True)
sys.stdin.read()
closed.set()
