"""The levels of logging in a worker that several applications use."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING

import pytest

from dotflow_otel.relay.structlogs import LevelsHere

if TYPE_CHECKING:
    from collections.abc import Iterator

# Disabled up to, by logger, structlog's.
QUIET = pickle.dumps((10, {"": 30, "noisy": 40, "app": 10}, 30))
CURIOUS = pickle.dumps((0, {"": 20, "app.db": 30}, 10))


@pytest.fixture
def here() -> Iterator[LevelsHere]:
    """Return what sets the levels, and set them back."""
    root = logging.root.level
    yield LevelsHere()
    logging.disable(logging.NOTSET)
    logging.root.setLevel(root)
    for name in ("noisy", "app", "app.db"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def changed(here: LevelsHere, *levels: bytes) -> bool:
    """Have these levels count; tell whether they were set anew."""
    is_new = here.change(frozenset(levels))
    if is_new:
        here.apply()
    return is_new


def levels() -> dict[str, int]:
    """Return the levels that are set."""
    return {name: logging.getLogger(name).level for name in ("", "noisy", "app", "app.db")}


def test_levels_of_one_application(here: LevelsHere) -> None:
    """Its levels are set as it has them, and once."""
    assert changed(here, QUIET)
    assert levels() == {"": 30, "noisy": 40, "app": 10, "app.db": 0}
    assert (logging.root.manager.disable, here.structlogs) == (10, 30)
    assert not changed(here, QUIET)


def test_levels_of_two_at_the_same_time(here: LevelsHere) -> None:
    """Each logger has the lower one of what the two would have, so that neither misses a record."""
    assert changed(here, QUIET, CURIOUS)
    assert levels() == {"": 20, "noisy": 20, "app": 10, "app.db": 10}
    assert (logging.root.manager.disable, here.structlogs) == (0, 10)
    assert not changed(here, CURIOUS, QUIET)


def test_levels_of_the_next_one(here: LevelsHere) -> None:
    """When one has ended the other's count alone, and what that one set is undone."""
    changed(here, QUIET, CURIOUS)
    assert changed(here, CURIOUS)
    assert levels() == {"": 20, "noisy": 0, "app": 0, "app.db": 30}
    assert (logging.root.manager.disable, here.structlogs) == (0, 10)
