"""What travels between a run and its workers, as bytes.

Functions and classes of `__main__`, closures, lambdas, and those of modules that a new
interpreter would not find, travel by value; everything else by reference.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import PicklingFailed
from dotflow.core.locks import fork_safe_lock
from dotflow.core.user_objects import guarded, name_of, text_of
from dotflow.workers.culprit import culprit
from dotflow.workers.pieces import PROTOCOL, PickleFile, pickled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_SMALL: Final = frozenset({int, float, bool, type(None)})

# cloudpickle keeps which modules travel by value in a global of its own.
_by_value_lock = fork_safe_lock()


def dump(value: Any, what: str, by_value: Sequence[ModuleType] = ()) -> bytes:
    """Pickle a value for another process, in one piece; otherwise as `dump_in_pieces`."""
    return b"".join(dump_in_pieces(value, what, by_value))


def dump_small(value: Any, by_value: Sequence[ModuleType] = ()) -> bytes | None:
    """Pickle a value that is known to be small, at less cost.

    Returns:
        Its pickled form; None where it is one for `dump_in_pieces`: it does not pickle, or
        refers to a module that the other process cannot import.
    """
    data, _ = guarded(lambda: pickle.dumps(value, PROTOCOL))
    if data is None:  # then by value, which tells the better error
        return None
    foreign = b"__main__" in data or any(each.__name__.encode() in data for each in by_value)
    return None if foreign else data


def is_small(value: Any) -> bool:
    """Tell whether a value is a number, a flag or None: nothing that could be large."""
    kind = type(value)
    return type(kind) is type and kind in _SMALL


def dump_in_pieces(value: Any, what: str, by_value: Sequence[ModuleType] = ()) -> Sequence[bytes]:
    """Pickle a value for another process; large bytes in it are not copied.

    Args:
        value: The value.
        what: What it is, for the error.
        by_value: Modules that the other process cannot import.

    Raises:
        PicklingFailed: It cannot travel; says what and why.
    """
    if is_small(value):  # as most steps give
        return (pickle.dumps(value, PROTOCOL),)
    pieces, error = guarded(lambda: _dumped(value, by_value))
    if pieces is not None:
        return pieces
    part = culprit(value, lambda each: _travels(each, by_value))
    blamed = "" if part is None else f" because of {part}"
    raise PicklingFailed(
        f"{what} cannot travel to another process{blamed}: {_described(error)}. "
        "Make it inside the step, or pass what it is made from."
    ) from error


def _described(error: BaseException | None) -> str:
    return f"{name_of(type(error))}: {text_of(error)}"


def _dumped(value: Any, by_value: Sequence[ModuleType]) -> Sequence[bytes]:
    pieces = _dump_by_reference(value, by_value)
    return _dump_by_value(value, by_value) if pieces is None else pieces


def _travels(value: Any, by_value: Sequence[ModuleType]) -> bool:
    return guarded(lambda: _dump_by_value(value, by_value))[1] is None


def _dump_by_reference(value: Any, by_value: Sequence[ModuleType]) -> Sequence[bytes] | None:
    # The plain pickler is many times as fast, but it refers to `__main__`, which the other
    # process does not have. Such a reference holds the module's name, so looking for the
    # name finds every one, the first before much is done; a text that holds it by chance
    # only costs time.
    names = (b"__main__", *(module.__name__.encode() for module in by_value))
    try:
        return pickled(value, names)
    except Exception:  # noqa: BLE001 - then by value, which tells the better error
        return None


def _dump_by_value(value: Any, by_value: Sequence[ModuleType]) -> Sequence[bytes]:
    import cloudpickle  # noqa: PLC0415 - slow to import, and often not needed

    file = PickleFile()
    with _by_value_lock:
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
        try:
            cloudpickle.dump(value, file, PROTOCOL)
        finally:
            for module in by_value:
                cloudpickle.unregister_pickle_by_value(module)
    return file.pieces


# Said where it is read back: in a worker, of the worker.
_ABSENT: Final = ". It must be importable there too; what your main module defines travels whole."


def load(data: bytes | memoryview, what: str) -> Any:
    """Unpickle what another process sent.

    Raises:
        PicklingFailed: It cannot be read back; says what and why.
    """
    value, error = guarded(lambda: pickle.loads(data))  # noqa: S301 - from our own child or parent
    if error is not None:
        hint = _ABSENT if issubclass(type(error), ImportError) else ""
        raise PicklingFailed(
            f"{what} cannot be read back from its pickled form: {_described(error)}{hint}"
        ) from error
    return value


def dump_or_none(value: Any) -> bytes | None:
    """Pickle what is nice to have; None where it cannot travel."""
    return guarded(lambda: b"".join(_dumped(value, ())))[0]


def load_or_none(data: bytes | memoryview | None) -> Any:
    """Unpickle what is nice to have; None where there is nothing or it cannot be read."""
    if data is None:
        return None
    try:
        return load(data, "it")
    except PicklingFailed:
        return None


def is_found_elsewhere(module_name: str) -> bool:
    """Tell whether a new interpreter with the same `sys.path` finds the module."""
    module = sys.modules.get(module_name)
    if module is None or module_name == "__main__":
        return True
    path: Any = None
    found = None
    parts = module_name.split(".")
    for depth in range(1, len(parts) + 1):
        found = _spec_of(".".join(parts[:depth]), path)
        if found is None:
            return False
        path = found.submodule_search_locations
    origin = getattr(module, "__file__", None)
    return origin is None or found is None or found.origin == origin


def _spec_of(name: str, path: Any) -> Any:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find and find(name, path)
        if spec is not None:
            return spec
    return None
