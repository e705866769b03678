"""What a step returned that is still to be run: coroutines, generators, asynchronous generators.

They are recognised by their real types: by the methods that the interfaces of
`collections.abc` name, as far as the type itself has them. So those of compilers and wrappers
count, and a proxy, which answers for its object to any name, is left as it is.
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.limit import current_limit
from dotflow.core.user_objects import PLAIN, defined_by

if TYPE_CHECKING:
    from collections.abc import Iterable

_CO_ITERABLE_COROUTINE: Final = 0x100  # of `inspect`: a generator that `types.coroutine` made one

_COROUTINE: Final = ("__await__", "send", "throw", "close")
_GENERATOR: Final = ("__iter__", "__next__", "send", "throw", "close")
_ASYNC_GENERATOR: Final = ("__aiter__", "__anext__", "asend", "athrow", "aclose")


def finished(value: Any) -> Any:
    """Run what a step returned to its end, as often as that returns something still to be run.

    Returns:
        What a coroutine returned, the list of what a generator yielded, any other value unchanged.
    """
    while True:
        kind = type(value)
        if type(kind) is type and kind in PLAIN:
            return value
        if kind is CoroutineType or _is_awaitable(kind) or _is_iterable_coroutine(value):
            from dotflow.core.coroutine import run_awaitable  # noqa: PLC0415 - asyncio is slow

            value = run_awaitable(value)
        elif kind is AsyncGeneratorType or _has(kind, _ASYNC_GENERATOR):
            from dotflow.core.coroutine import run_async_generator  # noqa: PLC0415 - likewise

            return run_async_generator(value)
        elif kind is GeneratorType or _has(kind, _GENERATOR):
            return _run_generator(value)
        else:
            return value


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


def _run_generator(generator: Any) -> list[Any]:
    limit = current_limit()
    items = []
    for item in generator:
        items.append(item)
        if limit is not None and limit.is_over:
            generator.close()
            break
    return items
