"""One book of series for each registry or meter provider, so that instances share it."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakKeyDictionary

from dotflow.core.exception import InvalidOption
from dotflow_otel.labels import BoundedLabels
from dotflow_otel.series import SeriesBook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dotflow_otel.instruments import Instruments

Home = TypeVar("Home")


class Books(Generic[Home]):
    """Keeps the book of each home for as long as that lives.

    Args:
        make: Makes the instruments of a home, with histograms of these buckets.
    """

    def __init__(self, make: Callable[[Home, Sequence[float]], Instruments]) -> None:
        self._make = make
        self._books: WeakKeyDictionary[Home, SeriesBook] = WeakKeyDictionary()
        self._lock = Lock()

    def of(self, home: Home, buckets: Sequence[float], max_label_values: int) -> SeriesBook:
        """Give the book of a home; the first caller's buckets and bounds are everyone's.

        Raises:
            InvalidOption: The buckets do not rise, or no label value is allowed.
        """
        _check(buckets, max_label_values)
        with self._lock:
            found = self._books.get(home)
            if found is None:
                instruments = self._make(home, buckets)
                found = self._books[home] = SeriesBook(instruments, BoundedLabels(max_label_values))
            return found


def _check(buckets: Sequence[float], max_label_values: int) -> None:
    rising = all(low < high for low, high in pairwise(buckets))
    if not buckets or not rising:
        raise InvalidOption("buckets", buckets, "give upper bounds in seconds, each above the last")
    if max_label_values < 1:
        raise InvalidOption("max_label_values", max_label_values, "give 1 or more")
