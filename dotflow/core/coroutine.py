"""Runs coroutines to their end from plain code. Imported only when a step is one."""

from __future__ import annotations

import asyncio
from _thread import start_new_thread
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from dotflow.core.limit import CLEAN_UP, Limit, current_limit
from dotflow.core.timing import Latch
from dotflow.core.user_objects import is_a

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and return its value.

    It runs in an event loop of its own, and the one that the program has set stays the current
    one. Where a loop runs in this thread already, another thread runs it, in a copy of this
    thread's context. One that is interrupted is cancelled, and has a moment to clean up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(coroutine)
    return Limit(None, "coroutine").call(partial(_run, coroutine))


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    # A runner that is told how to make its loop makes that the current one neither before nor
    # after. Its own handler of SIGINT is not used: it lets a coroutine run on that does not await.
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    end = _End(runner.get_loop())
    try:
        value = _run_in(end, runner, coroutine)
        end.clean_up.close()
    except BaseException:
        # A further interrupt comes to the main thread, and would leave the loop half closed. So
        # another one closes it; to start that is a single call, before which no interrupt comes.
        try:
            start_new_thread(end.run, ())
        except RuntimeError:  # there are no more threads, as at the interpreter's exit
            end.run()
        finally:
            # Where one came while the loop came to its end, it may count as the running one yet.
            asyncio._set_running_loop(None)  # noqa: SLF001 - what makes loops is to call it
            end.wait()
        raise
    return value


def _run_in(end: _End, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop = end.loop
    task = end.task = loop.create_task(coroutine)
    limit = current_limit()
    if limit is not None:
        limit.on_timeout(partial(_cancel, loop, task))
    try:
        value = loop.run_until_complete(task)
    except BaseException as error:
        if task.done() and isinstance(error, (Exception, asyncio.CancelledError)):
            runner.close()  # the step's own error
        else:
            _end_soon(end)
        raise
    runner.close()
    return value


class _End:
    """The end of an event loop that is left by an exception, in a thread of its own."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self.task: asyncio.Task[Any] | None = None
        self.clean_up = _clean_up()
        self._ended = Latch()

    def run(self) -> None:
        try:
            with suppress(BaseException):
                self.clean_up.close()
            if self.task is not None and self.task.done() and not self.task.cancelled():
                self.task.exception()  # read, as in the clean-up
            # What an interrupt has left half closed cannot be closed again, but as far as is
            # common to all loops; by that the loop knows that it is closed.
            try:
                self.loop.close()
            except Exception:  # noqa: BLE001 - of any kind, as of a part that is gone
                with suppress(Exception):
                    asyncio.BaseEventLoop.close(self.loop)  # type: ignore[arg-type]
        finally:
            self._ended.open()

    def wait(self) -> None:
        self._ended.wait()


def _cancel(loop: AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    # The loop is closed where the coroutine has ended, at this moment or before what else there
    # is under the limit.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(task.cancel)


def _end_soon(end: _End) -> None:
    # Whoever interrupts waits for the clean-up alone, and a second interrupt ends that too.
    with suppress(BaseException):
        end.loop.run_until_complete(end.clean_up)
    with suppress(BaseException):
        end.loop.close()  # in its own thread, which alone can put handlers of signals back


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
