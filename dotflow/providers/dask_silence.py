"""Dask's own log, quiet as long as a cluster of ours lives."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Final

from distributed.utils import silence_logging_cmgr

from dotflow.core.locks import fork_safe_lock

# What is lost with a worker, the run tells.
LEVEL: Final = logging.ERROR


class Silence:
    """Keeps Dask's log in this process from telling less than errors, while entered.

    A cluster's own `silence_logs` ends before its connections have ended, which then tell of
    each other. Entered more than once it ends with the last; the program may end before.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._entered = 0
        self._levels = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._entered:
                self._levels.enter_context(silence_logging_cmgr(LEVEL))
            self._entered += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._entered -= 1
            if not self._entered:
                self._levels.close()


SILENCE: Final = Silence()
