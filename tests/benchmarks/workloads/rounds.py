"""Rounds of one thing within a time: what the points of the plot share. It needs no packages."""

from __future__ import annotations

import gc
import json
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST = 9


def timed_call(function: Callable[[], object]) -> float:
    """Return how many seconds a call takes, with no garbage left from before."""
    gc.collect()
    begun = perf_counter()
    function()
    return perf_counter() - begun


def within(seconds: float, measure: Callable[[], float]) -> float:
    """Return the median of at most nine measurements, after one that warms up.

    Where the time is up, no other is begun; one that took all of it is counted itself.

    Args:
        seconds: The time.
        measure: Measures once.
    """
    begun = perf_counter()
    figures = [measure()]
    while len(figures) <= _MOST and perf_counter() - begun < seconds:
        figures.append(measure())
    return median(figures[1:] or figures)


def tell_share(seconds: float, count: int) -> None:
    """Hand a run's time to the driver, as microseconds a task."""
    tell({"run": seconds * 1e6 / count})


def tell(figures: Mapping[str, float]) -> None:
    """Hand figures to the driver: one line of JSON."""
    print(json.dumps(figures))
