"""What is called when a process ends, also where that is a child of multiprocessing.

Such a child ends without Python's exit hooks: it calls the finalizers of `multiprocessing.util`
in their place, those that were registered in it, and after it was forked at that.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Below 0: after the process's own children have been waited for. The last registered comes first.
_RUNS: Final = -50
_REST: Final = -100

_calls: Final[list[_ExitCall]] = []
_is_forked = False


def call_at_exit(function: Callable[[], object]) -> None:
    """Call a function when this process or a forked child of it ends, once in each."""
    call = _ExitCall(function, _REST)
    atexit.register(call)
    call.register()


def call_at_childs_end(function: Callable[[], object]) -> None:
    """Call a function when this process ends, if it is a child of multiprocessing.

    It comes before what `call_at_exit` was given: it is for what the interpreter waits for by
    itself, but in such a child too late.
    """
    _ExitCall(function, _RUNS).register()


class _ExitCall:
    """A call at the end of each process that has it."""

    def __init__(self, function: Callable[[], object], priority: int) -> None:
        self._function = function
        self._priority = priority
        self._called_in: int | None = None
        _calls.append(self)

    def __call__(self) -> None:
        # Some versions of Python call both hooks in a child.
        if self._called_in != os.getpid():
            self._called_in = os.getpid()
            self._function()

    def register(self) -> None:
        """Register it with multiprocessing, where that is in use."""
        util = _util()
        if util is None:
            return
        # A child forgets all finalizers before it begins, and then calls this.
        util.register_after_fork(self, _ExitCall.finalize)
        if _is_forked or _is_child():
            self.finalize()

    def finalize(self) -> None:
        """Register it for the end of this child."""
        util = _util()
        if util is not None:
            util.Finalize(None, self, exitpriority=self._priority)


def _util() -> Any:
    # Who is a child of it has imported it.
    return sys.modules.get("multiprocessing.util")


def _is_child() -> bool:
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _register_in_child() -> None:
    # multiprocessing may have been imported after a call was added. Celery's own version of it
    # shares its finalizers, and knows its children alone.
    global _is_forked  # noqa: PLW0603 - a process is forked or not
    _is_forked = True
    for call in _calls:
        call.register()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_register_in_child)
