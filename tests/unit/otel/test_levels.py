"""The levels of logging in a worker that several applications use."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING

import pytest

from dotflow_otel.relay.levels import LevelsHere

if TYPE_CHECKING:
    from collections.abc import Iterator

# Disabled up to, by logger, structlog's.
QUIET = pickle.dumps((10, {"": 30, "noisy": 40, "app": 10}, 30))
CURIOUS = pickle.dumps((0, {"": 20, "app.db": 30}, 10))


@pytest.fixture
def here() -> Iterator[LevelsHere]:
    """Give what sets the levels, and set them back."""
    root = logging.root.level
    yield LevelsHere()
    logging.disable(logging.NOTSET)
    logging.root.setLevel(root)
    for name in ("noisy", "app", "app.db"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def begun(here: LevelsHere, levels: bytes) -> bool:
    """Begin with levels as an attempt does; tell whether they were set anew."""
    is_new = here.begin(levels)
    if is_new:
        here.apply()
    return is_new


def levels() -> dict[str, int]:
    """Give the levels that are set."""
    return {name: logging.getLogger(name).level for name in ("", "noisy", "app", "app.db")}


def test_levels_of_one_application(here: LevelsHere) -> None:
    """Its levels are set as it has them, and once."""
    assert begun(here, QUIET)
    assert levels() == {"": 30, "noisy": 40, "app": 10, "app.db": 0}
    assert (logging.root.manager.disable, here.structlogs) == (10, 30)
    here.end(QUIET)
    assert not begun(here, QUIET)


def test_levels_of_two_at_the_same_time(here: LevelsHere) -> None:
    """Each logger has the lower one of what the two would have, so that neither misses a record."""
    begun(here, QUIET)
    assert begun(here, CURIOUS)
    assert levels() == {"": 20, "noisy": 20, "app": 10, "app.db": 10}
    assert (logging.root.manager.disable, here.structlogs) == (0, 10)
    assert not begun(here, QUIET)


def test_levels_of_the_next_one(here: LevelsHere) -> None:
    """When one has ended the other's count alone, with the next attempt."""
    begun(here, QUIET)
    begun(here, CURIOUS)
    here.end(QUIET)
    assert levels()["app"] == 10
    assert begun(here, CURIOUS)
    assert levels() == {"": 20, "noisy": 0, "app": 0, "app.db": 30}
    assert (logging.root.manager.disable, here.structlogs) == (0, 10)
