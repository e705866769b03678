"""Makes a process be on another machine, as far as it can tell: its name, and its clocks.

To be called before anything is imported that takes the clocks' functions.
"""

from __future__ import annotations

import socket
import time
from typing import Any, Final

_SECOND: Final = 10**9


def be_elsewhere(host: str, wall: int, monotonic: int) -> None:
    """Have the host's name be another, and the clocks ahead by so many seconds."""
    socket.gethostname = lambda: host
    for name, ahead in (("time", wall), ("monotonic", monotonic)):
        _put_ahead(name, ahead)
        _put_ahead(f"{name}_ns", ahead * _SECOND)


def _put_ahead(name: str, ahead: int) -> None:
    real: Any = getattr(time, name)
    setattr(time, name, lambda: real() + ahead)
