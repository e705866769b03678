"""Runs coroutines to their end from plain code. Imported only when a step is one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any

from dotflow.core.limit import current_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and give its value.

    Where an event loop runs in this thread already, another thread runs it, in a copy of
    this thread's context.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_cancellable(coroutine))
    return _in_thread(lambda: asyncio.run(_cancellable(coroutine)))


async def _cancellable(coroutine: Coroutine[Any, Any, Any]) -> Any:
    limit = current_limit()
    if limit is None:
        return await coroutine
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(coroutine)

    def cancel() -> None:
        # The loop is closed where the coroutine has ended, at this moment or before what
        # else there is under the limit.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)

    limit.on_timeout(cancel)
    return await task


def _in_thread(function: Callable[[], Any]) -> Any:
    result: list[Any] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            raised.append(error)

    thread = Thread(target=copy_context().run, args=(work,), name="dotflow-coroutine", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return result[0]


def run_awaitable(value: Awaitable[Any]) -> Any:
    """Run a coroutine, or what can be awaited like one, to its end and return its value."""
    ended: list[tuple[Any, BaseException | None]] = []
    run_coroutine(_noted(value, ended))
    result, error = ended.pop()
    if error is None:
        return result
    try:
        raise error
    finally:
        del error  # which holds this frame


def run_async_generator(generator: AsyncIterable[Any]) -> list[Any]:
    """Run an asynchronous generator to its end and return the list of what it yielded."""
    items: list[Any] = run_awaitable(_listed(generator))
    return items


async def _noted(value: Awaitable[Any], ended: list[tuple[Any, BaseException | None]]) -> None:
    # Not by way of the loop's task, of which asyncio shows the result with `repr`, and asks the
    # error for its `__class__`; where that raises it waits for ever.
    try:
        ended.append((await value, None))
    except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - raised outside of the loop
        ended.append((None, error))


async def _listed(generator: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in generator]
