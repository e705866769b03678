"""What has to begin anew in a forked child, which has none of its parent's threads."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakMethod

from dotflow.core.locks import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable

_logger: Final = logging.getLogger("dotflow_otel")
_lock: Final = fork_safe_lock()

# The interpreter never forgets what it was told to call after a fork, so it is told once.
_methods: Final[list[WeakMethod[Callable[[], Any]]]] = []


def call_in_forked_child(method: Callable[[], Any]) -> None:
    """Call a method in every child that is forked, for as long as its object lives."""
    with _lock:
        if not _methods:
            os.register_at_fork(after_in_child=_call_all)
        # The first one stays: it tells that the interpreter knows.
        _methods[1:] = [each for each in _methods[1:] if each() is not None]
        _methods.append(WeakMethod(method))


def _call_all() -> None:
    for each in _methods:
        method = each()
        if method is not None:
            _guarded(method)


def _guarded(method: Callable[[], Any]) -> None:
    # A child that may start no thread still gets the rest.
    try:
        method()
    except Exception:
        _logger.exception("telemetry could not begin anew in a forked child")
