"""Whether the processes of a Dask cluster can import `dotflow`.

A worker that cannot would end at its first attempt, and the run wait for others for ever.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from dotflow.core.exception import ClusterUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distributed import Client

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
            hint = "Install dotflow, and the modules of your steps, wherever the cluster runs."
            raise ClusterUnusable(address_of(client), f"{name} has no module 'dotflow'", hint)


def _make_look() -> Callable[[], bool]:
    # Made here, so that it travels whole.
    def look() -> bool:
        from importlib.util import find_spec  # noqa: PLC0415 - travels along

        return find_spec("dotflow") is not None

    return look


def _ask(client: Client, ask: Callable[..., Any], look: Any, **options: Any) -> Any:
    try:
        return client.sync(ask, look, callback_timeout=_PATIENCE, **options)
    except Exception:  # noqa: BLE001 - whoever does not answer may be all right
        return None
