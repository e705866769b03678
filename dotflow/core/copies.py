"""Copies of what an attempt is given, so that what a step changes in it is the step's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context
from dotflow.core.user_objects import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nothing can be changed in these; a bare `object()` is known by its identity.
_IMMUTABLE: Final = frozenset({type(None), bool, int, float, complex, str, bytes, object})

# In these, in dictionaries and in contexts, what can be copied is copied although something
# beside it cannot.
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset})


def own_context(context: Context | None) -> Context | None:
    """Return a context like this one whose value is a copy; see `copy_of`."""
    if type(context) is not Context:
        copied: Context | None = copy_of(context)
        return copied
    own, value = Context(context), context.storage
    if type(value) not in _IMMUTABLE:
        own.storage = copy_of(value)
    return own


def copy_of(value: Any) -> Any:
    """Return a deep copy of a value, and for what cannot be copied the object itself.

    It is made by pickling, as for a worker, which takes a fifth of the time of
    `copy.deepcopy`; by that where something in it does not pickle (a lambda, an instance of a
    local class). In plain lists, tuples, sets, dictionaries and contexts only what cannot be
    copied either way (a generator, a lock, a connection) stays the object itself.
    """
    if is_immutable(value):
        return value
    import pickle  # noqa: PLC0415 - only where an attempt may be repeated

    protocol = pickle.HIGHEST_PROTOCOL
    # Copying runs the value's own code, and may import modules.
    copied, error = guarded(lambda: pickle.loads(pickle.dumps(value, protocol)))  # noqa: S301 - our own
    return copied if error is None else _copied_in_part(value)


def is_immutable(value: Any) -> bool:
    """Return whether a value is a plain one that nobody can change, or a tuple of such."""
    kind = type(value)
    if kind is tuple:
        return all(type(each) in _IMMUTABLE for each in value)
    return kind in _IMMUTABLE


def _copied_in_part(value: Any) -> Any:
    from copy import deepcopy  # noqa: PLC0415 - rarely needed

    # `deepcopy` takes what is in its memo as copied already.
    memo: dict[int, Any] = {}
    for leaf in _leaves(value):
        if guarded(partial(deepcopy, leaf))[1] is not None:
            memo[id(leaf)] = leaf
    copied, error = guarded(lambda: deepcopy(value, memo))
    return copied if error is None else value  # nested too deep, say


def _leaves(value: Any) -> Iterator[Any]:
    """Yield what is in plain containers, however deep, and is none itself; each object once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or is_immutable(each):
            continue
        seen.add(id(each))
        if type(each) is Context:
            waiting.append(each.storage)
        elif type(each) is dict:
            waiting += each.keys()
            waiting += each.values()
        elif type(each) in _CONTAINERS:
            waiting += each
        else:
            yield each
