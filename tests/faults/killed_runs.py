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
    "gcsfs",
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


class Runs:
    """A run that ends before its time, and those that resume it."""

    def __init__(self, kind: str, mode: str, folder: Path, number: int) -> None:
        for name in IMPORTED:
            importlib.import_module(name)
        self._kind = kind
        self._mode = mode
        self.folder = folder / str(number)
        self.folder.mkdir()
        # Of its own, where runs share a server.
        self._workflow_id = f"{WORKFLOW_ID}{number}"

    def begin(self, prepare: Callable[[Storage], None]) -> int:
        """Have a process run the workflow, and return its wait status.

        Args:
            prepare: Called in that process, before the run.
        """

        def work() -> None:
            storage = storage_of(self._kind, self.folder)
            prepare(storage)
            self._run(storage)

        return in_child(work, "1", self.folder / "log")

    def resume(self, folder: Path) -> dict[str, Any]:
        """Have another process go on with what is in a folder; return what was seen of both."""
        found, log = folder / "found", folder / "log"

        def work() -> None:
            storage = storage_of(self._kind, folder)
            tasks = self._run(storage).result_task()
            stored = [storage.get(key=storage.key(task=task)).storage for task in tasks]
            seen = {
                "statuses": [task.status for task in tasks],
                "restored": [task.name for task in tasks if task.restored],
                "results": [encode(task.current_context.storage) for task in tasks],
                "stored": [encode(value) for value in stored],
            }
            found.write_text(json.dumps(seen))

        status = in_child(work, "2", log)
        return {
            "ended": os.waitstatus_to_exitcode(status),
            "told": [noted(log, number, "told") for number in (1, 2)],
            "ran": [noted(log, number, "ran") for number in (1, 2)],
            **(json.loads(found.read_text()) if found.exists() else {}),
        }

    def _run(self, storage: Storage) -> DotFlow:
        config = Config(storage=storage, log=providers.LogDefault(level=100))
        flow = DotFlow(config=config, workflow_id=self._workflow_id)
        for number, step in enumerate((rates, nothing, fragile, doubled)):
            group = f"group {number // 2}" if self._mode.startswith("grouped") else "all"
            flow.task.add(step, callback=told, initial_context=21, group_name=group)
        flow.start(mode=self._mode.removeprefix("grouped "), resume=True, keep_going=True)
        return flow


def in_child(work: Callable[[], object], number: str, log: Path) -> int:
    """Do something in a forked child; return its wait status."""
    child = os.fork()
    if child == 0:
        os.environ.update({NUMBER: number, LOG: str(log)})
        try:
            work()
        except BaseException:  # noqa: BLE001 - it must not go on as the parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main(kind: str, mode: str, folder: Path, number: int = 1, step: int = 1) -> None:
    """Kill a run at each boundary of so many, until one is not killed."""
    boundaries = ctypes.CDLL(None)
    killed = True
    while killed:
        runs = Runs(kind, mode, folder, number)
        status = runs.begin(lambda _, number=number: boundaries.boundaries_arm(number))  # type: ignore[misc]
        killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        assert killed or status == 0
        print(json.dumps({"killed": killed, **runs.resume(runs.folder)}), flush=True)
        number += step


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *[int(each) for each in sys.argv[4:]])
