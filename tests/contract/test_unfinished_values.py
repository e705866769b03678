"""A step whose function returns what is still to be run has it run, in every mode."""

from __future__ import annotations

import asyncio
import csv
import functools
import io
import itertools
import os
import re
import shlex
import sqlite3
import threading
import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import get_current_span

from dotflow import Config, Context, DotFlow, action
from dotflow_otel.testing import record_telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Run = Any


def _wraps(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def _fetch() -> str:
    await asyncio.sleep(0)
    return "fetched"


def _two() -> Iterator[int]:
    yield 1
    yield 2


async def _two_async() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    yield 2


class _OtherCoroutine(Coroutine[Any, Any, Any]):
    """What compilers and tracers make of a coroutine."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def send(self, value: Any) -> Any:
        return self.inner.send(value)

    def throw(self, *details: Any) -> Any:
        return self.inner.throw(*details)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Any:
        return self.inner.__await__()


class _OtherAwaitable:
    def __await__(self) -> Any:
        return _fetch().__await__()


class _OtherGenerator(Generator[Any, Any, Any]):
    def __init__(self) -> None:
        self.inner = _two()

    def send(self, value: Any) -> Any:
        return self.inner.send(value)  # type: ignore[attr-defined]

    def throw(self, *details: Any) -> Any:
        return self.inner.throw(*details)  # type: ignore[attr-defined]


class _OtherAsyncGenerator(AsyncGenerator[Any, Any]):
    def __init__(self) -> None:
        self.inner: Any = _two_async()

    async def asend(self, value: Any) -> Any:
        return await self.inner.asend(value)

    async def athrow(self, *details: Any) -> Any:
        return await self.inner.athrow(*details)


class _Iterator:
    """An iterator of a class, as of a program of its own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.inner)


class _AsyncIterator:
    def __init__(self, last: int) -> None:
        self.numbers, self.last = 0, last

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> int:
        await asyncio.sleep(0)
        if self.numbers == self.last:
            raise StopAsyncIteration
        self.numbers += 1
        return self.numbers


async def _async_iterator_of_its_loop() -> Any:
    queue: asyncio.Queue[int] = asyncio.Queue()
    waiting = asyncio.ensure_future(queue.get())  # bound to this loop
    await queue.put(1)

    async def numbers() -> AsyncIterator[int]:
        yield await waiting
        yield 2

    return numbers()


def _double(number: int) -> int:
    return 2 * number


def _number() -> Iterator[int]:
    return iter([1, 2])


class _Called:
    def __call__(self) -> Iterator[int]:
        yield 1
        yield 2

    def method(self) -> Iterator[int]:
        yield 1
        yield 2

    async def async_method(self) -> AsyncIterator[int]:
        yield 1
        yield 2


class _CalledAsync:
    async def __call__(self) -> str:
        return await _fetch()


@types.coroutine
def _of_a_generator() -> Any:
    yield
    return "fetched"


def _returns_besides() -> Any:
    yield 1
    return 5


def _empty() -> Iterator[int]:
    yield from ()


def _with_context(initial_context: Context) -> Iterator[Any]:
    yield initial_context.storage
    yield initial_context.storage + 1


def _table() -> Any:
    reader = csv.DictReader(["a,b", "1,2"])
    return reader.fieldnames, list(reader)


async def _not_awaited() -> Any:
    return _fetch()


async def _generator_of_a_coroutine() -> Any:
    return _two()


def _of_another() -> Any:
    return _two_async()


