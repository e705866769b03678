"""What travels between a run and its workers, as bytes, and what keeps a value from travelling.

Functions and classes of `__main__`, closures, lambdas, and those of modules that a new
interpreter would not find, travel by value; everything else by reference.
"""

from __future__ import annotations

import pickle
import sys
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.action import Action
from dotflow.core.context import Context
from dotflow.core.exception import PicklingFailed, RunWhileReading
from dotflow.core.process import fork_safe_lock
from dotflow.core.timing import monotonic
from dotflow.core.user_objects import (
    attribute_of,
    guarded,
    name_of,
    qualified_name_of,
    repr_of,
    text_of,
)
from dotflow.workers.pieces import PROTOCOL, PickleFile, pickled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from dotflow.workers.generators import Generators
    from dotflow.workers.pieces import Reduce


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


_MAIN: Final = b"__main__"
_SMALL: Final = frozenset({int, float, bool, type(None)})

# cloudpickle keeps which modules travel by value in a global of its own.
_by_value_lock = fork_safe_lock()


def dump(
    value: Any, what: str, by_value: Sequence[ModuleType] = (), *, by_name: bool = True
) -> bytes:
    """Pickle a value for another process, in one piece; otherwise as `dump_in_pieces`."""
    return b"".join(dump_in_pieces(value, what, by_value, by_name=by_name))


def dump_step(
    step: Any, what: str, by_value: Sequence[ModuleType] = (), *, by_name: bool = True
) -> tuple[bytes, Sequence[Any]]:
    """Pickle a step; otherwise as `dump_in_pieces`.

    Returns:
        Its pickled form, and the generators of random numbers in it, which have moved on.
    """
    pieces, generators = _dump_with_generators(step, what, by_value, by_name=by_name)
    return b"".join(pieces), generators


def dump_contexts(
    contexts: Any, what: str, by_value: Sequence[ModuleType] = (), *, by_name: bool = True
) -> Sequence[bytes]:
    """Pickle what holds contexts; otherwise as `dump_in_pieces`.

    The generators of random numbers in it move on: each attempt that one is sent with draws others.
    """
    return _dump_with_generators(contexts, what, by_value, by_name=by_name)[0]


def dump_small(value: Any, by_value: Sequence[ModuleType] = ()) -> bytes | None:
    """Pickle a value that is known to be small, at less cost.

    Returns:
        Its pickled form; None where it is one for `dump_in_pieces`: it does not pickle, or
        refers to a module that the other process cannot import.
    """
    data, _ = guarded(lambda: pickle.dumps(value, PROTOCOL))
    if data is None:  # then by value, which tells the better error
        return None
    foreign = _MAIN in data or any(each.__name__.encode() in data for each in by_value)
    return None if foreign else data


def is_small(value: Any) -> bool:
    """Return whether a value is a number, a flag or None: nothing that could be large."""
    kind = type(value)
    return type(kind) is type and kind in _SMALL


def dump_in_pieces(
    value: Any,
    what: str,
    by_value: Sequence[ModuleType] = (),
    *,
    by_name: bool = True,
    has_main: bool = False,
) -> Sequence[bytes]:
    """Pickle a value for another process; large bytes in it are not copied.

    Args:
        value: The value.
        what: What it is, for the error.
        by_value: Modules that the other process cannot import.
        by_name: Whether all others that the value may refer to are imported here. Else to look
            for them would import them, and run what they do then.
        has_main: Whether the other process has what the main module of this one defines.

    Raises:
        PicklingFailed: It cannot travel; says what and why.
    """
    if is_small(value):  # as most steps give
        return (pickle.dumps(value, PROTOCOL),)
    pieces, error = guarded(lambda: _dumped(value, by_value, by_name=by_name, has_main=has_main))
    if pieces is None:
        raise _failed(value, what, by_value, error) from error
    return pieces


def _described(error: BaseException | None) -> str:
    text = text_of(error)
    return f"{name_of(type(error))}: {text}" if text else name_of(type(error))


def _failed(
    value: Any, what: str, by_value: Sequence[ModuleType], error: BaseException | None
) -> PicklingFailed:
    part = unpicklable_part(value, lambda each: _travels(each, by_value))
    blamed = "" if part is None else f" because of {part}"
    return PicklingFailed(
        f"{what} cannot travel to another process{blamed}: {_described(error)}. "
        "Make it inside the step, or pass what it is made from."
    )


def _dumped(
    value: Any,
    by_value: Sequence[ModuleType] = (),
    *,
    by_name: bool = True,
    has_main: bool = False,
) -> Sequence[bytes]:
    main = () if has_main else (_MAIN,)
    pieces = _dump_by_reference(value, by_value, main) if by_name else None
    return _dump_by_value(value, by_value)[0] if pieces is None else pieces


