"""Waits for what another process does: asks again and again, for a limited time."""

from __future__ import annotations

import time
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 60.0  # seconds
_PAUSE: Final = 0.05  # seconds between two questions

Answer = TypeVar("Answer")


def eventually(probe: Callable[[], Answer], what: str, patience: float = PATIENCE) -> Answer:
    """Return the first answer that is true.

    Args:
        probe: The question. What it cannot answer yet may raise `OSError` or `LookupError`.
        what: What is waited for, for the message.
        patience: Seconds to wait at most.

    Raises:
        AssertionError: There was none in time; tells the last answer.
    """
    end = time.monotonic() + patience
    last: object = None
    while time.monotonic() < end:
        try:
            answer = probe()
        except (OSError, LookupError) as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        Event().wait(_PAUSE)
    raise AssertionError(f"waited {patience:g} s for {what}; last: {last!r}")