# The function, and the value of its step.
STEPS: dict[str, tuple[Any, Any]] = {
    "generator": (_two, [1, 2]),
    "generator with a context": (_with_context, [7, 8]),
    "generator that returns": (_returns_besides, [1]),
    "empty generator": (_empty, []),
    "async generator": (_two_async, [1, 2]),
    "coroutine": (_fetch, "fetched"),
    "coroutine not awaited": (_not_awaited, "fetched"),
    "generator of a coroutine": (_generator_of_a_coroutine, [1, 2]),
    "other coroutine": (lambda: _OtherCoroutine(_fetch()), "fetched"),
    "other awaitable": (_OtherAwaitable, "fetched"),
    "coroutine of a generator": (_of_a_generator, "fetched"),
    "other generator": (_OtherGenerator, [1, 2]),
    "other async generator": (_OtherAsyncGenerator, [1, 2]),
    "generator expression": (lambda: (each for each in (1, 2)), [1, 2]),
    "async generator of another": (_of_another, [1, 2]),
    "map": (lambda: map(_double, [1, 2]), [2, 4]),
    "map without an end, cut": (
        lambda: zip(itertools.count(), "ab", strict=False),
        [(0, "a"), (1, "b")],
    ),
    "filter": (lambda: filter(None, [0, 1]), [1]),
    "enumerate": (lambda: enumerate("a"), [(0, "a")]),
    "reversed": (lambda: reversed([1, 2]), [2, 1]),
    "iterator of a list": (_number, [1, 2]),
    "iterator of calls": (lambda: iter(iter([1, 2]).__next__, 2), [1]),
    "matches": (lambda: (each[0] for each in re.finditer("a|b", "ab")), ["a", "b"]),
    "starmap": (lambda: itertools.starmap(pow, [(2, 3)]), [8]),
    "chain": (lambda: itertools.chain([1], [2]), [1, 2]),
    "groupby": (lambda: itertools.groupby("aab"), [("a", ["a", "a"]), ("b", ["b"])]),
    "rows of a table": (lambda: csv.reader(["a,b"]), [["a", "b"]]),
    "rows of a table by name": (lambda: csv.DictReader(["a,b", "1,2"]), [{"a": "1", "b": "2"}]),
    "rows, and what else the reader tells": (_table, (["a", "b"], [{"a": "1", "b": "2"}])),
    "words of a reader with methods": (lambda: shlex.shlex("a 'b c'"), ["a", "'b c'"]),
    "iterator of a class": (lambda: _Iterator(_two()), [1, 2]),
    "async iterator of a class": (lambda: _AsyncIterator(2), [1, 2]),
    "async iterator of a coroutine": (_async_iterator_of_its_loop, [1, 2]),
    "context of a generator": (lambda: Context(_two()), [1, 2]),
    "partial": (functools.partial(_two), [1, 2]),
    "partial coroutine": (functools.partial(_fetch), "fetched"),
    "bound method": (_Called().method, [1, 2]),
    "bound async method": (_Called().async_method, [1, 2]),
    "instance": (_Called(), [1, 2]),
    "async instance": (_CalledAsync(), "fetched"),
    "wrapped generator": (_wraps(_two), [1, 2]),
    "wrapped async generator": (_wraps(_two_async), [1, 2]),
    "wrapped coroutine": (_wraps(_fetch), "fetched"),
}


def test_what_a_step_returns_is_run_to_its_end(mode: str, quiet: Config, run: Run) -> None:
    """A coroutine of any type is awaited; the value of a generator is what it yielded."""
    flow = DotFlow(config=quiet)
    for name, (function, _) in STEPS.items():
        flow.task.add(action(function), initial_context=7, name=name)
    run(flow, mode)
    told = {task.name: task.current_context.storage for task in flow.task.queue}
    assert told == {name: value for name, (_, value) in STEPS.items()}


def test_a_direct_call_runs_it_to_its_end() -> None:
    """Also where a loop runs in the calling thread."""

    async def calling() -> Any:
        return [action(_two)().storage, action(_two_async)().storage]

    assert action(_two)().storage == [1, 2]
    assert action(lambda: _OtherCoroutine(_fetch()))().storage == "fetched"
    assert asyncio.run(calling()) == [[1, 2], [1, 2]]


class _Future:
    """What runs elsewhere already, in the manner of those of clusters."""

    def __await__(self) -> Any:
        raise AssertionError("awaited")

    def add_done_callback(self, callback: Any) -> None:
        """Do nothing."""


class _Stream:
    """An iterator that is more than that: files, cursors, the streams of clients."""

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> int:
        raise AssertionError("read")

    def close(self) -> None:
        """Do nothing."""


class _AsyncStream:
    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> int:
        raise AssertionError("read")

    async def __aexit__(self, *details: object) -> None:
        """Do nothing."""


class _Sized(_Iterator):
    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    "make",
    [
        _Future,
        _Stream,
        _AsyncStream,
        lambda: _Sized(_number()),
        io.StringIO,
        lambda: sqlite3.connect(":memory:").execute("select 1"),
        lambda: os.scandir("."),
        itertools.count,
        lambda: itertools.cycle([1]),
        lambda: itertools.repeat(1),
        lambda: range(3),
        {"a": 1}.keys,
    ],
    ids=[
        *("future", "stream", "async stream", "sized", "file", "cursor", "folder"),
        *("count", "cycle", "repeat", "range", "keys"),
    ],
)
def test_what_needs_no_run_is_the_result_unchanged(make: Any, quiet: Config) -> None:
    """Futures run elsewhere; what can be read, closed or counted is read by whom it is for."""
    value = make()

    @action
    def step() -> Any:
        return value

    flow = DotFlow(config=quiet)
    flow.task.add(step)
    flow.start()
    assert flow.result_task()[0].status == "Completed"
    assert flow.result_storage()[0] is value
    for each in (value, getattr(value, "connection", None)):
        if hasattr(each, "close"):
            each.close()


