"""Pickles by value what another process cannot import: cloudpickle, and what it does not know.

Objects that the standard library's decorators make are found by their names, if at all, and hold
what belongs to one process: a cache, a lock, weak references, a generator. They are made again
where they arrive, with an empty cache.
"""

from __future__ import annotations

import contextlib
import functools
import os
import struct
import sys
import threading
import typing
import weakref
from collections import ChainMap, OrderedDict
from contextvars import Context, ContextVar
from enum import EnumType, member
from itertools import count
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NewType, ParamSpec, TypeVarTuple
from weakref import WeakKeyDictionary, WeakValueDictionary

import cloudpickle

from dotflow.core.action import travels_by_value
from dotflow.core.process import fork_safe_lock
from dotflow.workers.classes import reduced_class
from dotflow.workers.generators import Generators
from dotflow.workers.imports import is_defined_in_main, note_sent, settle
from dotflow.workers.pieces import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.workers.pieces import PickleFile

    Reduced = tuple[Any, ...]

_LruCache: Final[type] = type(functools.lru_cache(lambda: None))

# The class that has what is common to those of `contextmanager`, of `asynccontextmanager` and of
# decorators like them in other libraries, such as a tracer's.
_Managers: Final[type] = type(contextlib.contextmanager(lambda: iter(()))()).__mro__[1]


of_cloudpickle: Final = cloudpickle.Pickler.dispatch_table

# What cloudpickle from 3.1.3 on has in the place of a file's name.
_NO_FILE: Final = "<dynamic-code>"


def _reduced_code(code: CodeType) -> Reduced:
    # Without it no stack trace of a worker names a file, nor has the lines of one.
    make, given = of_cloudpickle[CodeType](code)
    return make, tuple(
        code.co_filename if type(part) is str and part == _NO_FILE else part for part in given
    )


class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    """Pickles one value.

    Args:
        file: Where to.

    Attributes:
        generators: The generators of random numbers in it.
    """

    dispatch_table: ClassVar[Any] = ChainMap({CodeType: _reduced_code}, of_cloudpickle)

    def __init__(self, file: PickleFile) -> None:
        super().__init__(file, PROTOCOL)
        self.generators = Generators()

    def reducer_override(self, value: Any) -> Any:
        """Return how an object is reduced."""
        reduce = _REDUCERS.get(type(value))
        if reduce is not None:
            return reduce(value)
        if issubclass(type(value), _BASES):
            return next(make(value) for base, make in _OF_BASES if isinstance(value, base))
        generator = self.generators.reduced(value)
        if generator is not None:
            return generator
        reduced = super().reducer_override(value)
        if type(reduced) is not tuple or len(reduced) != _PARTS:
            return reduced
        if isinstance(value, EnumType):
            reduced = _reduced_enum(value, *reduced)
        elif isinstance(value, type):
            reduced = reduced_class(value, reduced, _is_importable)
        return _settled(value, *reduced)


# What functions and classes are reduced to. The last part sets the state.
_PARTS: Final = 6


def _settled(
    value: Any, make: Any, given: Any, state: Any, items: Any, pairs: Any, set_state: Any
) -> Reduced:
    is_of_main = is_defined_in_main(value)
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


# --- weak references, as those of `singledispatch` ------------------------------------


def _reduced_ref(value: Any) -> Reduced:
    callback = value.__callback__
    return _ref, (type(value), value(), *(() if callback is None else (callback,)))


def _ref(kind: Any, referent: Any, *callback: Any) -> Any:
    # Of what is gone a reference is dead, too.
    return kind(_Gone().method if referent is None else referent, *callback)


class _Gone:
    def method(self) -> None:
        """Do nothing."""


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


# --- enumerations ---------------------------------------------------------------------


def _reduced_enum(value: Any, make: Any, given: Any, state: Any, *rest: Any) -> Reduced:
    members: Mapping[str, Any] = value.__members__
    attributes = {name: dict(vars(member)) for name, member in members.items()}
    values = {name: _as_member(each) for name, each in given[_MEMBERS].items()}
    given = *given[:_MEMBERS], values, *given[_MEMBERS + 1 :]
    return make, given, (rest[-1], state, attributes), *rest[:-1], _set_enum_state


# Where the values of the members are in what an enumeration is made of.
_MEMBERS: Final = 3


def _as_member(value: Any) -> Any:
    # A function in the body of an enumeration is a method, unless this is said.
    is_descriptor = any(hasattr(type(value), name) for name in ("__get__", "__set__", "__delete__"))
    return member(value) if is_descriptor else value


def _set_enum_state(kind: Any, state: Any) -> None:
    # Members are made before the class has its methods, so without what `__init__` or
    # `__new__` sets in them.
    set_state, rest, members = state
    set_state(kind, rest)
    for name, attributes in members.items():
        vars(kind[name]).update(attributes)


# --- what typing makes ----------------------------------------------------------------

# Python refers to these by their names, which a worker's main module may not have yet.


def _by_arguments(*names: str) -> Callable[[Any], Any]:
    def reduced(value: Any) -> Any:
        if value.__module__ != "__main__":
            return NotImplemented
        marked = ((name, f"__{name}__") for name in names)
        keywords = {name: getattr(value, mark) for name, mark in marked if hasattr(value, mark)}
        return _of_typing, (type(value), value.__name__, keywords)

    return reduced


