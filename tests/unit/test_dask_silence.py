"""What Dask tells on the program's stderr of a cluster of ours: errors alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("distributed")

from dotflow.dask.cluster import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def level() -> Iterator[logging.Handler]:
    """A handler of Dask's log, as Dask itself installs one."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.INFO)
    logging.getLogger("distributed").addHandler(handler)
    yield handler
    logging.getLogger("distributed").removeHandler(handler)


def test_the_last_one_gives_the_levels_back(level: logging.Handler) -> None:
    """Clusters may end in any order: it is quiet as long as one is there, and then as before."""
    silence = Silence()
    silence.__enter__()
    with silence:
        assert level.level == logging.ERROR
    assert level.level == logging.ERROR
    silence.__exit__()
    assert level.level == logging.INFO
    with silence:
        assert level.level == logging.ERROR
    assert level.level == logging.INFO
