"""Whether a Dask scheduler listens at an address.

Dask's client waits for ever where something accepts connections and says nothing, or what
it does not understand: a dashboard's port, say.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from threading import Thread
from typing import Any, Final

from distributed.comm.core import connect
from distributed.core import send_recv
from distributed.security import Security

from dotflow.core.exception import ClusterUnusable

_HINT: Final = "Is the scheduler (`dask scheduler`) up, and the address right?"


def greet(address: str, timeout: float) -> None:
    """Ask who listens there.

    Args:
        address: Where a scheduler should listen.
        timeout: Seconds that it has to answer.

    Raises:
        ClusterUnusable: Nobody answers in that time, or no scheduler; or the address is none.
    """
    who: Future[str] = Future()
    # A thread, because the caller's may run a loop already. Looking a name up may take
    # longer than there is time, and cannot be cancelled.
    Thread(target=_resolve, args=(who, address, timeout), daemon=True).start()
    try:
        kind = who.result(timeout)
    except TimeoutError as error:
        reason = f"no scheduler answered within {timeout} s"
        raise ClusterUnusable(address, reason, _HINT) from error
    except (OSError, ValueError, TypeError) as error:
        raise ClusterUnusable(address, error, _HINT) from error
    except Exception as error:  # of Dask, which has read what is not its own
        reason = f"what listens there is no scheduler ({type(error).__name__})"
        raise ClusterUnusable(address, reason, _HINT) from error
    if kind != "Scheduler":
        raise ClusterUnusable(address, f"what listens there is a {kind}", _HINT)


def _resolve(who: Future[str], address: str, timeout: float) -> None:
    try:
        who.set_result(asyncio.run(asyncio.wait_for(_kind_of(address, timeout), timeout)))
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        who.set_exception(error)


async def _kind_of(address: str, seconds: float) -> str:
    options: dict[str, Any] = Security().get_connection_args("client")
    comm = await connect(address, timeout=seconds, **options)
    try:
        return str((await send_recv(comm, op="identity"))["type"])
    finally:
        comm.abort()
