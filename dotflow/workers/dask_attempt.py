"""One attempt in a worker of Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dotflow.core.exception import WorkerLost
from dotflow.workers.remote import perform_packed

if TYPE_CHECKING:
    from dotflow.workers.remote import Parcel


def perform_once(payload: bytes) -> Parcel:
    """Perform an attempt in this worker, unless another one has begun it before.

    Raises:
        WorkerLost: One has, or there is no scheduler any more to tell.
    """
    if not _may_begin():
        raise WorkerLost("another worker had begun it and is gone; it is not run a second time")
    return perform_packed(payload)


def _may_begin() -> bool:
    from distributed import get_worker  # noqa: PLC0415 - it runs in one

    worker = get_worker()
    key = worker.get_current_task()

    async def ask() -> Any:
        return await worker.scheduler.dotflow_begin(key=key, worker=worker.address)

    from distributed.utils import sync  # noqa: PLC0415

    try:
        return bool(sync(worker.loop, ask))
    except Exception as error:
        raise WorkerLost(f"the scheduler cannot be asked whether it may begin: {error}") from error
