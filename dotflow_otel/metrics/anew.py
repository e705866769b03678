"""Meter providers of ours that begin anew in a forked child.

A child, such as a worker of gunicorn with `preload_app`, inherits what its parent has summed
up. It is another instance of the service, so whoever adds instances up would count that twice.

The SDK has no public way to begin anew, and instruments that were made before the fork keep
their place in it. So what it has summed up is taken from its insides, here alone, where they
are as they are known from the releases from 1.27 on.
"""

from __future__ import annotations

from threading import Lock, RLock
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from dotflow_otel.forks import call_in_forked_child

_known: Final[WeakKeyDictionary[Any, _Beginning]] = WeakKeyDictionary()


def begin_anew_in_children(provider: Any) -> None:
    """Have a provider of the SDK begin at nothing in every child that is forked.

    Does nothing where the SDK is not as it is known.

    Args:
        provider: One that we made; those of the application are left as they are.
    """
    if all(hasattr(each, "_instrument_view_instrument_matches") for each in _sums(provider)):
        _known[provider] = _Beginning(provider)


def begins_anew(provider: object) -> bool:
    """Tell whether a provider begins at nothing in a forked child."""
    return provider in _known


def _sums(provider: Any) -> list[Any]:
    consumer = getattr(provider, "_measurement_consumer", None)
    return list(getattr(consumer, "_reader_storages", {None: None}).values())


class _Beginning:
    def __init__(self, provider: Any) -> None:
        self._provider = ref(provider)
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        provider = self._provider()
        if provider is None:
            return
        # The locks as well: a thread may have held one at the fork, an export for seconds.
        consumer: Any = provider._measurement_consumer  # noqa: SLF001
        consumer._lock = Lock()  # noqa: SLF001
        for reader, sums in consumer._reader_storages.items():  # noqa: SLF001
            sums._lock = RLock()  # noqa: SLF001
            sums._instrument_view_instrument_matches = {}  # noqa: SLF001
            if hasattr(reader, "_export_lock"):
                reader._export_lock = Lock()  # noqa: SLF001
