"""In which order a parallel run tells of ended attempts and begins others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.abc.executor import Executor, Session
from dotflow.abc.log import Log
from dotflow.core.attempt import perform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.attempt import Attempt, Outcome


@action
def good() -> int:
    """Return 1."""
    return 1


@action
def bad() -> None:
    """Fail."""
    raise ValueError("bad")


class OneByOne(Executor, Session):
    """Performs one attempt at a time, here, and notes what it is given and told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.given: list[tuple[int, Attempt]] = []

    def session(self) -> Session:
        """Return itself."""
        return self

    def has_room(self) -> bool:
        """Return whether it has nothing."""
        return not self.given

    def submit(self, ticket: int, attempt: Attempt) -> None:
        """Note what is given."""
        self.seen.append(f"begin {attempt.name}")
        self.given.append((ticket, attempt))

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        """Perform it."""
        ticket, attempt = self.given.pop()
        return [(ticket, perform(attempt))]

    def close(self) -> None:
        """Do nothing."""


class Noting(Log):
    """Notes what completed and failed."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def info(self, **kwargs: Any) -> None:
        """Note what completed."""
        if kwargs["task"].status == "Completed":
            self.seen.append(f"told {kwargs['task'].name}")

    def error(self, **kwargs: Any) -> None:
        """Note what failed."""
        self.seen.append(f"told {kwargs['task'].name}")

    warning = debug = info


def _seen(*groups: tuple[Any, ...]) -> list[str]:
    executor = OneByOne()
    flow = DotFlow(config=Config(executor=executor, log=Noting(executor.seen)))
    for number, steps in enumerate(groups):
        for place, step in enumerate(steps):
            flow.task.add(step, group_name=f"g{number}", name=f"{number}.{place}")
    flow.start(mode="parallel")
    return executor.seen


def test_a_worker_gets_its_next_attempt_first() -> None:
    """Where a chain has completed, its worker need not wait until that is told."""
    assert _seen((good,), (good,), (good,)) == [
        "begin 0.0", "begin 1.0", "told 0.0", "begin 2.0", "told 1.0", "told 2.0",
    ]  # fmt: skip


@pytest.mark.parametrize("step", [good, bad])
def test_what_follows_in_a_chain_comes_before_new_chains(step: Any) -> None:
    """A chain that has begun goes on before another begins; so few are under way at a time."""
    seen = _seen((step, good), (good,))
    after = ["begin 0.1", "begin 1.0"] if step is good else ["begin 1.0"]
    assert seen[:2] == ["begin 0.0", "told 0.0"]
    assert [each for each in seen[2:] if each.startswith("begin")] == after
