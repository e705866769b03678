"""Generators of random numbers that travel with a step.

In the run's process steps that share a generator draw one number after the other. In workers each
attempt has a copy: the first one goes on from the generator's state, each further one from a seed
that is drawn from it. Here the generator moves on as well, so a later run has other numbers; with
the same seed a program has the same ones, in the order in which its attempts are submitted.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BITS: Final = 128


class Generators:
    """Those that were met in one value, in the order in which they were."""

    def __init__(self) -> None:
        self._found: list[Any] = []
        # Whoever has made one has imported the module.
        random = sys.modules.get("random")
        self._seeded: Any = getattr(random, "Random", None)
        self._of_system: Any = getattr(random, "SystemRandom", None)

    def reduced(self, value: Any) -> tuple[Any, ...] | None:
        """Return how an object is reduced, where it is a generator."""
        if self._seeded is None:
            return None
        if type(value) is self._of_system:
            return self._of_system, ()  # it has no state
        if type(value) is not self._seeded:
            return None
        self._found.append(value)
        return _again, (self._seeded, len(self._found) - 1, value.getstate())

    def moved_on(self) -> Sequence[Any]:
        """Return them, moved on from the states in which they have travelled."""
        for each in self._found:
            each.seed(each.getrandbits(_BITS))
        return tuple(self._found)


def seeds_of(generators: Sequence[Any]) -> tuple[int, ...]:
    """Draw a seed from each generator."""
    return tuple(each.getrandbits(_BITS) for each in generators)


class _Thread(threading.local):
    seeds: Sequence[int] = ()


_thread: Final = _Thread()


@contextlib.contextmanager
def seeded(seeds: Sequence[int]) -> Iterator[None]:
    """Give generators that are read meanwhile in this thread seeds of their own."""
    _thread.seeds = seeds
    try:
        yield
    finally:
        _thread.seeds = ()


def _again(kind: type, number: int, state: Any) -> Any:
    seeds = _thread.seeds
    if number < len(seeds):
        return kind(seeds[number])
    generator = kind(0)
    generator.setstate(state)
    return generator
