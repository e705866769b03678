"""What travels of the attempts of a run to its workers: steps, inputs, scopes; each thing once.

Only so much is kept, here and there, of what was sent.
"""

from __future__ import annotations

import itertools
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.context import is_immutable
from dotflow.core.exception import PicklingFailed
from dotflow.workers.generators import seeds_of
from dotflow.workers.pickling import (
    being_imported,
    dump_contexts,
    dump_in_pieces,
    dump_or_none,
    dump_small,
    dump_step,
    is_found_elsewhere,
    is_small,
)
from dotflow.workers.protocol import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from dotflow.abc.scope import RemoteScope
    from dotflow.core.action import Action
    from dotflow.core.attempt import Attempt
    from dotflow.core.context import Context

_logger: Final = logging.getLogger("dotflow")

# How many pickled steps are kept, and how many bytes of them: each of 100,000 tasks may have a
# step of its own, a closure that holds megabytes.
MOST_STEPS: Final = 1_000
MOST_STEP_BYTES: Final = 1 << 26

_step_keys: Final = itertools.count(1)

# How many of a run are kept, here and in its workers: a tracer may make one for each attempt, where
# the application's sampler decides so. The rest goes with each attempt.
_MOST_SCOPE_DATA: Final = 256

_scope_keys: Final = itertools.count(1)

_numbers: Final = itertools.count(1)


class PickledStep(NamedTuple):
    """A step, pickled.

    Attributes:
        step: The step; while it is held, its `id` is nobody else's.
        key: What it is called between a run and its workers.
        data: Its pickled form.
        by_name: Whether workers can import all modules that what it returns may refer to.
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
        """Return whether there is room for one more, of `size` bytes; else it is now alone."""
        self._count += 1
        self._bytes += size
        if self._count == 1 or (self._count <= MOST_STEPS and self._bytes <= MOST_STEP_BYTES):
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

    def seeded(self, attempt: Attempt, key: int | None = None) -> tuple[PickledStep, Sequence[int]]:
        """Return the step of an attempt, and seeds for its generators where others had it before.

        Args:
            attempt: The attempt.
            key: What its step was called before, if it was.

        Raises:
            PicklingFailed: It cannot travel; says what and why.
        """
        kept = self._kept.get(id(attempt.step))
        if kept is None:
            return self._keep(attempt, key or next(_step_keys)), ()
        return kept, seeds_of(kept.generators) if kept.generators else ()

    def _keep(self, attempt: Attempt, key: int) -> PickledStep:
        step = attempt.step
        self._look_for(getattr(step.func, "__module__", None) or "")
        data, generators = dump_step(
            step, f"step {attempt.name}", self.modules, by_name=self.by_name
        )
        if not self._room.takes(len(data)):
            self._kept.clear()
        by_name = self.by_name and not self._by_value
        kept = PickledStep(step, key, data, by_name, generators)
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
        """Note that it gets a step; return whether it can keep the others beside it."""
        keeps = self._room.takes(len(step.data))
        if not keeps:
            self._keys.clear()
        self._keys.add(step.key)
        return keeps


class PickledScopeData(NamedTuple):
    """What the remote scopes of several attempts share, pickled; see `RemoteScope`.

    Attributes:
        key: What attempts refer to it by.
        data: Its pickled form.
        made_of: It: kept, so that its identity stays its own.
    """

    key: int
    data: bytes
    made_of: object


class ScopeStore:
    """Packs the scopes of attempts; what they share is pickled, and sent to a worker, once."""

    def __init__(self) -> None:
        self._kept: dict[int, PickledScopeData] = {}
        self._has_warned = False

    def pack(
        self, scopes: Mapping[str, RemoteScope]
    ) -> tuple[Sequence[tuple[Any, ...]], Sequence[PickledScopeData]]:
        """Return what is sent of the scopes of an attempt, and the shared data that they need."""
        sent: list[tuple[Any, ...]] = []
        needed = []
        for slot, scope in scopes.items():
            shared = self._shared_of(scope)
            if shared is not None:
                needed.append(shared)
                sent.append((slot, shared.key, scope.arguments))
                continue
            data = dump_or_none(scope)
            if data is None:
                self.warn()
            else:
                sent.append((slot, 0, data))
        return sent, needed

    def _shared_of(self, scope: RemoteScope) -> PickledScopeData | None:
        shared = scope.shared
        if shared is None:
            return None
        found = self._kept.get(id(shared))
        if found is None and len(self._kept) < _MOST_SCOPE_DATA:
            data = dump_or_none(shared)
            if data is not None:
                found = self._kept[id(shared)] = PickledScopeData(next(_scope_keys), data, shared)
        return found

    def warn(self) -> None:
        """Log, once, that scopes cannot travel."""
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("the scopes of attempts cannot be pickled; steps run without them")


class PendingAttempt(NamedTuple):
    """An attempt that waits for a worker, or runs in one.

    Attributes:
        ticket: What the run calls it.
        attempt: It.
        step: Its step, pickled.
        body: The rest of it, pickled.
        number: What it is called between the run and its workers.
        scope_data: What its scopes share with others, and need there.
        seeds: For the generators of random numbers that its step has in common with others.
        losses: How many workers have died before they had it.
    """

    ticket: int
    attempt: Attempt
    step: PickledStep
    body: Sequence[bytes]
    number: int
    scope_data: Sequence[PickledScopeData]
    seeds: Sequence[int] = ()
    losses: int = 0

    def message(self, batch: int = 0) -> Run:
        """Return what is sent before its body.

        Args:
            batch: The batch of what waits behind others there; 0: it is to begin at once.
        """
        attempt = self.attempt
        about = attempt.task_id, attempt.number, attempt.name
        return Run(self.number, self.step.key, *about, self.seeds, batch)


class AttemptEncoder:
    """Pickles the attempts of one run."""

    def __init__(self) -> None:
        self._steps = StepStore()
        self._scopes = ScopeStore()

    def encode(self, ticket: int, attempt: Attempt, key: int | None = None) -> PendingAttempt:
        """Return an attempt as it is sent.

        Args:
            ticket: What the run calls it.
            attempt: It.
            key: What its step was called before, if it was.

        Raises:
            PicklingFailed: The step or a context of it cannot travel.
        """
        step, seeds = self._steps.seeded(attempt, key)
        scopes, data = self._scopes.pack(attempt.remote) if attempt.remote else ((), ())
        body = self._body(attempt, scopes)
        return PendingAttempt(ticket, attempt, step, body, next(_numbers), data, seeds)

    def _body(self, attempt: Attempt, scopes: Sequence[object]) -> Sequence[bytes]:
        given = (attempt.initial, attempt.previous), attempt.timeout
        modules, by_name = self._steps.modules, self._steps.by_name
        if _is_small(attempt.initial) and _is_small(attempt.previous):
            small = dump_small((*given, scopes), modules)
            if small is not None:
                return (small,)
        what = f"the input of step {attempt.name}"
        # No generator of random numbers is in a text.
        is_plain = _is_plain(attempt.initial) and _is_plain(attempt.previous)
        dump = dump_in_pieces if is_plain else dump_contexts
        if scopes:
            # What telemetry sends along cannot fail a step.
            try:
                return dump((*given, scopes), what, modules, by_name=by_name)
            except PicklingFailed:
                body = dump((*given, ()), what, modules, by_name=by_name)
            self._scopes.warn()
            return body
        return dump((*given, ()), what, modules, by_name=by_name)


def _is_plain(context: Context | None) -> bool:
    return context is None or is_immutable(context.storage)


def _is_small(context: Context | None) -> bool:
    return context is None or is_small(context.storage)
