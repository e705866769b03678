"""The main module of a worker: a stand-in for that of the run's process.

The main module is not imported by workers. What of it travels, by value, is put here under its
name. So in a step what pickles by reference finds it: an object of a class of the script goes to
the step's own process pool, and back to the run.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    SetState = Callable[[Any, Any], object]

NAME = "__main__"


class _StandIn:
    """What has been put into the main module of this process, where that is a worker."""

    names: set[str] | None = None


def become_stand_in() -> None:
    """Note that the main module of this process is a worker's."""
    _StandIn.names = set()


def is_stand_in() -> bool:
    """Return whether the main module of this process is a worker's."""
    return _StandIn.names is not None


def renew(file: str | None, found_as: str | None) -> None:
    """Begin a run: empty the stand-in, and have children of steps find the module itself.

    Args:
        file: Its file, if any; `multiprocessing` has children import it that are not forked.
        found_as: The name that it was found by, if any, as with `python -m`.
    """
    if _StandIn.names is None:
        return
    attributes = vars(sys.modules[NAME])
    for name in _StandIn.names:
        attributes.pop(name, None)
    _StandIn.names.clear()
    attributes.pop("__file__", None)
    if file is not None:
        attributes["__file__"] = file
    # The class of module specs, which is not imported for this.
    attributes["__spec__"] = found_as and type(sys.__spec__)(found_as, None, origin=file)


def is_defined_in_main(value: Any) -> bool:
    """Return whether a function or class is found in the main module under its own name."""
    if getattr(value, "__module__", None) != NAME:
        return False
    found: Any = sys.modules.get(NAME)
    for part in str(getattr(value, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return found is value


def note_sent(value: Any) -> None:
    """Note that a class travels by value, to know it when it comes back."""
    if _received.get(id(value)) is not value:
        _sent[id(value)] = value


def settle(value: Any, state: tuple[SetState, str, bool, Any]) -> None:
    """Set the state of a definition that has just been read.

    Args:
        value: The definition.
        state: What sets the state, the qualified name, whether that leads to it in the main
            module, and the state.
    """
    set_state, name, is_of_main, rest = state
    if _sent.get(id(value)) is value:
        return  # it has come back, and stays as it is
    set_state(value, rest)
    if isinstance(value, type):
        _received[id(value)] = value
    if is_of_main and _StandIn.names is not None:
        _define(value, name, _StandIn.names)


def _define(value: Any, name: str, defined: set[str]) -> None:
    if "." not in name:
        setattr(sys.modules[NAME], name, value)
        defined.add(name)
    else:
        with contextlib.suppress(Exception):  # which a metaclass may forbid
            value.__qualname__ = name  # cloudpickle leaves out in which class a class is


# Classes by their identity: a metaclass may have them be equal, or not to be hashed.
_sent: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
_received: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
