"""A worker process of somebody else, and the executor of `concurrent.futures` that leads there."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotflow.providers import ExecutorFutures

if TYPE_CHECKING:
    from collections.abc import Iterator

HELPERS: Final = Path(__file__).parents[1]
_KEY: Final = "of the tests"


class RemoteExecutor(Executor):
    """Has calls made in a worker process, in order of their coming."""

    def __init__(self, port: int, threads: int) -> None:
        self._max_workers = threads
        self._connection = Client(("127.0.0.1", port), authkey=_KEY.encode())
        self._numbers = itertools.count()
        self._futures: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert not kwargs
        future: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._futures[number] = future
            self._connection.send((number, fn, args))
        return future

    def _read(self) -> None:
        while True:
            try:
                number, result, error = self._connection.recv()
            except (EOFError, OSError):
                break
            future = self._futures.pop(number)
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        for future in self._futures.values():
            future.set_exception(BrokenExecutor("the worker process is gone"))


class RemoteProcess:
    """A worker process.

    Args:
        threads: How many calls it makes at a time.
        setup: What its owner does at its beginning.
        together: So many first calls begin at the same moment.
    """

    def __init__(self, threads: int = 4, setup: str = "", together: int = 1) -> None:
        told = {"threads": threads, "setup": setup, "together": together, "key": _KEY}
        self._threads = threads
        path = os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(HELPERS / "remote" / "worker.py"), json.dumps(told)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline() or self._fail())
        self.pid = self._process.pid

    def _fail(self) -> str:
        raise RuntimeError(f"the worker did not start:\n{self.close()}")

    def executor(self) -> ExecutorFutures:
        """Return a client's executor that leads there."""
        return ExecutorFutures(RemoteExecutor(self.port, self._threads))

    def close(self) -> str:
        """End the process; give what it wrote to its standard error."""
        self._process.kill()
        return self._process.communicate(timeout=20)[1]


def remote_process(**options: Any) -> Iterator[RemoteProcess]:
    """Return a worker process, and end it: for fixtures."""
    process = RemoteProcess(**options)
    yield process
    process.close()
