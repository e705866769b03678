"""Where the code of a step stands."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.action import Action
from dotflow.core.user_objects import attribute_of, is_a, namespace_of
from dotflow_otel.conventions import CODE_FILE, CODE_FUNCTION, CODE_LINE, TASK_TIMEOUT
from dotflow_otel.plain import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_WRAPPERS: Final = 32
_METHODS: Final = (FunctionType, staticmethod, classmethod, Action)


def step_attributes(step: Action) -> Mapping[str, str | int | float]:
    """Return the attributes that are the same for every task of a step."""
    return {**code_attributes(step), TASK_TIMEOUT: float(step.timeout)}


def code_attributes(step: Action) -> Mapping[str, str | int | float]:
    """Return the attributes that tell where the code of a step, or of a method of it, stands."""
    return _location(step.func)


def _location(function: Any) -> dict[str, str | int | float]:
    function = _unwrapped(function)
    module = attribute_of(function, "__module__")
    name = attribute_of(function, "__qualname__")
    if not (type(module) is str and type(name) is str):
        return {}
    location: dict[str, str | int | float] = {CODE_FUNCTION: printable(f"{module}.{name}")}
    file, line = _place_of_class(function) if is_a(function, type) else _place(function)
    if file is not None:
        location[CODE_FILE] = printable(file)
    if line is not None:
        location[CODE_LINE] = line
    return location


def _unwrapped(function: Any) -> Any:
    # A limit, because an object may answer to any name with itself.
    for _ in range(_MAX_WRAPPERS):
        inner = attribute_of(function, "__wrapped__")
        if inner is None:
            break
        function = inner
    return function


def _place(function: Any) -> tuple[str | None, int | None]:
    code = attribute_of(function, "__code__")
    return (code.co_filename, code.co_firstlineno) if type(code) is CodeType else (None, None)


def _place_of_class(kind: type) -> tuple[str | None, int | None]:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    # Python before 3.13 does not know a class's line; the first of its methods is inside.
    # Other attributes may be lazy ones, which are not to be evaluated.
    own = (each for each in namespace_of(kind).values() if type(each) in _METHODS)
    lines = [line for _, line in map(_place, map(_unwrapped, own)) if line]
    line = getattr(kind, "__firstlineno__", None) or min(lines, default=None)
    return file, line
