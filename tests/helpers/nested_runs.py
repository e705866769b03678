"""Runs on pools that may wait for each other for ever."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from dotflow import Config, DotFlow
from dotflow.testing import RecordingLog

if TYPE_CHECKING:
    from collections.abc import Callable

# Longer than any of these takes; what hangs is told by it, in seconds.
PATIENCE = 60


def within_bounds(call: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Return what a call returns in a thread of its own that may hang."""
    result: Future[Any] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by the result
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result.result(patience)


def flow_on(pool: object, *steps: Any) -> DotFlow:
    """Make a workflow whose chains run in a pool."""
    flow = DotFlow(config=Config(log=RecordingLog(), executor=pool))
    flow.task.add(list(steps))
    return flow
