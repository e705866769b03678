"""Runs whose process is killed while they go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from waiting import wait_for

from dotflow_otel.history.reader import History
from dotflow_otel.history.store import HistoryUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow_otel.history.reader import RunInfo

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys, time
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, StorageFile
from dotflow_otel import observe

@action
def read(): return 1
@action(retry=3, retry_delay=0)
def bad(): raise LookupError("no such table")
@action(retry=2)
def waits(): time.sleep(100)

def main(history, mode, folder):
    config = observe("shop", history=history, level="CRITICAL", storage=StorageFile(path=folder))
    done = DotFlow(config=config, name="done")
    done.task.add(read)
    done.start()
    flow = DotFlow(config=config, name="nightly", workflow_id="nightly")
    flow.task.add([read, bad, waits])
    manager = flow.start(mode=mode, keep_going=True, resume=True)
    if mode == "background":
        manager.thread.join()
main(*sys.argv[1:])
"""


def lose(path: Path, mode: str = "sequential", **variables: str) -> RunInfo:
    """Have a run killed while its last task waits; return the run as it is seen then."""
    with going_on(path, mode, **variables):
        pass
    with History(path) as history:
        return history.run("latest:nightly")


@contextmanager
def going_on(path: Path, mode: str = "sequential", **variables: str) -> Iterator[None]:
    """Have a run go on, whose last task waits; kill its process in the end."""
    program = [sys.executable, "-c", PROGRAM, str(path), mode, str(path.parent)]
    more = {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none", **variables}
    with subprocess.Popen(program, env={**os.environ, **more}, stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: is_waiting(path))
            yield
        finally:
            process.send_signal(signal.SIGKILL)


def is_waiting(path: Path) -> bool:
    """Return whether the history has that the last task waits, and how the others ended."""
    try:
        history = History(path)
    except HistoryUnusable:
        return False
    with history:
        runs = history.runs(workflow="nightly")
        spans = history.spans(runs[0]) if runs else ()
        opened = [span.name for span in spans if span.ended is None]
        tasks = [span for span in spans if span.name.startswith("task") and span.ended]
        return opened == ["workflow nightly", "task waits", "attempt"] and len(tasks) == 2
