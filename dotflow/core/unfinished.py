"""What a step returned that is still to be run: coroutines, generators, iterators.

They are recognised by their real types: by the methods that the interfaces of
`collections.abc` name, as far as the type itself has them. So those of compilers and wrappers
count, and a proxy, which answers for its object to any name, is left as it is.

An iterator has not run either what it is made of: `map(clean, rows)` has cleaned no row. It is
run to its end, as a generator is, unless it is more than that: what can be closed or read is a
file, a cursor or a stream, whose reader decides how much of it is read, and what has a length
or items is a collection. `itertools.count`, `cycle` and `repeat` run nothing, and have no end.

Other attributes do not matter: a `csv.DictReader` is the list of its rows, without `fieldnames`.
Left as it is, it would be read by the step after it, whose attempt fails where the file is closed
by then, or gets what the attempt before has left of the rows; and no reader can be sent to a
worker. A step of whose reader more matters than its items returns that beside them.
"""

from __future__ import annotations

from functools import partial
from itertools import count, cycle, groupby, repeat
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context
from dotflow.core.limit import current_limit
from dotflow.core.user_objects import PLAIN, defined_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    IsStep = Callable[[type], object]

_CO_ITERABLE_COROUTINE: Final = 0x100  # of `inspect`: a generator that `types.coroutine` made one

_COROUTINE: Final = ("__await__", "send", "throw", "close")
_GENERATOR: Final = ("send", "throw", "close")
_ASYNC_GENERATOR: Final = ("asend", "athrow", "aclose")

# Of streams, and of collections.
_OF_MORE: Final = ("close", "aclose", "read", "__exit__", "__aexit__", "__len__", "__getitem__")
_ENDLESS: Final = (count, cycle, repeat)


def finished(value: Any, is_step: IsStep) -> Any:
    """Run what a step returned to its end, as often as that returns something still to be run.

    Args:
        value: What it returned; a `Context` is looked into.
        is_step: Returns whether a type is of class steps: such an object runs by its actions.

    Returns:
        What a coroutine returned, the list of what a generator or an iterator yielded, any other
        value unchanged.
    """
    while True:
        kind = type(value)
        if type(kind) is type and kind in PLAIN:
            return value
        if kind is CoroutineType or _is_awaitable(kind) or _is_iterable_coroutine(value):
            from dotflow.core.coroutine import run_awaitable  # noqa: PLC0415 - asyncio is slow

            value = run_awaitable(value, partial(_yields_later, is_step=is_step))
        elif _yields_later(kind, is_step):
            from dotflow.core.coroutine import run_async_iterator  # noqa: PLC0415 - likewise

            return run_async_iterator(value)
        elif _yields(kind, is_step):
            return _run_iterator(value)
        else:
            return _with_finished(value, is_step) if kind is Context else value


def _with_finished(context: Context, is_step: IsStep) -> Context:
    value = finished(context.storage, is_step)
    if value is context.storage:
        return context
    own = Context(context)
    own.storage = value
    return own


def _yields(kind: type, is_step: IsStep) -> bool:
    if kind is GeneratorType:
        return True
    return _has(kind, ("__next__", "__iter__")) and _is_lazy(kind, _GENERATOR, is_step)


def _yields_later(kind: type, is_step: IsStep) -> bool:
    if kind is AsyncGeneratorType:
        return True
    return _has(kind, ("__anext__", "__aiter__")) and _is_lazy(kind, _ASYNC_GENERATOR, is_step)


def _is_lazy(kind: type, of_generators: Iterable[str], is_step: IsStep) -> bool:
    if _has(kind, of_generators):
        return True
    is_more = any(defined_by(kind, name) is not None for name in _OF_MORE)
    return not (is_more or issubclass(kind, _ENDLESS) or is_step(kind))


def _is_awaitable(kind: type) -> bool:
    awaits = defined_by(kind, "__await__")
    if awaits is None:
        return False
    # What is no coroutine may wrap one, unless it is a future: that runs elsewhere already.
    is_method = type(awaits) is FunctionType
    return _has(kind, _COROUTINE) or (is_method and not _has(kind, ("add_done_callback",)))


def _is_iterable_coroutine(value: Any) -> bool:
    return type(value) is GeneratorType and bool(value.gi_code.co_flags & _CO_ITERABLE_COROUTINE)


def _has(kind: type, names: Iterable[str]) -> bool:
    return all(defined_by(kind, name) is not None for name in names)


def _run_iterator(iterator: Any) -> list[Any]:
    limit = current_limit()
    items = []
    for item in _items_of(iterator):
        items.append(item)
        if limit is not None and limit.is_over:
            if defined_by(type(iterator), "close") is not None:
                iterator.close()
            break
    return items


def _items_of(iterator: Any) -> Iterator[Any]:
    if type(iterator) is groupby:
        # A group of it ends where the next one begins.
        return ((key, list(group)) for key, group in iterator)
    return iter(iterator)
