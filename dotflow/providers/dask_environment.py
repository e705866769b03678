"""Whether the processes of a Dask cluster can import `dotflow`.

Some are asked when a run begins. One that comes later tells with its first attempt.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from dotflow.core.exception import ClusterUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distributed import Client

    from dotflow.workers.remote import Parcel

# Workers of one cluster are mostly alike: so many of them are asked, and have so long, in seconds.
_ASKED: Final = 8
_PATIENCE: Final = 2

_checked: WeakSet[Client] = WeakSet()


def address_of(client: Client) -> str:
    """Give the address of a client's scheduler, for messages."""
    return str(getattr(client.scheduler, "address", None) or "an unknown address")


def check_environment(client: Client, workers: Iterable[str]) -> None:
    """Ask the scheduler and some workers, once for each client that has any.

    Args:
        client: A client that is connected.
        workers: The addresses of the cluster's workers.

    Raises:
        ClusterUnusable: One of them has no `dotflow`.
    """
    asked = list(islice(workers, _ASKED))
    if client in _checked:
        return
    if asked:
        _checked.add(client)
    look = _make_look()
    answers = {"its scheduler": _ask(client, client.run_on_scheduler, look)}
    found = _ask(client, client.run, look, workers=asked, on_error="return") if asked else None
    answers.update({f"its worker {name}": has for name, has in (found or {}).items()})
    for name, has in answers.items():
        if has is False:
            _checked.discard(client)
            raise without_dotflow(client, name)


def without_dotflow(client: Client, name: str) -> ClusterUnusable:
    """Give the error for a process of the cluster that has none.

    Args:
        client: The cluster's.
        name: What the process is, with its address.
    """
    hint = "Install dotflow, and the modules of your steps, wherever the cluster runs."
    return ClusterUnusable(address_of(client), f"{name} has no module 'dotflow'", hint)


def make_errand() -> Callable[[bytes], Parcel | str | None]:
    """Make what a worker does with an attempt: `perform_once`, where it can.

    It is made here, so that it travels whole. By reference a worker without dotflow could not
    read it, and would end, and so would the next one; this gives the address of such a worker.
    """

    def errand(payload: bytes) -> Parcel | str | None:
        try:
            from dotflow.workers.dask_attempt import perform_once  # noqa: PLC0415 - travels along
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "dotflow":
                raise
            from distributed import get_worker  # noqa: PLC0415 - it runs in one

            return str(get_worker().address)
        return perform_once(payload)

    return errand


def _make_look() -> Callable[[], bool]:
    # Made here, so that it travels whole.
    def look() -> bool:
        from importlib.util import find_spec  # noqa: PLC0415 - travels along

        # One of 1.x has no such workers.
        return all(find_spec(name) is not None for name in ("dotflow", "dotflow.workers"))

    return look


def _ask(client: Client, ask: Callable[..., Any], look: Any, **options: Any) -> Any:
    try:
        return client.sync(ask, look, callback_timeout=_PATIENCE, **options)
    except Exception:  # noqa: BLE001 - whoever does not answer may be all right
        return None