def _of_typing(kind: Any, name: str, keywords: dict[str, Any]) -> Any:
    made = kind(name, **keywords)
    with contextlib.suppress(AttributeError):  # it depends on Python's version
        made.__module__ = "__main__"
    return made


# Type checkers know it by calls with a literal name only.
_make_new_type: Final[Any] = NewType


def _reduced_new_type(value: Any) -> Any:
    if value.__module__ != "__main__":
        return NotImplemented
    return _of_typing, (_make_new_type, value.__name__, {"tp": value.__supertype__})


def _part_of_parameters(name: str) -> Callable[[Any], Any]:
    return lambda value: (getattr, (value.__origin__, name))


# --- variables of contexts and threads ------------------------------------------------

# So many of them are kept that travelled last: a service may make new ones for ever, and those of
# its modules travel again and again.
_KEPT: Final = 1000

_VariableKey = tuple[int, int, str]


class _Variables:
    """The variables that have travelled, by what they are known by here and there.

    They live as long as the contexts that they are set in: the program's are made once, and here
    they are made once too. They cannot be referred to weakly, so that the oldest are forgotten: one
    that travels again after that is another one there.
    """

    def __init__(self) -> None:
        # With each whether it was set here, the one that was asked for last at the end.
        self._by_key: OrderedDict[_VariableKey, tuple[ContextVar[Any], bool]] = OrderedDict()
        self._keys: dict[int, _VariableKey] = {}
        self._numbers = count()
        self._lock = fork_safe_lock()

    def key(self, variable: ContextVar[Any]) -> _VariableKey:
        """Return what a variable is known by, from now on if it was not."""
        with self._lock:
            key = self._keys.get(id(variable))
            if key is None:
                key = os.getpid(), next(self._numbers), variable.name
                self.keep(key, variable, is_set=True)
            else:
                self._by_key.move_to_end(key)
            return key

    def get(self, key: _VariableKey) -> tuple[ContextVar[Any] | None, bool]:
        """Return the variable that is known by a key, if there is one, and whether it was set."""
        with self._lock:
            if key not in self._by_key:
                return None, False
            self._by_key.move_to_end(key)
            return self._by_key[key]

    def keep(self, key: _VariableKey, variable: ContextVar[Any], *, is_set: bool) -> None:
        """Keep a variable under a key, in place of any before it."""
        with self._lock:
            before = self._by_key.pop(key, None)
            if before is not None:
                del self._keys[id(before[0])]
            self._by_key[key] = variable, is_set
            self._keys[id(variable)] = key
            if len(self._by_key) > _KEPT:
                _, (oldest, _) = self._by_key.popitem(last=False)
                del self._keys[id(oldest)]


_variables: Final = _Variables()


def _reduced_variable(value: ContextVar[Any]) -> Reduced:
    default, found = Context().run(_value_of, value), _value_of(value)
    is_set = found != () and (default == () or found[0] is not default[0])
    given = _variables.key(value), default, is_set
    return _variable, given, found if is_set else None, None, None, _set_variable


def _value_of(variable: ContextVar[Any]) -> tuple[Any, ...]:
    try:
        return (variable.get(),)
    except LookupError:
        return ()


def _variable(key: _VariableKey, default: tuple[Any, ...], is_set: bool) -> Any:
    variable, was_set = _variables.get(key)
    # One that was set in this thread cannot be made unset.
    is_spent = was_set and not is_set and key[0] != os.getpid()
    if variable is None or is_spent:
        name = key[-1]
        variable = ContextVar(name, default=default[0]) if default else ContextVar(name)
        _variables.keep(key, variable, is_set=is_set)
    return variable


def _set_variable(variable: ContextVar[Any], found: tuple[Any]) -> None:
    variable.set(found[0])


def _reduced_local(value: Any) -> Reduced:
    # As this thread has it. An own class's `__init__` has run for it.
    return _local, (type(value),), dict(vars(value)), None, None, _set_attributes


def _local(kind: type) -> Any:
    return threading.local.__new__(kind)


# --- the tables -----------------------------------------------------------------------

# By the very type, and by a base of it.
_REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {
    _LruCache: _reduced_cache,
    functools.cached_property: _reduced_cached_property,
    weakref.ref: _reduced_ref,
    weakref.WeakMethod: _reduced_ref,
    WeakKeyDictionary: _reduced_weak,
    WeakValueDictionary: _reduced_weak,
    NewType: _reduced_new_type,
    ParamSpec: _by_arguments("bound", "covariant", "contravariant", "infer_variance", "default"),
    TypeVarTuple: _by_arguments("default"),
    # From Python 3.12 on.
    getattr(typing, "TypeAliasType", ParamSpec): _by_arguments("value", "type_params"),
    typing.ParamSpecArgs: _part_of_parameters("args"),
    typing.ParamSpecKwargs: _part_of_parameters("kwargs"),
    ContextVar: _reduced_variable,
    struct.Struct: lambda value: (struct.Struct, (value.format,)),
}
_OF_BASES: Final[Sequence[tuple[type, Callable[[Any], Any]]]] = (
    (_Managers, _reduced_manager),
    (threading.local, _reduced_local),
)
_BASES: Final = tuple(base for base, _ in _OF_BASES)