def _dump_with_generators(
    value: Any, what: str, by_value: Sequence[ModuleType], *, by_name: bool
) -> tuple[Sequence[bytes], Sequence[Any]]:
    from dotflow.workers.generators import Generators  # noqa: PLC0415 - a worker needs it rarely

    def dumped() -> tuple[Sequence[bytes], Generators]:
        generators = Generators()
        reduced = generators.reduced
        pieces = _dump_by_reference(value, by_value, (_MAIN,), reduced) if by_name else None
        return _dump_by_value(value, by_value) if pieces is None else (pieces, generators)

    found, error = guarded(dumped)
    if found is None:
        raise _failed(value, what, by_value, error) from error
    pieces, generators = found
    return pieces, generators.moved_on()


def _travels(value: Any, by_value: Sequence[ModuleType]) -> bool:
    return guarded(lambda: _dump_by_value(value, by_value))[1] is None


def _dump_by_reference(
    value: Any,
    by_value: Sequence[ModuleType],
    others: Sequence[bytes],
    reduced: Reduce | None = None,
) -> Sequence[bytes] | None:
    # The plain pickler is many times as fast, but it refers to `__main__`, which the other
    # process may not have. Such a reference holds the module's name, so looking for the
    # name finds every one, the first before much is done; a text that holds it by chance
    # only costs time.
    names = (*others, *(module.__name__.encode() for module in by_value))
    try:
        return pickled(value, names, reduced)
    except Exception:  # noqa: BLE001 - then by value, which tells the better error
        return None


def _dump_by_value(
    value: Any, by_value: Sequence[ModuleType]
) -> tuple[Sequence[bytes], Generators]:
    # Slow to import, and often not needed.
    import cloudpickle  # noqa: PLC0415

    from dotflow.workers.by_value import Pickler  # noqa: PLC0415

    file = PickleFile()
    pickler = Pickler(file)
    with _by_value_lock:
        for module in by_value:
            cloudpickle.register_pickle_by_value(module)
        try:
            pickler.dump(value)
        finally:
            for module in by_value:
                cloudpickle.unregister_pickle_by_value(module)
    return file.pieces, pickler.generators


# Said where it is read back: in a worker, of the worker.
_ABSENT: Final = ". It must be importable there too; what your main module defines travels whole."


def load_step(data: bytes | memoryview, what: str, seeds: Sequence[int]) -> Any:
    """Unpickle a step, with seeds for its generators of random numbers; otherwise as `load`."""
    from dotflow.workers.generators import seeded  # noqa: PLC0415 - rarely needed in a worker

    with seeded(seeds):
        return load(data, what)


def load(data: bytes | memoryview, what: str) -> Any:
    """Unpickle what another process sent.

    Raises:
        PicklingFailed: It cannot be read back; says what and why.
    """
    try:
        return pickle.loads(data)  # noqa: S301 - from our own child or parent
    except RunWhileReading:
        raise  # it says what to do
    except Exception as error:  # noqa: BLE001 - of any kind
        failed: BaseException | None = error
    except BaseException:
        # Where it is the object's own, and not Ctrl-C, the object raises it again.
        _, failed = guarded(lambda: pickle.loads(data))  # noqa: S301 - as above
        if failed is None:
            raise
    hint = _ABSENT if issubclass(type(failed), ImportError) else ""
    raise PicklingFailed(
        f"{what} cannot be read back from its pickled form: {_described(failed)}{hint}"
    ) from failed


def dump_or_none(value: Any, *, by_name: bool = True, has_main: bool = False) -> bytes | None:
    """Pickle what is nice to have, as `dump_in_pieces`; None where it cannot travel."""
    return guarded(lambda: b"".join(_dumped(value, by_name=by_name, has_main=has_main)))[0]


def load_or_none(data: bytes | memoryview | None) -> Any:
    """Unpickle what is nice to have; None where there is nothing or it cannot be read."""
    if data is None:
        return None
    try:
        return load(data, "it")
    except (PicklingFailed, RunWhileReading):
        return None


def being_imported(module_name: str) -> str | None:
    """Return the package of a module, or the module, that is still being imported, if one is.

    Where it has started a run, another process that imports it would start that run again.
    """
    parts = module_name.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        module = sys.modules.get(name)
        # In any thread; the name is private, and what an import asks itself for its locks.
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            return name
        if module is not None and _runs_in_this_thread(module):
            return name
    return None


def _runs_in_this_thread(module: ModuleType) -> bool:
    # Also one that is loaded again, or by other means than an import.
    attributes = getattr(module, "__dict__", None)
    frame = sys._getframe()  # noqa: SLF001 - as `inspect` does, which is slow to import
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals is attributes and frame.f_code.co_name == "<module>":
            return True
    return False


def is_found_elsewhere(module_name: str) -> bool:
    """Return whether a new interpreter with the same `sys.path` finds the module."""
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
