"""Worker processes on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dotflow.abc.executor import Executor, Session
from dotflow.core.arguments import check_callable, check_count, strict_arguments
from dotflow.core.process import fork_safe_lock, once

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.workers.pool import Pool


class ExecutorLocal(Executor):
    """Runs attempts in worker processes, started when first needed and kept warm.

    A timed-out attempt's process is killed with its children. A dead worker fails its
    attempt alone. In a step that runs in a worker itself there are fewer, and at some depth none.

    Args:
        workers: How many processes at most; by default one per core that this process
            may use.
        initializer: Called without arguments, once in each worker before its first step, to set up
            there what steps find in this process: a client, an instrumentation. It travels as
            steps do. Where it raises, the attempts that such a worker gets fail with its error.

    Raises:
        InvalidOption: `workers` is not a whole number of at least 1, or `initializer` cannot be
            called.
    """

    @strict_arguments
    def __init__(
        self, workers: int | None = None, *, initializer: Callable[[], object] | None = None
    ) -> None:
        check_count("workers", workers)
        if initializer is not None:
            check_callable("initializer", initializer, "give a function without arguments, or None")
        self.workers = workers or cores()
        self._initializer = initializer
        self.pool: Pool | None = None
        self._lock = fork_safe_lock()

    def session(self) -> Session:
        """Begin the use by one run.

        Raises:
            RunWhileReading: In a child of a step that reads its main module.
            TooManyNestedWorkers: In a step, in a worker that may have none itself.
            PicklingFailed: The initializer cannot travel.
        """
        from dotflow.workers.pool import Pool  # noqa: PLC0415 - many modules, for `parallel` only
        from dotflow.workers.session import LocalSession  # noqa: PLC0415

        with self._lock:
            if self.pool is None:
                self.pool = Pool(self.workers)
        return LocalSession(self.pool, self._initializer)

    def close(self) -> None:
        """End the workers. A later run starts new ones."""
        with self._lock:
            pool = self.pool
        if pool is not None:
            pool.close()


@once
def shared_executor() -> ExecutorLocal:
    """Return the executor that all configurations share that were given none."""
    return ExecutorLocal()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
