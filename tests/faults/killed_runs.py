"""Kills a run at each of its boundaries, and has another process resume it.

`test_killed_runs.py` runs this program, with `boundaries.c` loaded into it:

    killed_runs.py STORAGE MODE FOLDER [FIRST STEP]

It prints one JSON object a boundary: what the two runs did, and what is in the storage then. The
last one is of a run that was not killed. STORAGE is `file`, `fsspec`, `sqlite`, or the JSON of a
storage's name and arguments, for those with a server.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import signal
import sys
import traceback
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotflow import Config, Context, DotFlow, action, providers
from dotflow.providers.storage_codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.abc.storage import Storage
    from dotflow.core.task import Task

# Read by the steps, wherever they run.
LOG: Final = "DOTFLOW_TEST_LOG"
NUMBER: Final = "DOTFLOW_TEST_RUN"

WORKFLOW_ID: Final = "nightly"
# What storages import when they are first used: once, and not in each child.
IMPORTED: Final = (
    "fsspec.implementations.local",
    "psycopg",
    "s3fs",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)


def note(what: str, name: str) -> None:
    """Write down that something happened; a line that a kill cut off is none."""
    descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"\n{os.environ[NUMBER]} {what} {name};".encode())
    os.close(descriptor)


def noted(log: Path, number: int, what: str) -> list[str]:
    """Return the names of what happened in a run."""
    text = log.read_text() if log.exists() else ""
    return re.findall(rf"^{number} {what} (\w+);", text, re.MULTILINE)


@action
def rates() -> dict[str, Any]:
    """Return values of types that JSON alone would change."""
    note("ran", "rates")
    return {"of": date(2024, 1, 2), "raw": (b"\x00\xff", {1: frozenset({2})})}


@action
def nothing() -> None:
    """Complete without a value."""
    note("ran", "nothing")


@action
def fragile() -> list[float]:
    """Fail in the first run."""
    note("ran", "fragile")
    if os.environ[NUMBER] == "1":
        raise LookupError("no rates of that day")
    return [0.1, float("inf")]


@action
def doubled(initial_context: Context) -> int:
    """Return what the workflow was begun with, doubled."""
    note("ran", "doubled")
    return 2 * int(initial_context.storage)


def told(task: Task) -> None:
    """Note that the run told of a completed task."""
    if task.status == "Completed":
        note("told", task.name or "")


def storage_of(kind: str, folder: Path) -> Storage:
    """Return the storage of a kind."""
    if kind == "file":
        return providers.StorageFile(path=folder)
    if kind == "fsspec":
        return providers.StorageFsspec(f"file://{folder}/there")
    if kind == "sqlite":
        return providers.StorageSQL(f"sqlite:///{folder}/there.db")
    name, arguments = json.loads(kind)
    made: Storage = getattr(providers, name)(**arguments)
    return made


def run(storage: Storage, mode: str, workflow_id: str) -> DotFlow:
    """Run the workflow, going on where an earlier run stopped."""
    config = Config(storage=storage, log=providers.LogDefault(level=100))
    flow = DotFlow(config=config, workflow_id=workflow_id)
    for number, step in enumerate((rates, nothing, fragile, doubled)):
        group = f"group {number // 2}" if mode.endswith("_groups") else "all"
        flow.task.add(step, callback=told, initial_context=21, group_name=group)
    flow.start(mode=mode.removesuffix("_groups"), resume=True, keep_going=True)
    return flow


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked child; return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - it must not go on as the parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


class Killed:
    """A run that is killed at one boundary, and the one that resumes it."""

    def __init__(self, kind: str, mode: str, folder: Path, number: int) -> None:
        self._kind = kind
        self._mode = mode
        self._folder = folder / str(number)
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._seen = self._folder / "seen"
        self._number = number
        # Of its own, where runs share a server.
        self._workflow_id = f"{WORKFLOW_ID}{number}"
        os.environ[LOG] = str(self._log)

    def outcome(self) -> dict[str, Any]:
        """Kill it, resume it, and return what was seen."""
        os.environ[NUMBER] = "1"
        first = in_child(self._run_armed)
        os.environ[NUMBER] = "2"
        second = in_child(self._run_to_the_end)
        return {
            "boundary": self._number,
            "killed": os.WIFSIGNALED(first) and os.WTERMSIG(first) == signal.SIGKILL,
            "failed": bool(second) or (bool(first) and not os.WIFSIGNALED(first)),
            "told": [noted(self._log, number, "told") for number in (1, 2)],
            "ran": [noted(self._log, number, "ran") for number in (1, 2)],
            **(json.loads(self._seen.read_text()) if self._seen.exists() else {}),
        }

    def _run_armed(self) -> None:
        storage = storage_of(self._kind, self._folder)
        boundaries = ctypes.CDLL(None)
        boundaries.boundaries_arm(self._number)
        run(storage, self._mode, self._workflow_id)
        boundaries.boundaries_disarm()

    def _run_to_the_end(self) -> None:
        storage = storage_of(self._kind, self._folder)
        flow = run(storage, self._mode, self._workflow_id)
        tasks = flow.result_task()
        seen = {
            "statuses": [task.status for task in tasks],
            "restored": [task.name for task in tasks if task.restored],
            "results": encode(flow.result_storage()),
            "stored": [encode(storage.get(key=storage.key(task=task)).storage) for task in tasks],
        }
        self._seen.write_text(json.dumps(seen))


def main(kind: str, mode: str, folder: Path, first: int = 1, step: int = 1) -> None:
    """Kill a run at each boundary of so many, until one is not killed."""
    for name in IMPORTED:
        importlib.import_module(name)
    number = first
    while True:
        outcome = Killed(kind, mode, folder, number).outcome()
        print(json.dumps(outcome), flush=True)
        if not outcome["killed"]:
            return
        number += step


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *[int(each) for each in sys.argv[4:]])
