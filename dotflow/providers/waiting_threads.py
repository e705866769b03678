"""Which threads of this process wait for each other, so that none of them goes on.

What a thread waits in is read from its frames: functions of Python's own library, recognised by
their code, and the local variables in which these have what they wait for. A release of Python in
which one of them has another name, or other variables, has its waits not detected, and a test
that fails (`test_waiting_threads`).
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future, as_completed, thread, wait
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.limit import Limit
from dotflow.core.timing import Latch, TimedQueue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

_THREADING: Final = threading.Thread.join.__code__.co_filename

_JOIN: Final = threading.Thread.join.__code__
_WAIT: Final = threading.Condition.wait.__code__  # of events, semaphores, queues as well
_OWN_WAITS: Final = Latch.wait.__code__, TimedQueue.get.__code__
_LIMIT: Final = Limit.call.__code__
_RESULT: Final = Future.result.__code__, Future.exception.__code__
# Where the futures are, among the local variables, that these wait for.
_SEVERAL: Final = {wait.__code__: "not_done", as_completed.__code__: "pending"}


def _code_of(module: Any, *names: str) -> CodeType | None:
    """Return the code of a function without a public name, or None where there is none."""
    for name in names:
        module = getattr(module, name, None)
    code: CodeType | None = getattr(module, "__code__", None)
    return code


# What a thread of a pool runs, and what it waits in where it has nothing to run.
_WORK_ITEM: Final = _code_of(thread, "_WorkItem", "run")
_IDLE: Final = _code_of(thread, "_worker")


class WaitingThreads:
    """The threads of this process as they are at this moment, but for this one.

    A plain thread does not know who started it, so that a run cannot ask whether a step waits for
    it. But what a thread waits in tells for whom: `Thread.join`, the result of a future, the limit
    of a step, a run. Other waits, as for an event, may be for anybody: then all threads of the
    process must wait, or else the one that does not may be that one.

    What waits in C, as in `lock.acquire()`, in `SimpleQueue.get()` or in the loop of `uvloop`,
    looks like what goes on, and counts as that.

    Args:
        run_waits: The code in which a run of ours waits for threads; its `self` tells which.

    Attributes:
        is_certain: Whether all threads that were looked at wait for what is known.
    """

    def __init__(self, run_waits: CodeType) -> None:
        self._run_waits = run_waits
        self._frames = sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
        # Its frame holds this object: a cycle, which would keep the variables of all threads.
        del self._frames[threading.get_ident()]
        self._visited = {threading.get_ident()}
        self.is_certain = True

    def all_wait(self, threads: Iterable[int | None]) -> bool:
        """Return whether each of these threads waits for others, and for none that goes on.

        This thread counts as one that waits: it asks because it does.
        """
        if not all(self._waits(each) for each in threads):
            return False
        return self.is_certain or all(map(self._waits_or_is_idle, list(self._frames)))

    def _waits_or_is_idle(self, ident: int) -> bool:
        return self._frames[ident].f_code is _IDLE or self._waits(ident)

    def _waits(self, ident: int | None) -> bool:
        if ident in self._visited:
            return True  # the first thread that goes on ends the search
        frame = None if ident is None else self._frames.get(ident)
        if ident is None or frame is None:
            return False  # it has ended
        self._visited.add(ident)
        return self._is_blocked(frame)

    def _is_blocked(self, top: FrameType) -> bool:
        frame: FrameType | None = top
        while frame is not None and (
            frame.f_code.co_filename == _THREADING or frame.f_code in _OWN_WAITS
        ):
            if frame.f_code is _JOIN:
                return self._waits(frame.f_locals["self"].ident)
            frame = frame.f_back
        if frame is not None:
            # A thread that has just come there has only its arguments yet: it goes on.
            code, names = frame.f_code, frame.f_locals
            if code in _RESULT:
                return self._are_blocked([names["self"]])
            if code in _SEVERAL:
                return self._are_blocked(list(names.get(_SEVERAL[code], ())))
            if code is _LIMIT:
                return "thread" in names and self._waits(names["thread"].ident)
            if code is self._run_waits:
                threads = names["self"].threads()
                return bool(threads) and all(self._waits(each) for each in threads)
        self.is_certain = False
        return top.f_code is _WAIT or _is_loop_of_threads(top)

    def _are_blocked(self, futures: Iterable[Future[Any]]) -> bool:
        # What is not run by a thread, or not yet, goes on by itself as far as can be known here.
        pending = [future for future in futures if not future.done()]
        runners = {id(future): ident for ident, future in self._running()}
        return bool(pending) and all(self._waits(runners.get(id(each))) for each in pending)

    def _running(self) -> Iterator[tuple[int, Future[Any]]]:
        own = sys._getframe()  # noqa: SLF001 - likewise
        for ident, top in [*self._frames.items(), (threading.get_ident(), own)]:
            frame: FrameType | None = top
            while frame is not None:
                if frame.f_code is _WORK_ITEM and frame.f_locals["self"] is not None:
                    yield ident, frame.f_locals["self"].future
                frame = frame.f_back


def _is_loop_of_threads(frame: FrameType) -> bool:
    """Return whether this is an event loop without timers that hears of nothing but threads."""
    caller = frame.f_back
    if caller is None or caller.f_code.co_qualname != "BaseEventLoop._run_once":
        return False
    is_select = frame.f_code.co_name == "select" and caller.f_locals.get("timeout", 0) is None
    return is_select and len(frame.f_locals["self"].get_map()) == 1
