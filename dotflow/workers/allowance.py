"""How many workers may be started below a worker, so that a tree of processes has an end.

A step may run a small workflow in workers of its own. What a process may start it divides among
its workers, and tells them in a variable that whatever they start inherits, so each generation
has less than the one before, down to none.
"""

from __future__ import annotations

import os
import sys
from math import isqrt
from typing import Any, Final

from dotflow.core.exception import RunWhileReading, TooManyNestedWorkers

VARIABLE: Final = "DOTFLOW_NESTED_WORKERS"

# What a pool of a process that is no worker may have below it: so many in all, or for each of
# its workers, whichever is more.
_LEAST: Final = 16
_EACH: Final = 8

# The most generations of workers there are: each has no more than this part of the one before.
_SHARE: Final = 4

# How many pools a worker may have full of workers at a time: an application's and a few own.
_POOLS: Final = 4


class _Own:
    """What this process may have below it, where it is a worker."""

    workers: int | None = None


def become_worker() -> None:
    """Note that this process is a worker, whatever a step does to its environment."""
    _Own.workers = _inherited() or 0


def nested_workers() -> int | None:
    """Return how many workers may be below this process; None: it is below no worker."""
    return _inherited() if _Own.workers is None else _Own.workers


def _inherited() -> int | None:
    told = os.environ.get(VARIABLE, "")
    return int(told) if told.isdecimal() else None


def pool_size(wanted: int) -> int:
    """Return how many workers a pool of this process may have, which would have so many.

    Raises:
        TooManyNestedWorkers: It may have none.
        RunWhileReading: It is a child of a step that is still reading its main module.
    """
    own = nested_workers()
    if own is None:
        return wanted
    if _reads_main_module():
        raise RunWhileReading
    if own < 1:
        raise TooManyNestedWorkers
    return min(wanted, isqrt(own))


def _reads_main_module() -> bool:
    # As a child of `multiprocessing` does that is not forked, which is imported by that time. The
    # name is private; `multiprocessing` asks for it before it starts a child of such a child.
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def share_of_each(size: int) -> int:
    """Return how many workers may be below each one of a pool of this process."""
    own = nested_workers()
    whole = max(_LEAST, _EACH * size) if own is None else own
    return max(0, min((whole - size) // size, whole // _SHARE))


def check_one_more(live: int) -> None:
    """Check that this process may start a worker beside those that it has, of all its pools.

    Raises:
        TooManyNestedWorkers: It may not.
    """
    own = nested_workers()
    if own is not None and live >= _POOLS * isqrt(own):
        raise TooManyNestedWorkers
