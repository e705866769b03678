"""One attempt in a worker of Dask."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import WorkerLost
from dotflow.workers.remote import perform_packed

if TYPE_CHECKING:
    from dotflow.workers.remote import Parcel

# What is larger waits on the worker to be fetched, in bytes.
_SMALL: Final = 1_000_000


def perform_once(payload: bytes) -> Parcel | None:
    """Perform an attempt in this worker, unless it has been begun before.

    Returns:
        Its outcome; None where the scheduler has told the run of that, or of the worker that
        had begun it.

    Raises:
        WorkerLost: There is no scheduler any more to ask.
    """
    scheduler = _Scheduler()
    if not scheduler.lets_begin():
        return None
    parcel = perform_packed(payload)
    if _size(parcel) <= _SMALL and scheduler.takes(parcel):
        return None
    return parcel


def _size(parcel: Parcel) -> int:
    return sum(len(each or b"") for each in (parcel.value, parcel.recorded, parcel.shared))


class _Scheduler:
    """The scheduler of this worker's cluster, asked about the task that this thread runs."""

    def __init__(self) -> None:
        from distributed import get_worker  # noqa: PLC0415 - it runs in one

        self._worker = get_worker()
        self._key = self._worker.get_current_task()

    def lets_begin(self) -> bool:
        """Ask whether this is the first time.

        Raises:
            WorkerLost: It does not answer.
        """
        worker = self._worker
        about = {"worker": worker.address, "pid": os.getpid(), "host": socket.gethostname()}
        cause: Exception | None = None
        try:
            answer = self._ask(worker.scheduler.dotflow_begin, **about)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer, cause = None, error
        if not isinstance(answer, bool):  # one that was started again knows nothing of us
            raise WorkerLost("the scheduler cannot be asked whether it may begin") from cause
        return answer

    def takes(self, parcel: Parcel) -> bool:
        """Hand the outcome over; tell whether that went well."""
        try:
            answer = self._ask(self._worker.scheduler.dotflow_end, outcome=tuple(parcel))
        except Exception:  # noqa: BLE001 - then it goes the long way
            return False
        return answer is True

    def _ask(self, call: Any, **about: Any) -> Any:
        from distributed.utils import sync  # noqa: PLC0415

        return sync(self._worker.loop, call, key=self._key, **about)
