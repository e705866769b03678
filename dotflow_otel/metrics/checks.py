"""Checks of the options that all backends of metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isnan
from numbers import Real
from typing import TYPE_CHECKING

from dotflow.core.checks import check_method
from dotflow.core.exception import InvalidOption

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def check_buckets(buckets: Sequence[float]) -> None:
    """Check the upper bounds of histograms.

    Raises:
        InvalidOption: They are no sequence of numbers, there are none, or they do not rise.
    """
    # Of other types some are empty at the second reading, some in no order.
    numbers = _is_listing(buckets) and all(map(_is_number, buckets))
    if not numbers or not buckets or not all(low < high for low, high in pairwise(buckets)):
        raise InvalidOption("buckets", buckets, "give upper bounds in seconds, each above the last")


def check_registry(registry: CollectorRegistry | None, method: str) -> None:
    """Check a registry of prometheus-client, or None.

    Raises:
        InvalidOption: It has not the method that is needed of it.
    """
    if registry is not None:
        hint = "give a registry of prometheus-client, as CollectorRegistry(), or None for its own"
        check_method("registry", registry, method, hint)


def _is_listing(buckets: object) -> bool:
    return isinstance(buckets, Sequence) and not isinstance(buckets, (str, bytes, bytearray))


def _is_number(bound: object) -> bool:
    return isinstance(bound, Real) and not isinstance(bound, bool) and not isnan(bound)
