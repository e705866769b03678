"""The bytes that a worker and its owner share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dotflow.workers.protocol import SharedState, make_shared_state

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["memory", "file"])
def sides(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[SharedState, SharedState]]:
    """Return two views of the memory, of either kind that systems have."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = make_shared_state()
    states = SharedState(descriptor), SharedState(descriptor)
    os.close(descriptor)
    yield states
    for state in states:
        state.close()


def test_memory_at_first(sides: tuple[SharedState, SharedState]) -> None:
    """Nothing is noted of an attempt that has not arrived."""
    assert sides[0].moments(1) == (None, None, None)


def test_all_moments_are_seen_at_the_other_side(sides: tuple[SharedState, SharedState]) -> None:
    """What one side notes the other one reads, each moment on its own."""
    sides[0].receive(7, 1.25)
    assert sides[1].moments(7) == (1.25, None, None)
    sides[0].begin(7, 2.5)
    assert sides[1].moments(7) == (1.25, 2.5, None)
    sides[0].end(7, 3.75)
    assert sides[1].moments(7) == (1.25, 2.5, 3.75)


def test_an_attempt_is_not_taken_for_the_one_before(sides: tuple[SharedState, SharedState]) -> None:
    """The moments of one attempt are not those of another."""
    sides[0].receive(7, 1.0)
    sides[0].begin(7, 1.0)
    sides[0].receive(8, 2.0)
    assert sides[1].moments(7) == (None, 1.0, None)
    assert sides[1].moments(8) == (2.0, None, None)
