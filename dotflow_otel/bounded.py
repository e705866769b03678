"""Calls that may hang, waited for a limited time."""

from __future__ import annotations

import logging
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from dotflow_otel.forks import call_in_forked_child

if TYPE_CHECKING:
    from collections.abc import Callable

_logger: Final = logging.getLogger("dotflow_otel")

# Seconds that anything of ours waits for a backend, unless told otherwise.
TIMEOUT: Final = 5.0


class BoundedCall:
    """One call, made when it is asked for, in a thread that waits for that from now on.

    At the exit of the interpreter no thread can be started any more; this one is there. It
    is a daemon: where the call hangs, the interpreter goes without it.

    Args:
        function: What to call.
        name: The name of the thread.
    """

    def __init__(self, function: Callable[[], object], name: str) -> None:
        self._function = function
        self._name = name
        self._start()
        call_in_forked_child(self._start)

    def _start(self) -> None:
        # Anew in a forked child: it has none of its parent's threads.
        self._asked = Event()
        self._ended = Event()
        work = _Work(self._function, self._asked, self._ended)
        Thread(target=work, name=self._name, daemon=True).start()

    def ask(self) -> None:
        """Have the call made, at the first time; do not wait."""
        self._asked.set()

    def wait(self, timeout: float) -> bool:
        """Tell whether the call, once asked for, ended within `timeout` seconds."""
        return self._ended.wait(max(timeout, 0.0))

    def call(self, timeout: float) -> bool:
        """Make the call, at the first time; tell whether it ended within `timeout` seconds."""
        self.ask()
        return self.wait(timeout)


class _Work:
    # No method of BoundedCall, so that the thread keeps that alive no longer than its owner.
    def __init__(self, function: Callable[[], object], asked: Event, ended: Event) -> None:
        self._function = function
        self._asked = asked
        self._ended = ended

    def __call__(self) -> None:
        self._asked.wait()
        try:
            self._function()
        except Exception:
            _logger.exception("telemetry could not be delivered")
        finally:
            self._ended.set()
