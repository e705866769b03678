"""Variables of the environment that OpenTelemetry is not to see for a while.

`os.environ` is the whole process's, and its children's: it stays as it is. OpenTelemetry's modules
look a variable up by a constant with its name, and that has another value meanwhile; in a module
that is first imported meanwhile as well.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Final

from dotflow.core.process import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Where OpenTelemetry's modules take the constants from.
_CONSTANTS: Final = (
    "opentelemetry.environment_variables",
    "opentelemetry.sdk.environment_variables",
)
_HIDDEN: Final = "__HIDDEN"
_renaming: Final = fork_safe_lock()

# How many hide each of them at this moment.
_hidden: Final[Counter[str]] = Counter()


@contextmanager
def hidden_variables(names: Iterable[str]) -> Iterator[None]:
    """Hide variables from OpenTelemetry, in all threads of this process."""
    hidden = [name for name in names if name in os.environ]
    if hidden:
        # Made first, they are set back last.
        for module in _CONSTANTS:
            import_module(module)
    _count(hidden, 1)
    try:
        yield
    finally:
        _count(hidden, -1)


def is_hidden(name: str) -> bool:
    """Return whether a variable is hidden at this moment."""
    return _hidden[name] > 0


def _count(names: list[str], one: int) -> None:
    with _renaming:
        for name in names:
            was_hidden = is_hidden(name)
            _hidden[name] += one
            if is_hidden(name) != was_hidden:
                other = f"{name}{_HIDDEN}"
                _rename(*((other, name) if was_hidden else (name, other)))


def _rename(name: str, other: str) -> None:
    plain = name.removesuffix(_HIDDEN)
    # Modules may be imported by other threads meanwhile.
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("opentelemetry"):
            constants = vars(module)
            for constant in (plain, f"_{plain}"):
                if constants.get(constant) == name:
                    constants[constant] = other
