"""Generators of random numbers that travel with a step, or in its contexts.

In the run's process steps that share a generator draw one number after the other. In workers each
attempt has a copy: the first one goes on from the generator's state, each further one from a seed
that is drawn from it. Here the generator moves on as well, so a later run has other numbers; with
the same seed a program has the same ones, in the order in which its attempts are submitted.

They are those of `random` and of `numpy.random`, and of classes derived from these.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.user_objects import guarded
from dotflow.workers.pieces import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BYTES: Final = 16

# Where whoever has a generator has imported its class from.
_KINDS: Final = (
    ("random", "Random"),
    ("numpy.random", "Generator"),
    ("numpy.random", "RandomState"),
)


@functools.lru_cache(maxsize=1)
def _kinds_in(*modules: Any) -> tuple[type, ...]:
    # Whoever has a generator has imported its class.
    names = ("Random", "Generator", "RandomState")
    found = (getattr(module, name, None) for module in modules for name in names)
    return tuple(kind for kind in found if kind is not None)


# What makes an object again, its arguments, and the state.
_WITH_STATE: Final = 3


class Generators:
    """Those that were met in one value, in the order in which they were."""

    def __init__(self) -> None:
        self._found: list[Any] = []
        self._kinds = _kinds_in(sys.modules.get("random"), sys.modules.get("numpy.random"))

    def reduced(self, value: Any) -> tuple[Any, ...] | None:
        """Return how an object is reduced, where it is a generator."""
        kind = type(value)
        if not issubclass(kind, self._kinds):
            return None
        if issubclass(kind, getattr(sys.modules.get("random"), "SystemRandom", ())):
            return kind, ()  # it has no state
        reduced = value.__reduce_ex__(PROTOCOL)
        if type(reduced) is not tuple or len(reduced) > _WITH_STATE:
            return None  # it has a way of its own
        self._found.append(value)
        make, args, state = (*reduced, None)[:_WITH_STATE]
        return make, args, (len(self._found) - 1, state), None, None, _set_state

    def moved_on(self) -> Sequence[Any]:
        """Return them, moved on from the states in which they have travelled."""
        for each in self._found:
            # A class's own way to be seeded may be another one.
            guarded(lambda generator=each: _seed(generator, _seed_of(generator)))  # type: ignore[misc]
        return tuple(self._found)


def seeds_of(generators: Sequence[Any]) -> tuple[int, ...]:
    """Draw a seed from each generator."""
    return tuple(map(_seed_of, generators))


def _seed_of(generator: Any) -> int:
    draw = getattr(generator, "randbytes", None) or generator.bytes  # of numpy
    return int.from_bytes(draw(_BYTES), "little")


def _seed(generator: Any, seed: int) -> None:
    bits = getattr(generator, "bit_generator", None)
    if bits is not None:  # of numpy
        bits.state = type(bits)(seed).state
    elif hasattr(generator, "randbytes"):
        generator.seed(seed)
    else:
        generator.seed(seed % 2**32)


class _Thread(threading.local):
    seeds: Sequence[int] = ()


_thread: Final = _Thread()


@contextlib.contextmanager
def seeded(seeds: Sequence[int]) -> Iterator[None]:
    """Seed the generators that are read meanwhile in this thread."""
    _thread.seeds = seeds
    try:
        yield
    finally:
        _thread.seeds = ()


def _set_state(generator: Any, numbered: tuple[int, Any]) -> None:
    number, state = numbered
    if state is not None:
        generator.__setstate__(state)
    seeds = _thread.seeds
    if number < len(seeds):
        _seed(generator, seeds[number])
