"""All pools of this process: told when it ends or is forked, and counted together."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import weakref
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Final

from dotflow.core.locks import fork_safe_lock
from dotflow.workers.occupancy import everywhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from dotflow.workers.pool import Pool

_pools: Final[list[weakref.ref[Pool]]] = []
_lock: Final = fork_safe_lock()


def enrol(pool: Pool) -> None:
    """Have a pool closed at the interpreter's exit, and forgotten in a forked copy."""
    with _lock:
        if not _pools:
            _register()
        # The first one stays: it tells that the interpreter knows.
        _pools[1:] = [each for each in _pools[1:] if each() is not None]
        _pools.append(weakref.ref(pool))


def live_workers() -> int:
    """Tell how many workers live, of all pools."""
    return sum(pool.live() for pool in _living())


def publish_elsewhere() -> None:
    """Tell who listens how many workers live, from another thread."""
    # Garbage is collected at any moment, also while this thread holds a lock of a listener's:
    # another one tells them. Started without `threading`, whose own locks may be held as well.
    with contextlib.suppress(RuntimeError):  # no threads at the interpreter's exit
        _thread.start_new_thread(everywhere.publish, (live_workers,))


def _living() -> list[Pool]:
    found = [each() for each in tuple(_pools)]
    return [pool for pool in found if pool is not None]


def _register() -> None:
    # The interpreter never forgets what it was told to call, so it is told once, not of each.
    atexit.register(_each, methodcaller("close"))
    os.register_at_fork(after_in_child=partial(_each, methodcaller("forget")))


def _each(end: Callable[[Pool], None]) -> None:
    # An error of one keeps no other from it.
    with contextlib.ExitStack() as all_of_them:
        for pool in _living():
            all_of_them.callback(end, pool)
