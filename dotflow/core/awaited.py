"""Runs that a coroutine awaits, while its event loop goes on. Imported only for these."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from dotflow.core.background import BackgroundRun, TakenOver
from dotflow.core.timing import Latch

if TYPE_CHECKING:
    from collections.abc import Callable

# How long a thread waits until its loop goes on, in seconds: that may be interrupted before.
_AT_MOST: Final = 0.1

_Manager = TypeVar("_Manager")


class AwaitedRun(BackgroundRun, Generic[_Manager]):
    """A run in a thread, from its checks to its callbacks, that a coroutine awaits.

    It is made in that coroutine. Its thread is a daemon: the interpreter waits for the run, but
    not for a step that was abandoned.

    Args:
        start: Runs it, and returns its `Manager`.
        name: The name of the workflow.

    Attributes:
        give_up: Ends the run in place of its thread, for the reason that is passed; None: there
            is nothing to be ended yet.
    """

    def __init__(self, start: Callable[[AwaitedRun[_Manager]], _Manager], name: str) -> None:
        super().__init__(self._start_here, self._end_here, name)
        self.thread.daemon = True
        self.give_up: Callable[[BaseException], object] | None = None
        self._start_run = start
        self._loop = asyncio.get_running_loop()
        self._resolved: asyncio.Future[None] = self._loop.create_future()
        # How it went; of the two one is None. Not in the future, of which some errors cannot be
        # the exception, and which would hold an error that holds the frame that raised it.
        self._outcomes: list[tuple[_Manager | None, BaseException | None]] = []
        self._is_resolved = False
        self._may_run = Latch()

    async def result(self) -> _Manager:
        """Start it, and return its `Manager` when it has ended.

        Raises:
            CancelledError: The wait was cancelled, and by that the run.
            BaseException: What the run raised.
        """
        self.start()
        # Only from here on does the thread do more than wait: at its start it would keep the
        # interpreter to itself for a while, as any that computes may, and the loop would wait.
        self._may_run.open()
        try:
            await asyncio.shield(self._resolved)
        except asyncio.CancelledError:
            self._cancel()
            await asyncio.shield(self._resolved)
            raise
        manager, error = self._outcomes.pop()
        if error is not None:
            try:
                raise error
            finally:
                del error  # which holds this frame
        assert manager is not None  # noqa: S101 - one of the two is there
        return manager

    def _cancel(self) -> None:
        # In another thread: it waits until the run comes to where it can be ended.
        error = asyncio.CancelledError("the coroutine that awaited the run was cancelled")
        name = f"{self.thread.name}-cancel"
        threading.Thread(target=self.take_over, args=(error,), name=name, daemon=True).start()

    def note_begun(self, manager: _Manager) -> None:
        """Return from `result` now: the run is one in the background.

        Raises:
            CancelledError: It is to end.
        """
        self.check()
        self._resolve(manager, None)

    def _start_here(self) -> None:
        self._may_run.wait(_AT_MOST)
        try:
            manager = self._start_run(self)
        except TakenOver:
            raise
        except BaseException as error:
            if self._is_resolved:
                raise
            self._resolve(None, error)
        else:
            self._resolve(manager, None)

    def _end_here(self, error: BaseException) -> None:
        try:
            if self.give_up is not None:
                self.give_up(error)
        finally:
            self._resolve(None, error)

    def _resolve(self, manager: _Manager | None, error: BaseException | None) -> None:
        self._is_resolved = True
        self._outcomes.append((manager, error))
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._note_resolved)

    def _note_resolved(self) -> None:
        if not self._resolved.done():
            self._resolved.set_result(None)
