"""Pushes the metrics at the end of each run, without holding the run up."""

from __future__ import annotations

import logging
from threading import Condition, Thread
from typing import TYPE_CHECKING, Final

from dotflow.core.locks import fork_safe_lock
from dotflow_otel._process import at_exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from dotflow_otel.metrics.push import PushGateway

_logger: Final = logging.getLogger("dotflow_otel")


class PushAtEnd:
    """Pushes when asked to, in a thread that lives as long as there is something to push.

    Runs that end while a push is under way share the next one: it holds what all of them have
    counted. The exit of the interpreter waits for it, as long as one push may take.

    Args:
        gateway: Where to.
        registry: What.
        on_error: Called for each push that failed.
    """

    def __init__(
        self, gateway: PushGateway, registry: CollectorRegistry, on_error: Callable[[], object]
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self._on_error = on_error
        self._changed = Condition(fork_safe_lock())
        self._wanted = False
        self._thread: Thread | None = None
        self._failing = False

    def ask(self) -> None:
        """Push soon. Returns at once."""
        with self._changed:
            self._wanted = True
            if self._is_at_work():
                return
            thread = Thread(target=self._work, name="dotflow-push-at-end", daemon=True)
            thread.start()
            self._thread = thread
            at_exit.remove(self)
            at_exit.add(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that was asked for is pushed, or given up; tell whether it is.

        Args:
            timeout: Seconds; None: those of one push.
        """
        seconds = self._gateway.timeout if timeout is None else timeout
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_at_work(), seconds)

    @property
    def bound(self) -> float:
        """Seconds that the exit may take for it."""
        return self._gateway.timeout

    def ask_to_end(self) -> None:
        """Do nothing: it is at work, or has nothing to push."""

    def end_within(self, seconds: float) -> None:
        """Wait for the last push within the bound of an exit."""
        if not self.wait(seconds):
            _logger.warning(
                "The metrics of job %r were not pushed within %g s, and the program ends.",
                self._gateway.job,
                self.bound,
            )

    def _is_at_work(self) -> bool:
        # In a forked copy of the process the thread is there, and dead.
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        while self._takes_one():
            self._push()

    def _takes_one(self) -> bool:
        with self._changed:
            wanted, self._wanted = self._wanted, False
            if not wanted:
                self._thread = None
                at_exit.remove(self)
                self._changed.notify_all()
            return wanted

    def _push(self) -> None:
        try:
            self._gateway.push(self._registry)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            if not self._failing:
                _logger.warning("%s Further failures are only counted.", error)
            self._failing = True
            self._on_error()
        else:
            self._failing = False
