"""Runs coroutines to their end from plain code. Imported only when a step is one."""

from __future__ import annotations

import asyncio
from _thread import start_new_thread
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from dotflow.core.limit import CLEAN_UP, Limit, current_limit, shared_loop
from dotflow.core.timing import Latch
from dotflow.core.user_objects import is_a

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine

    from dotflow.core.limit import SharedLoop


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and return its value.

    It runs in the event loop of its chain, or in one of its own, and the one that the program
    has set stays the current one. Where a loop runs in this thread already, another thread runs
    it, in a copy of this thread's context. One that is interrupted is cancelled, and has a moment
    to clean up.
    """
    shared, running = shared_loop(), _running_loop()
    if running is None:
        return _run(coroutine, shared)
    if shared is not None and shared.loop is not None and shared.loop.loop is running:
        shared = None  # a coroutine of the chain, which goes on afterwards, has called this
    return Limit(None, "coroutine").call(partial(_run, coroutine, shared))


def _run(coroutine: Coroutine[Any, Any, Any], shared: SharedLoop | None) -> Any:
    if shared is None:
        loop = EventLoop()
        try:
            return loop.run(coroutine)
        finally:
            loop.leave()
    if shared.loop is None or not shared.loop.is_free():
        # A coroutine that was late, and takes no cancelling, goes on in the one before.
        before, shared.loop = shared.loop, EventLoop()
        if before is not None:
            before.leave()
    return shared.loop.run(coroutine)


def _running_loop() -> AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class EventLoop:
    """Runs coroutines one after another, in any thread, and ends what they leave behind."""

    def __init__(self) -> None:
        # A runner that is told how to make its loop makes that the current one neither before nor
        # after. Its own handler of SIGINT is not used: it lets a coroutine run on that does not
        # await.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.loop: AbstractEventLoop = self._runner.get_loop()
        self._task: asyncio.Task[Any] | None = None
        self._clean_up = _clean_up()
        # Held while a coroutine runs in it, and from when it is closed.
        self._in_use = Lock()
        self._is_left = self._is_interrupted = False
        self._ended = Latch()

    def is_free(self) -> bool:
        """Return whether a coroutine can run in it now."""
        return not self._in_use.locked()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end and return its value.

        Raises:
            KeyboardInterrupt: It came meanwhile: the coroutine was cancelled, the loop is closed.
        """
        is_its_own = False
        try:
            self._in_use.acquire()
            task = self._task = self.loop.create_task(coroutine)
            limit = current_limit()
            if limit is not None:
                limit.on_timeout(partial(_cancel, self.loop, task))
            try:
                value = self.loop.run_until_complete(task)
            except BaseException as error:
                is_its_own = task.done() and isinstance(error, (Exception, asyncio.CancelledError))
                if not is_its_own:
                    self._end_soon()
                raise
            self._release()
        except BaseException:
            if is_its_own:
                self._release()
            else:
                self._end_elsewhere()
            raise
        return value

    def _release(self) -> None:
        self._task = None
        self._in_use.release()
        if self._is_left:
            self.leave()

    def leave(self, *, is_interrupted: bool = False) -> None:
        """Close it: what coroutines have started is cancelled. One that goes on does so at its end.

        Args:
            is_interrupted: Whether what was started has but a moment to clean up.
        """
        self._is_left, self._is_interrupted = True, self._is_interrupted or is_interrupted
        if not self._in_use.acquire(blocking=False):
            return
        if _running_loop() is None:
            self._close()
        else:  # no other loop can run here for what is to be cleaned up
            Limit(None, "coroutine").call(self._close)

    def _close(self) -> None:
        try:
            if self._is_interrupted:
                self._end_soon()
            else:
                self._runner.close()
                self._clean_up.close()
        except BaseException:
            self._end_elsewhere()
            raise
        if self._is_interrupted:
            self._end_elsewhere()

    def _end_soon(self) -> None:
        # Whoever interrupts waits for the clean-up alone, and a second interrupt ends that too.
        with suppress(BaseException):
            self.loop.run_until_complete(self._clean_up)
        with suppress(BaseException):
            self.loop.close()  # in its own thread, which alone can put handlers of signals back

    def _end_elsewhere(self) -> None:
        # A further interrupt comes to the main thread, and would leave the loop half closed. So
        # another one closes it; to start that is a single call, before which no interrupt comes.
        try:
            start_new_thread(self._end, ())
        except RuntimeError:  # there are no more threads, as at the interpreter's exit
            self._end()
        finally:
            # Where one came while the loop came to its end, it may count as the running one yet.
            asyncio._set_running_loop(None)  # noqa: SLF001 - what makes loops is to call it
            self._ended.wait()

    def _end(self) -> None:
        try:
            self._in_use.acquire(blocking=False)  # for good
            with suppress(BaseException):
                self._clean_up.close()
            if self._task is not None and self._task.done() and not self._task.cancelled():
                self._task.exception()  # read, as in the clean-up
            # What an interrupt has left half closed cannot be closed again, but as far as is
            # common to all loops; by that the loop knows that it is closed.
            try:
                self.loop.close()
            except Exception:  # noqa: BLE001 - of any kind, as of a part that is gone
                with suppress(Exception):
                    asyncio.BaseEventLoop.close(self.loop)  # type: ignore[arg-type]
        finally:
            self._ended.open()


def _cancel(loop: AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    # The loop is closed where the coroutine has ended, at this moment or before what else there
    # is under the limit.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(task.cancel)


async def _clean_up() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        ended, _ = await asyncio.wait(tasks, timeout=CLEAN_UP)
        for task in ended:
            if not task.cancelled():
                task.exception()  # read, so that the loop logs no error that nobody has read


def run_awaitable(value: Awaitable[Any], yields: Callable[[type], bool] | None = None) -> Any:
    """Run a coroutine, or what can be awaited like one, to its end and return its value.

    Args:
        value: What is awaited.
        yields: Returns whether its value, by its type, is an asynchronous iterator that is to be
            run as well, in the same event loop; the list of what it yielded is the value then.
    """
    ended: list[tuple[Any, BaseException | None]] = []
    run_coroutine(_noted(value, ended, yields))
    result, error = ended.pop()
    if error is None:
        return result
    try:
        raise error
    finally:
        del error  # which holds this frame


def run_async_iterator(iterator: AsyncIterable[Any]) -> list[Any]:
    """Run an asynchronous iterator to its end and return the list of what it yielded."""
    items: list[Any] = run_awaitable(_listed(iterator))
    return items


async def _noted(
    value: Awaitable[Any],
    ended: list[tuple[Any, BaseException | None]],
    yields: Callable[[type], bool] | None,
) -> None:
    # Not by way of the loop's task, of which asyncio shows the result with `repr`, and asks the
    # error for its `__class__`; where that raises it waits for ever.
    try:
        result = await value
        # What it has started in this loop and returns, as `asyncio.gather(...)`, ends with it.
        while is_a(result, asyncio.Future) and result.get_loop() is asyncio.get_running_loop():
            result = await result
        if yields is not None and yields(type(result)):
            result = await _listed(result)
        ended.append((result, None))
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - raised outside of the loop
        ended.append((None, error))


async def _listed(iterator: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in iterator]
