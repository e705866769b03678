"""Which threads of this process wait for each other, so that none of them goes on."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future, as_completed, thread, wait
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.limit import Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

_THREADING: Final = threading.Thread.join.__code__.co_filename

_JOIN: Final = threading.Thread.join.__code__
_WAIT: Final = threading.Condition.wait.__code__  # of events, semaphores, queues as well
_LIMIT: Final = Limit.call.__code__
_RESULT: Final = Future.result.__code__, Future.exception.__code__
# Where the futures are, among the local variables, that these wait for.
_SEVERAL: Final = {wait.__code__: "not_done", as_completed.__code__: "pending"}

# What a thread of a pool runs, and what it does where it has nothing to run.
_WORK_ITEM: Final[CodeType] = thread._WorkItem.run.__code__  # noqa: SLF001
_IDLE: Final[CodeType] = thread._worker.__code__  # noqa: SLF001


class WaitingThreads:
    """The threads of this process as they are at this moment, but for this one.

    A plain thread does not know who started it, so that a run cannot ask whether a step waits for
    it. But what a thread waits in tells for whom: `Thread.join`, the result of a future, the limit
    of a step, a run. Other waits, as for an event, may be for anybody: then all threads of the
    process must wait, or else the one that does not may be that one.

    Args:
        run_waits: The code in which a run of ours waits for threads; its `self` tells which.

    Attributes:
        is_sure: Whether all that was asked about waits for what is known.
    """

    def __init__(self, run_waits: CodeType) -> None:
        self._run_waits = run_waits
        self._frames = sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
        self._asked = {threading.get_ident()}
        self.is_sure = True

    def all_wait(self, threads: Iterable[int | None]) -> bool:
        """Return whether each of these threads waits for others, and for none that goes on.

        This thread counts as one that waits: it asks because it does.
        """
        if not all(self._waits(each) for each in threads):
            return False
        return self.is_sure or all(map(self._rests, self._frames))

    def _rests(self, ident: int) -> bool:
        return self._frames[ident].f_code is _IDLE or self._waits(ident)

    def _waits(self, ident: int | None) -> bool:
        if ident in self._asked:
            return True  # what goes on ends the asking
        frame = None if ident is None else self._frames.get(ident)
        if ident is None or frame is None:
            return False  # it has ended
        self._asked.add(ident)
        return self._stands(frame)

    def _stands(self, top: FrameType) -> bool:
        frame: FrameType | None = top
        while frame is not None and frame.f_code.co_filename == _THREADING:
            if frame.f_code is _JOIN:
                return self._waits(frame.f_locals["self"].ident)
            frame = frame.f_back
        if frame is not None:
            code, names = frame.f_code, frame.f_locals
            if code in _RESULT:
                return self._will_not_end([names["self"]])
            if code in _SEVERAL:
                return self._will_not_end(names[_SEVERAL[code]])
            if code is _LIMIT:
                return self._waits(names["thread"].ident)
            if code is self._run_waits:
                threads = names["self"].threads()
                return bool(threads) and all(self._waits(each) for each in threads)
        self.is_sure = False
        return top.f_code is _WAIT or _waits_in_a_loop(top)

    def _will_not_end(self, futures: Iterable[Future[Any]]) -> bool:
        # What is not run by a thread, or not yet, goes on by itself as far as can be known here.
        pending = [future for future in futures if not future.done()]
        runners = {id(future): ident for ident, future in self._running()}
        return bool(pending) and all(self._waits(runners.get(id(each))) for each in pending)

    def _running(self) -> Iterator[tuple[int, Future[Any]]]:
        for ident, top in self._frames.items():
            frame: FrameType | None = top
            while frame is not None:
                if frame.f_code is _WORK_ITEM:
                    yield ident, frame.f_locals["self"].future
                frame = frame.f_back


def _waits_in_a_loop(frame: FrameType) -> bool:
    """Return whether this is an event loop without timers that hears of nothing but threads."""
    caller = frame.f_back
    if caller is None or caller.f_code.co_qualname != "BaseEventLoop._run_once":
        return False
    is_select = frame.f_code.co_name == "select" and caller.f_locals["timeout"] is None
    return is_select and len(frame.f_locals["self"].get_map()) == 1
