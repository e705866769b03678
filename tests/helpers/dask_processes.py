"""A Dask cluster of separate processes, started by Dask's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST: Final = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")

# Workers import the modules that steps are in, and what those import.
_HELPERS: Final = str(Path(__file__).parent)

# Seconds that a process may take to start, and to end.
_PATIENCE: Final = 30


class DaskProcesses:
    """A scheduler and some workers of one thread each, on loopback, at ports that are free.

    Args:
        folder: Where they write the scheduler's address, and their logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int, *options: str) -> None:
        """Start the scheduler and the workers, which come a little later."""
        file = ("--scheduler-file", str(self._file))
        self._scheduler = self._started("scheduler", "--port", "0", *file, *_HOST)
        for _ in range(workers):
            self.add_worker(*options)

    def add_worker(self, *options: str) -> None:
        """Start one more worker."""
        file = ("--scheduler-file", str(self._file))
        self._workers.append(self._started("worker", "--nthreads", "1", *file, *_HOST, *options))

    def _started(self, *command: str) -> subprocess.Popen[bytes]:
        log = self._folder / f"{command[0]}-{len(self._workers)}.log"
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": _HELPERS},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def address(self) -> str:
        """Where the scheduler listens, once it does."""
        until = time.monotonic() + _PATIENCE
        while True:
            # The file may be there and not yet written.
            with suppress(FileNotFoundError, json.JSONDecodeError):
                return str(json.loads(self._file.read_text(encoding="utf-8"))["address"])
            assert time.monotonic() < until, self.logs
            time.sleep(0.02)

    @property
    def logs(self) -> Sequence[str]:
        """What the processes have written."""
        return [log.read_text(encoding="utf-8") for log in self._folder.glob("*.log")]

    def kill_scheduler(self) -> None:
        """End the scheduler at once."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait(_PATIENCE)

    def stop(self) -> None:
        """End all of them."""
        # Workers that find no scheduler look for one before they end.
        for processes in (self._workers, [self._scheduler] if self._scheduler else []):
            for process in processes:
                process.terminate()
            for process in processes:
                _wait_for(process)


def _wait_for(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_PATIENCE)
