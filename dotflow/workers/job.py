"""An attempt as it is sent to a worker, and what is known of it there."""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.clock import monotonic
from dotflow.core.copies import is_immutable
from dotflow.core.exception import PicklingFailed
from dotflow.core.failure import TIMEOUT, Failure
from dotflow.core.limit import LimitError
from dotflow.workers.child import RUN
from dotflow.workers.kits import Kits
from dotflow.workers.pickling import dump_contexts, dump_in_pieces, dump_small, is_small
from dotflow.workers.step_store import StepStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.attempt import Attempt
    from dotflow.core.context import Context
    from dotflow.workers.kits import Kit
    from dotflow.workers.page import Page
    from dotflow.workers.step_store import PickledStep

# A coroutine is cancelled in the worker and has this long for its clean-up, in seconds.
_GRACE: Final = 0.5

_numbers = itertools.count(1)


class Job(NamedTuple):
    """An attempt on its way.

    Attributes:
        ticket: What the run calls it.
        attempt: It.
        step: Its step, pickled.
        body: The rest of it, pickled.
        number: What it is called between the run and its workers.
        kits: What it needs there besides.
        seeds: For the generators of random numbers that its step has in common with others.
        losses: How many workers have died before they had it.
    """

    ticket: int
    attempt: Attempt
    step: PickledStep
    body: Sequence[bytes]
    number: int
    kits: Sequence[Kit]
    seeds: Sequence[int] = ()
    losses: int = 0

    def head(self) -> bytes:
        """Return what is sent before its body."""
        attempt = self.attempt
        about = (
            RUN,
            self.number,
            self.step.key,
            attempt.task_id,
            attempt.number,
            attempt.name,
            self.seeds,
        )
        return pickle.dumps(about)

    @property
    def limit(self) -> float:
        """The seconds after which its worker is killed, where it has a timeout."""
        return self.attempt.timeout + (_GRACE if self.attempt.step.is_coroutine else 0)

    def is_late(self, lasted: float) -> bool:
        """Tell whether it was late, having lasted so many seconds."""
        # A coroutine is cancelled by its worker, which tells of it.
        return 0 < self.attempt.timeout < lasted and not self.attempt.step.is_coroutine

    def has_become_late(self, page: Page) -> bool:
        """Tell whether it is late by now, and so has ended its worker itself."""
        since = self.running_since(page)
        return since is not None and 0 < self.attempt.timeout <= monotonic() - since

    def running_since(self, page: Page) -> float | None:
        """Tell since when its step runs; None where that has not begun, or has ended."""
        return page.begun(self.number) if page.ended(self.number) is None else None

    def start(self, page: Page) -> float | None:
        """Tell when it began, or at least arrived whole; None where it has not."""
        begun = page.begun(self.number)
        return page.received(self.number) if begun is None else begun

    def timeout(self) -> Failure:
        """Give how it failed where it was late."""
        return Failure.of(LimitError.of(self.attempt.name, self.attempt.timeout), TIMEOUT)


class Jobs:
    """Makes jobs of the attempts of one run."""

    def __init__(self) -> None:
        self._steps = StepStore()
        self._kits = Kits()

    def make(self, ticket: int, attempt: Attempt) -> Job:
        """Make one.

        Raises:
            PicklingFailed: The step or a context of it cannot travel.
        """
        step, seeds = self._steps.seeded(attempt)
        scopes, kits = self._kits.pack(attempt.remote) if attempt.remote else ((), ())
        body = self._body(attempt, scopes)
        return Job(ticket, attempt, step, body, next(_numbers), kits, seeds)

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
            self._kits.warn()
            return body
        return dump((*given, ()), what, modules, by_name=by_name)


def _is_plain(context: Context | None) -> bool:
    return context is None or is_immutable(context.storage)


def _is_small(context: Context | None) -> bool:
    return context is None or is_small(context.storage)
