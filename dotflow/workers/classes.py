"""Classes that travel by value: how they are made again.

A class is what it has become, so it is made without what made it: the code of its metaclass, of
its bases' `__init_subclass__` and of `__set_name__` has run where the class was defined. There it
had keywords and a body that nobody has here, and what it noted elsewhere, as in a registry, travels
with that. Its namespace is set as it is.

Only a metaclass that can be imported makes its classes itself: libraries may keep more of a class
than its namespace has. So does the `__init_subclass__` of a base that can be imported. Where these
want what only a definition has, the class is made without them as well.
"""

from __future__ import annotations

import sys
import types
from abc import ABCMeta
from contextlib import contextmanager
from functools import partial
from types import FunctionType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.process import fork_safe_lock
from dotflow.core.user_objects import mro_of, namespace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Reduced = tuple[Any, ...]

_SLOTS: Final = "__slots__"
_BASES: Final = "__orig_bases__"
_HOOK: Final = "__init_subclass__"

# What a class may have last: `ctypes` makes fields of it with regard to all else, and Python 3.13
# forgets the line at each change.
_LAST: Final = ("_fields_", "__firstlineno__")

# What a class has from the start or not at all: set later, these mean the class, not its objects.
_FIRST: Final = ("__class__", "__name__", "__bases__", "__mro__")

_silencing: Final = fork_safe_lock()


def reduced_class(value: type, reduced: Reduced, is_importable: Callable[[Any], bool]) -> Reduced:
    """Return how a class is reduced.

    Args:
        value: The class.
        reduced: How cloudpickle reduces it. What makes it is called with a metaclass, the name,
            the bases, what the namespace has from the start, and more; and has `types.new_class`
            make the class.
        is_importable: Returns whether what it is asked of is found by its name elsewhere.
    """
    make, (metaclass, name, bases, first, *more), (attributes, _), *_ = reduced
    is_of_python = _is_of_python(metaclass)
    by_itself = not is_of_python and is_importable(metaclass)
    silent = [
        each
        for each in mro_of(value)[1:]
        if _HOOK in namespace_of(each) and not _is_of_python(each) and not is_importable(each)
    ]
    slots = namespace_of(value).get(_SLOTS)
    if slots is not None and type(slots) in (str, tuple, list, dict):
        first = {**first, _SLOTS: slots}
    if _BASES in attributes:  # which `Generic` looks for
        first = {**first, _BASES: attributes[_BASES]}
    attributes = {key: each for key, each in attributes.items() if not _is_of_layout(each, value)}
    first = {**first, **{key: attributes.pop(key) for key in _FIRST if key in attributes}}
    for key in _LAST:
        if key in attributes:
            attributes[key] = attributes.pop(key)
    if is_of_python and not is_importable(metaclass):
        metaclass = None  # as those of `ctypes`, which have no name
    set_state = _set_as_written if is_of_python or by_itself else _set_past_metaclass
    # `types.new_class` takes what is no class in place of a metaclass.
    maker = partial(_made, metaclass, bases if by_itself else None, silent)
    given = maker, name, value.__bases__, first, *more
    return make, given, attributes, None, None, set_state


def _is_of_python(kind: type) -> bool:
    module = namespace_of(kind).get("__module__", "builtins")
    return str(module).partition(".")[0] in sys.stdlib_module_names and module != "__main__"


def _is_of_layout(attribute: Any, owner: type) -> bool:
    # A slot, or a field of a `ctypes` structure: made with the class.
    kind = type(attribute)
    if kind is MemberDescriptorType:
        return attribute.__objclass__ is owner
    return kind.__name__ == "CField" and kind.__module__ == "_ctypes"


def _made(
    metaclass: Any,
    written_bases: Any,
    silent: Sequence[type],
    name: str,
    bases: tuple[type, ...],
    first: dict[str, Any],
) -> type:
    if written_bases is not None:
        try:
            with _silenced(silent):
                return types.new_class(
                    name, written_bases, {"metaclass": metaclass}, lambda own: own.update(first)
                )
        except Exception:  # noqa: BLE001, S110 - then without it
            pass
    if metaclass is None:
        metaclass, *_ = types.prepare_class(name, bases)
    try:
        with _silenced(silent):
            return _made_bare(metaclass, name, bases, first)
    except Exception:  # noqa: BLE001 - of a base that can be imported
        others = (each for base in bases for each in mro_of(base))
        with _silenced([each for each in others if _HOOK in namespace_of(each)]):
            return _made_bare(metaclass, name, bases, first)


def _made_bare(metaclass: Any, name: str, bases: tuple[type, ...], first: dict[str, Any]) -> type:
    # By what of the metaclass is Python's own.
    kind: Any = next(
        each for each in mro_of(metaclass) if each is ABCMeta or _is_of_c(each.__new__)
    )
    made: type = kind.__new__(metaclass, name, bases, dict(first))
    if _is_of_c(kind.__init__):
        kind.__init__(made, name, bases, dict(first))
    return made


def _is_of_c(method: object) -> bool:
    return type(method) is not FunctionType


@contextmanager
def _silenced(owners: Sequence[type]) -> Iterator[None]:
    """Make classes below others without those' `__init_subclass__`."""
    with _silencing:
        hooks: list[tuple[type, Any]] = []
        try:
            for each in owners:
                if not _is_of_python(each):
                    hooks.append((each, namespace_of(each)[_HOOK]))
                    type.__setattr__(each, _HOOK, classmethod(_nothing))
            yield
        finally:
            for each, hook in reversed(hooks):
                type.__setattr__(each, _HOOK, hook)


def _nothing(cls: type, /, **keywords: Any) -> None:
    """Do nothing."""


def _set_as_written(value: type, attributes: dict[str, Any]) -> None:
    _set(setattr, value, attributes)


def _set_past_metaclass(value: type, attributes: dict[str, Any]) -> None:
    _set(type.__setattr__, value, attributes)


def _set(set_one: Callable[..., None], value: Any, attributes: dict[str, Any]) -> None:
    for name, each in attributes.items():
        if name == "_abc_impl":  # in its place the classes that were registered
            for registered in each:
                value.register(registered)
        else:
            set_one(value, name, each)
