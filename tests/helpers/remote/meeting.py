"""Where steps in the threads of one process meet. It is imported there, so all have the same."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Final

# So long is waited before a test fails, in seconds.
_PATIENCE: Final = 20

_lock: Final = threading.Lock()
_barriers: Final[dict[str, threading.Barrier]] = {}
_events: Final[defaultdict[str, threading.Event]] = defaultdict(threading.Event)


def meet(name: str, parties: int) -> None:
    """Wait until so many have come."""
    with _lock:
        barrier = _barriers.setdefault(name, threading.Barrier(parties))
    barrier.wait(_PATIENCE)


def tell(name: str) -> None:
    """Say that something has happened."""
    with _lock:
        event = _events[name]
    event.set()


def wait_for(name: str) -> None:
    """Wait until something has happened."""
    with _lock:
        event = _events[name]
    if not event.wait(_PATIENCE):
        raise TimeoutError(name)
