"""Finds what keeps a value from travelling, for the error that says so."""

from __future__ import annotations

from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.action import Action
from dotflow.core.clock import monotonic
from dotflow.core.context import Context
from dotflow.core.user_objects import attribute_of, guarded, qualified_name_of, repr_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How far inside it is looked for: a value may be deep, and the first names tell most.
_DEPTH: Final = 8

# And how long: the run waits.
_SECONDS: Final = 0.2


def unpicklable_part(value: Any, travels: Callable[[Any], bool]) -> str | None:
    """Name the part of a value that cannot travel; None where it is the whole of it.

    Args:
        value: What cannot travel.
        travels: Tells whether a part of it can.
    """
    path: list[str] = []
    until = monotonic() + _SECONDS
    for _ in range(_DEPTH):
        found = _first(value, lambda part: monotonic() < until and not travels(part))
        if found is None:
            break
        label, value = found
        if label:
            path.append(f"{label} ({_kind(value)})")
    return ", ".join(path) or None


def _first(value: Any, stays: Callable[[Any], bool]) -> tuple[str, Any] | None:
    # What it is looked for in may change, or refuse to be seen.
    return guarded(lambda: next((each for each in _parts(value) if stays(each[1])), None))[0]


def _kind(value: Any) -> str:
    return qualified_name_of(type(value)).removeprefix("__main__.")


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if issubclass(kind, Action):
        yield "", value.func
    elif issubclass(kind, Context):
        yield "", value.storage
    elif kind is MethodType:
        yield "", value.__func__
        yield "its instance", value.__self__
    elif kind is FunctionType:
        yield from _parts_of_function(value)
    elif issubclass(kind, dict):
        for key, item in value.items():
            yield f"the value of {repr_of(key)}", item
    elif issubclass(kind, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            yield f"item {index}", item
    else:
        attributes = attribute_of(value, "__dict__", {})
        for name, item in attributes.items():
            yield f"the attribute {name!r}", item


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield f"the global {name!r}", function.__globals__[name]
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            yield f"the variable {name!r}", cell.cell_contents
        except ValueError:
            continue  # it has no value yet
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "a default", default


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
