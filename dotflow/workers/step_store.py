"""The steps of one run as they travel, and which of them a worker has.

Only so much of them is kept, here and there: each of 100,000 tasks may have a step of its own,
a closure that holds megabytes.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.workers.generators import seeds_of
from dotflow.workers.pickling import being_imported, dump_step, is_found_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from dotflow.core.action import Action
    from dotflow.core.attempt import Attempt

_MOST: Final = 1_000
_MOST_BYTES: Final = 1 << 26

_keys = itertools.count(1)


class PickledStep(NamedTuple):
    """A step, pickled.

    Attributes:
        step: The step; while it is held, its `id` is nobody else's.
        key: What it is called between a run and its workers.
        data: Its pickled form.
        by_name: Whether workers can import all modules that what it gives may refer to.
        generators: The generators of random numbers that have gone along with it.
    """

    step: Action
    key: int
    data: bytes
    by_name: bool = True
    generators: Sequence[Any] = ()


class Room:
    """For a number of things, and of bytes in them all; for one of any size."""

    def __init__(self) -> None:
        self._count = self._bytes = 0

    def takes(self, size: int) -> bool:
        """Count one more, of `size` bytes; where that is too much, count it alone and say no."""
        self._count += 1
        self._bytes += size
        if self._count == 1 or (self._count <= _MOST and self._bytes <= _MOST_BYTES):
            return True
        self._count, self._bytes = 1, size
        return False


class StepStore:
    """Pickles each step once, as long as there is room for what has been pickled."""

    def __init__(self) -> None:
        self._kept: dict[int, PickledStep] = {}
        self._room = Room()
        self._by_value: dict[str, ModuleType] = {}
        self._looked_for: set[str] = set()
        # Whether each module of a step so far is imported here: looked for by name, one that is
        # not would be, and one that another thread imports would be waited for.
        self.by_name = True

    @property
    def modules(self) -> Sequence[ModuleType]:
        """Those of steps so far that the workers cannot import."""
        return tuple(self._by_value.values())

    def of(self, attempt: Attempt) -> PickledStep:
        """Return the step of an attempt.

        Raises:
            PicklingFailed: It cannot travel; says what and why.
        """
        return self.seeded(attempt)[0]

    def seeded(self, attempt: Attempt) -> tuple[PickledStep, Sequence[int]]:
        """Return the step of an attempt, and seeds for its generators where others had it before.

        Raises:
            PicklingFailed: It cannot travel; says what and why.
        """
        kept = self._kept.get(id(attempt.step))
        if kept is None:
            return self._keep(attempt), ()
        return kept, seeds_of(kept.generators) if kept.generators else ()

    def _keep(self, attempt: Attempt) -> PickledStep:
        step = attempt.step
        self._look_for(getattr(step.func, "__module__", None) or "")
        data, generators = dump_step(
            step, f"step {attempt.name}", self.modules, by_name=self.by_name
        )
        if not self._room.takes(len(data)):
            self._kept.clear()
        by_name = self.by_name and not self._by_value
        kept = PickledStep(step, next(_keys), data, by_name, generators)
        self._kept[id(step)] = kept
        return kept

    def _look_for(self, module: str) -> None:
        # Once: the search reads folders.
        if module in self._looked_for or module in ("", "__main__"):
            return
        self._looked_for.add(module)
        if module not in sys.modules:  # as one that `runpy` runs
            self.by_name = False
            return
        begun = being_imported(module)
        if begun is not None:
            self._by_value[begun] = sys.modules[begun]
            self.by_name = False
        elif not is_found_elsewhere(module):
            self._by_value[module] = sys.modules[module]


class KnownSteps:
    """The keys of the steps that a worker has."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Note that it has none."""
        self._keys: set[int] = set()
        self._room = Room()

    def __contains__(self, step: PickledStep) -> bool:
        return step.key in self._keys

    def add(self, step: PickledStep) -> bool:
        """Note that it is given a step; tell whether it can keep the others beside it."""
        keeps = self._room.takes(len(step.data))
        if not keeps:
            self._keys.clear()
        self._keys.add(step.key)
        return keeps
