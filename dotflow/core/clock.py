"""Clocks that only the system sets: for how long to wait, and how long something took.

Libraries for tests (such as freezegun) put clocks of their own in the place of those of `time`,
in every module that has imported them. Those stand still, or step back, and who waits by one
waits for ever. Where a user looks for the time of day, `time.time` stays in use.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable


def _own_time() -> Any:
    # Another copy of the module, which nobody else has: its functions are as fast, and they are
    # real ones also where this is imported while others are replaced.
    spec: Any = time.__spec__
    try:
        module = spec.loader.create_module(spec)
        spec.loader.exec_module(module)
    except (AttributeError, ImportError):  # an interpreter of another make
        return time
    return module


_time: Final = _own_time()

# In seconds and in nanoseconds, from an unknown beginning that all processes of a machine share.
monotonic: Final[Callable[[], float]] = _time.monotonic
monotonic_ns: Final[Callable[[], int]] = _time.monotonic_ns

# In nanoseconds since the epoch: the system's own, for what other processes are told.
system_time_ns: Final[Callable[[], int]] = _time.time_ns