class _Rows(_Iterator):
    """A class step that can be iterated as well."""

    @action
    def count(self) -> int:
        """Return a number."""
        return 5


def test_a_class_step_that_is_an_iterator(mode: str, quiet: Config, run: Run) -> None:
    """It is run by its actions, like any class step."""
    flow = DotFlow(config=quiet)
    flow.task.add(action(lambda: _Rows(_two())))
    run(flow, mode)
    [[inner]] = flow.result_storage()
    assert inner.storage == 5


def test_an_error_of_a_generator_fails_its_task(mode: str, quiet: Config, run: Run) -> None:
    """With its own name and traceback, and it is tried again as any."""

    @action(retry=2, retry_delay=0)
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("k")

    @action(retry=2, retry_delay=0)
    async def broken_async() -> AsyncIterator[int]:
        yield 1
        raise KeyError("k")

    flow: Any = DotFlow(config=quiet)
    flow.task.add([broken, broken_async])
    run(flow, mode, keep_going=True)
    for task in flow.task.queue:
        told = [(error.attempt, error.exception, error.message) for error in task.errors]
        assert told == [(1, "KeyError", "'k'"), (None, "KeyError", "'k'")]
        assert f"in {task.name}" in task.errors[-1].traceback


def test_a_generator_runs_in_the_span_of_its_task(mode: str, run: Run) -> None:
    """And so what it opens is below that."""

    @action
    def spans() -> Iterator[int]:
        yield get_current_span().get_span_context().trace_id

    @action
    async def spans_async() -> AsyncIterator[int]:
        yield get_current_span().get_span_context().trace_id

    with record_telemetry(global_tracer=False) as telemetry:
        flow: Any = DotFlow(config=telemetry.config)
        flow.task.add([spans, spans_async])
        run(flow, mode)
        telemetry.assert_balanced()
    trace_id = int(telemetry.spans[0].trace_id, 16)
    assert flow.result_storage() == [[trace_id], [trace_id]]


def test_a_late_generator_is_closed_here(in_process_mode: str, quiet: Config, run: Run) -> None:
    """At its next value, for nobody waits for it any more."""
    closed = threading.Event()

    @action(timeout=0.05)
    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
                closed.wait(0.01)
        finally:
            closed.set()

    flow = DotFlow(config=quiet)
    flow.task.add(endless)
    run(flow, in_process_mode)
    [task] = flow.task.queue
    assert (task.failure.kind, task.errors[-1].exception) == ("timeout", "TimeoutError")  # type: ignore[union-attr]
    assert closed.wait(20)


def test_a_late_async_generator_is_cancelled(
    mode: str, quiet: Config, run: Run, tmp_path: Path
) -> None:
    """Before its task has failed, in a worker too; a late generator is ended with its worker."""
    closed = tmp_path / "closed"

    @action(timeout=0.2)
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.01)
        finally:
            closed.touch()

    @action(timeout=0.2)
    def stuck() -> Iterator[int]:
        yield 1
        threading.Event().wait(20)

    flow: Any = DotFlow(config=quiet)
    flow.task.add([endless, stuck])
    run(flow, mode, keep_going=True)
    assert [task.failure.kind for task in flow.task.queue] == ["timeout", "timeout"]
    assert closed.exists()


def test_methods_of_class_steps(mode: str, quiet: Config, run: Run) -> None:
    """They may be generators, too."""

    class Pipe:
        start = 3

        @action
        def first(self) -> Iterator[int]:
            yield self.start

        @action
        async def second(self, previous_context: Context) -> AsyncIterator[int]:
            yield previous_context.storage[0] + 1

        @action
        def third(self, previous_context: Context) -> Any:
            return _OtherCoroutine(_two_later(previous_context.storage[0]))

    async def _two_later(value: int) -> int:
        return value + 2

    @action
    def build() -> Pipe:
        return Pipe()

    flow = DotFlow(config=quiet)
    flow.task.add(build)
    run(flow, mode)
    [task] = flow.task.queue
    assert [inner.storage for inner in task.current_context.storage] == [[3], [4], 6]


@action
async def gathers() -> object:
    """Return what its own loop has yet to run."""
    import asyncio

    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    return asyncio.gather(double(2), double(3))


def test_a_future_of_the_step_itself(mode: str, quiet: Config, run: Run) -> None:
    """What a coroutine step has started and returns is run to its end."""
    flow = DotFlow(config=quiet)
    flow.task.add(gathers)
    run(flow, mode)
    assert flow.result_storage() == [[4, 6]]
