"""Checks of the options that all backends of metrics share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from dotflow.core.exception import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_buckets(buckets: Sequence[float]) -> None:
    """Check the upper bounds of histograms.

    Raises:
        InvalidOption: There are none, or they do not rise.
    """
    rising = all(low < high for low, high in pairwise(buckets))
    if not buckets or not rising:
        raise InvalidOption("buckets", buckets, "give upper bounds in seconds, each above the last")


def check_max_label_values(limit: int) -> None:
    """Check how many values a label may have.

    Raises:
        InvalidOption: Not even one.
    """
    if limit < 1:
        raise InvalidOption("max_label_values", limit, "give 1 or more")


def check_timeout(timeout: float) -> None:
    """Check how many seconds may be waited.

    Raises:
        InvalidOption: No time at all.
    """
    if not timeout > 0:
        raise InvalidOption("timeout", timeout, "give a number of seconds above 0")
