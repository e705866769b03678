"""Where the code of a step stands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from dotflow_otel.conventions import CODE_FILE, CODE_FUNCTION, CODE_LINE, TASK_TIMEOUT
from dotflow_otel.plain import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotflow.core.action import Action

_MAX_WRAPPERS: Final = 32


def step_attributes(step: Action) -> Mapping[str, str | int | float]:
    """Give the attributes that are the same for every task of a step."""
    return {**code_attributes(step), TASK_TIMEOUT: float(step.timeout)}


def code_attributes(step: Action) -> Mapping[str, str | int | float]:
    """Give the attributes that tell where the code of a step, or of a method of it, stands."""
    return _location(step.func)


def _location(function: Any) -> dict[str, str | int | float]:
    function = _unwrapped(function)
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)):
        return {}
    location: dict[str, str | int | float] = {CODE_FUNCTION: printable(f"{module}.{name}")}
    file, line = _place_of_class(function) if isinstance(function, type) else _place(function)
    if file is not None:
        location[CODE_FILE] = printable(file)
    if line is not None:
        location[CODE_LINE] = line
    return location


def _unwrapped(function: Any) -> Any:
    # A limit, because an object may answer to any name with itself.
    for _ in range(_MAX_WRAPPERS):
        inner = getattr(function, "__wrapped__", None)
        if inner is None:
            break
        function = inner
    return function


def _place(function: Any) -> tuple[str | None, int | None]:
    code = getattr(function, "__code__", None)
    return (None, None) if code is None else (code.co_filename, code.co_firstlineno)


def _place_of_class(kind: type) -> tuple[str | None, int | None]:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    # Python before 3.13 does not know a class's line; the first of its methods is inside.
    lines = [line for _, line in map(_place, map(_unwrapped, vars(kind).values())) if line]
    line = getattr(kind, "__firstlineno__", None) or min(lines, default=None)
    return file, line
