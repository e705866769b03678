"""The program of a worker process that is not ours: threads, and several clients at a time.

It knows nothing of dotflow: it calls what it is sent, and answers with what that returns.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, Listener
from typing import Any


class Worker:
    """Serves clients, each over a connection of its own, with one pool of threads."""

    def __init__(self, threads: int, together: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        # The first calls begin at the same moment: what is made once is then made at once.
        self._together = threading.Barrier(together)
        self._early = iter(range(together))

    def serve(self, listener: Listener) -> None:
        """Take in clients, for ever."""
        while True:
            connection = listener.accept()
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: Any) -> None:
        lock = threading.Lock()
        while True:
            try:
                call = connection.recv()
            except EOFError:
                return
            is_early = next(self._early, None) is not None
            self._pool.submit(self._answer, connection, lock, is_early, *call)

    def _answer(
        self,
        connection: Connection,
        lock: threading.Lock,
        is_early: bool,
        number: int,
        function: Any,
        args: Any,
    ) -> None:
        if is_early:
            self._together.wait(20)
        try:
            answer = number, function(*args), None
        except Exception as error:  # noqa: BLE001 - the client raises it
            answer = number, None, error
        with lock:
            connection.send(answer)


def main() -> None:
    """Serve on a port of this machine that is told on the standard output."""
    told = json.loads(sys.argv[1])
    exec(told["setup"], {})  # noqa: S102 - what the test has its owner do
    with Listener(("127.0.0.1", 0), authkey=told["key"].encode()) as listener:
        print(listener.address[1], flush=True)
        Worker(told["threads"], told["together"]).serve(listener)


main()
