"""Runs coroutines to their end from plain code. Imported only when a step is one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from dotflow.core.limit import CLEAN_UP, Limit, current_limit
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
    loop = runner.get_loop()
    try:
        task = loop.create_task(coroutine)
        limit = current_limit()
        if limit is not None:
            limit.on_timeout(partial(_cancel, loop, task))
        try:
            value = loop.run_until_complete(task)
        except BaseException as error:
            if task.done() and isinstance(error, (Exception, asyncio.CancelledError)):
                runner.close()  # the step's own error
            else:
                _end_soon(loop)
            raise
        runner.close()
        return value
    finally:
        loop.close()


def _cancel(loop: AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    # The loop is closed where the coroutine has ended, at this moment or before what else there
    # is under the limit.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(task.cancel)


def _end_soon(loop: AbstractEventLoop) -> None:
    # Whoever interrupts waits for the clean-up alone, and a second interrupt ends that too.
    with suppress(BaseException):
        loop.run_until_complete(_clean_up())


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
