"""Pickles by value what another process cannot import: cloudpickle, and what it does not know.

Objects that the standard library's decorators make are found by their names, if at all, and hold
what belongs to one process: a cache, a lock, weak references, a generator. They are made again
where they arrive, with an empty cache.
"""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from enum import EnumType
from typing import TYPE_CHECKING, Any, Final, NewType
from weakref import WeakKeyDictionary, WeakValueDictionary

import cloudpickle

from dotflow.core.action import travels_by_value
from dotflow.workers.generators import Generators
from dotflow.workers.main_module import is_defined_in_main, note_sent, settle
from dotflow.workers.pieces import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dotflow.workers.pieces import PickleFile

    Reduced = tuple[Any, ...]

_LruCache: Final[type] = type(functools.lru_cache(lambda: None))

# The class that has what is common to those of `contextmanager`, of `asynccontextmanager` and of
# decorators like them in other libraries, such as a tracer's.
_Managers: Final[type] = type(contextmanager(lambda: iter(()))()).__mro__[1]


class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    """Pickles one value.

    Args:
        file: Where to.

    Attributes:
        generators: The generators of random numbers in it.
    """

    def __init__(self, file: PickleFile) -> None:
        super().__init__(file, PROTOCOL)
        self.generators = Generators()

    def reducer_override(self, value: Any) -> Any:
        """Return how an object is reduced."""
        reduce = _REDUCERS.get(type(value))
        if reduce is not None:
            return reduce(value)
        if issubclass(type(value), _Managers):
            return _reduced_manager(value)
        generator = self.generators.reduced(value)
        if generator is not None:
            return generator
        reduced = super().reducer_override(value)
        if type(reduced) is tuple and len(reduced) == _PARTS:
            return _settled(value, *reduced)
        return reduced


# What functions and classes are reduced to. The last part sets the state.
_PARTS: Final = 6


def _settled(
    value: Any, make: Any, given: Any, state: Any, items: Any, pairs: Any, set_state: Any
) -> Reduced:
    is_of_main = is_defined_in_main(value)
    if isinstance(value, EnumType):
        found: Mapping[str, Any] = value.__members__
        members = {name: dict(vars(member)) for name, member in found.items()}
        state, set_state = (set_state, state, members), _set_enum_state
    if isinstance(value, type):
        note_sent(value)
    elif not is_of_main:
        return make, given, state, items, pairs, set_state
    named = set_state, value.__qualname__, is_of_main, state
    return make, given, named, items, pairs, settle


# --- caches ---------------------------------------------------------------------------


def _reduced_cache(cache: Any) -> Any:
    if _is_importable(cache):
        return NotImplemented  # by its name, as it would be
    parameters = cache.cache_parameters()
    given = cache.__wrapped__, parameters["maxsize"], parameters["typed"]
    state = {name: value for name, value in vars(cache).items() if name not in _OF_CACHE}
    return _settled(cache, _cache_again, given, state, None, None, _set_attributes)


_OF_CACHE: Final = ("__wrapped__", "cache_parameters")


def _cache_again(function: Callable[..., Any], *parameters: Any) -> Any:
    return functools.lru_cache(*parameters)(function)


def _set_attributes(value: Any, attributes: dict[str, Any]) -> None:
    vars(value).update(attributes)


def _is_importable(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    if module is None or module == "__main__" or travels_by_value(module):
        return False
    return _found_by_name(value) is value


def _found_by_name(value: Any) -> Any:
    # A cached `partial` has no name.
    found: Any = sys.modules.get(getattr(value, "__module__", ""))
    for part in getattr(value, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found


def _reduced_cached_property(value: Any) -> Reduced:
    # On Python 3.11 it holds a lock.
    state = {name: each for name, each in vars(value).items() if name not in ("func", "lock")}
    return functools.cached_property, (value.func,), state


# --- weak references, as of `singledispatch` ------------------------------------------


def _reduced_weak(value: Any) -> Reduced:
    return type(value), (), None, None, iter(list(value.items()))


# --- context managers as decorators ---------------------------------------------------


def _reduced_manager(manager: Any) -> Reduced:
    try:
        function, args, keywords = manager.func, manager.args, manager.kwds
    except AttributeError:
        raise TypeError("a context manager that has been entered cannot be pickled") from None
    # The function has the name of the decorated one, which goes by name where it can; a method
    # is that of whatever its object is there, such as a tracer.
    name = getattr(function, "__name__", "")
    if args and _is_made_of(getattr(type(args[0]), name, None), function):
        return _method_called, (args[0], name, args[1:], keywords)
    maker = _found_by_name(function)
    if _is_made_of(maker, function):
        return _called, (maker, args, keywords)
    return type(manager), (function, args, keywords)


def _is_made_of(decorated: Any, function: Any) -> bool:
    return getattr(decorated, "__wrapped__", None) is function


def _called(maker: Callable[..., Any], args: Any, keywords: Any) -> Any:
    return maker(*args, **keywords)


def _method_called(instance: Any, name: str, args: Any, keywords: Any) -> Any:
    return getattr(instance, name)(*args, **keywords)


# Type checkers know it by calls with a literal name only.
_make_new_type: Final[Any] = NewType


def _reduced_new_type(value: Any) -> Any:
    # Python refers to one by its name, which a worker's main module may not have yet.
    if value.__module__ != "__main__":
        return NotImplemented
    return _new_type, (value.__name__, value.__supertype__)


def _new_type(name: str, supertype: Any) -> Any:
    made = _make_new_type(name, supertype)
    made.__module__ = "__main__"
    return made


# --- enumerations ---------------------------------------------------------------------


def _set_enum_state(kind: Any, state: Any) -> None:
    # Members are made before the class has its methods, so without what `__init__` or
    # `__new__` sets in them.
    set_state, rest, members = state
    set_state(kind, rest)
    for name, attributes in members.items():
        vars(kind[name]).update(attributes)


_REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {
    _LruCache: _reduced_cache,
    functools.cached_property: _reduced_cached_property,
    WeakKeyDictionary: _reduced_weak,
    WeakValueDictionary: _reduced_weak,
    NewType: _reduced_new_type,
}
