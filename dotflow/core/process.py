"""What a process has one of, whatever forks, ends or interrupts it.

Locks that a forked child finds free, things that are made once, calls in each forked child and at
the exit, also where that is one of a child of multiprocessing, and Ctrl-C inside an event loop.

A child of multiprocessing ends without Python's exit hooks: it calls the finalizers of
`multiprocessing.util` in their place, those that were registered in it, and after it was forked at
that.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from functools import partial, wraps
from threading import RLock, current_thread, get_ident, main_thread
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakMethod, WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable
_logger = logging.getLogger("dotflow")

_all: Final[WeakSet[Any]] = WeakSet()


def fork_safe_lock() -> RLock:
    """Return a lock that is free in every forked child.

    Another thread may hold it at the fork, and is not there in the child to let it go. Its
    owner can take it again, for a finalizer or a signal handler may run in between.
    """
    lock = RLock()
    _all.add(lock)
    return lock


def _free_in_child() -> None:
    for lock in list(_all):
        # The name is private, and what the standard library uses for its own locks.
        lock._at_fork_reinit()  # noqa: SLF001


# What another thread may hold and a fork is to wait for, and for how many seconds.
_waited_for: Final[list[tuple[RLock, float]]] = []
# By the thread that forks: two may do so at once.
_held: Final[dict[int, list[RLock]]] = {}


def hold_at_fork(lock: RLock, seconds: float) -> None:
    """Have each fork wait until a lock is free, for so many seconds at most, and hold it.

    It is for what has locks of its own, which a child that is forked while it is at work would
    find taken for ever.
    """
    _waited_for.append((lock, seconds))


def _before_fork() -> None:
    _held[get_ident()] = [lock for lock, wait in _waited_for if lock.acquire(timeout=wait)]


def _after_fork() -> None:
    for lock in _held.pop(get_ident(), ()):
        lock.release()


# What is called in a forked child: references, for it lives no longer for that.
fork_calls: Final[list[Callable[[], Callable[[], object] | None]]] = []
_lock: Final = fork_safe_lock()


def call_in_forked_child(function: Callable[[], object]) -> None:
    """Call a function in each child that is forked; a method, for as long as its object lives.

    They are called in the order in which they were registered. An error of one is logged.
    """
    # The interpreter never forgets what it is to call after a fork, so this list is kept instead.
    found = WeakMethod(function) if isinstance(function, MethodType) else partial(_same, function)
    with _lock:
        fork_calls[:] = [each for each in fork_calls if each() is not None]
        fork_calls.append(found)


def _same(function: Callable[[], object]) -> Callable[[], object]:
    return function


def call_in_child() -> None:
    """Make the calls that a forked child has to make."""
    for each in tuple(fork_calls):
        function = each()
        if function is not None:
            _guarded(function)


def _guarded(function: Callable[[], object]) -> None:
    # A child that may start no thread, say, still gets the rest.
    try:
        function()
    except Exception:
        _logger.exception("a forked child could not begin again with what its parent had")


_Thing = TypeVar("_Thing")


def once(make: Callable[[], _Thing]) -> Callable[[], _Thing]:
    """Return to all callers the same thing, also those who ask first at the same time.

    `functools.cache` gives each of these one of its own. No lock is held, so that nobody
    waits and a forked child finds none taken: two may be made, and one of them is let go.

    Args:
        make: Makes it, with no other effect.
    """
    made: dict[None, _Thing] = {}

    @wraps(make)
    def give() -> _Thing:
        # To set a default is one step.
        return made[None] if made else made.setdefault(None, make())

    return give


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


def _begin_in_child() -> None:
    _free_in_child()
    _held.clear()
    _register_in_child()
    call_in_child()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_begin_in_child
)


def interrupt_at_once() -> Callable[[], None] | None:
    """Make Ctrl-C raise `KeyboardInterrupt` here; return what undoes that, if it did not before.

    `asyncio.run` has the first Ctrl-C cancel its main coroutine instead, which that learns where
    it awaits next: not before the run has ended that it called. Its handler alone is replaced. If
    an interrupt comes before it is put back, what is left is what `asyncio.run` leaves itself.
    """
    events: Any = sys.modules.get("asyncio.events")
    if events is None or getattr(events, "_get_running_loop", _none)() is None:
        return None
    import signal  # noqa: PLC0415 - asyncio has imported it

    handler: Any = signal.getsignal(signal.SIGINT)
    if type(handler) is not partial or current_thread() is not main_thread():
        return None
    from asyncio import Runner  # noqa: PLC0415 - a loop runs

    # The name is private: where it is another one, all is as `asyncio` has it.
    if getattr(handler.func, "__func__", None) is not getattr(Runner, "_on_sigint", _none):
        return None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return partial(_put_back, handler)


def _none() -> None:
    return None


def _put_back(handler: Any) -> None:
    import signal  # noqa: PLC0415 - asyncio has imported it

    # Unless the program has set another one meanwhile.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
