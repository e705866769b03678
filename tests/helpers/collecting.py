"""Garbage, at moments of the test's choice."""

from __future__ import annotations

import gc
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Collect what is left from before, in silence, and by itself nothing more inside.

    Finalizers fail where the collector calls them at the deepest point of a recursion, and a test
    that goes there would hear of objects of other tests.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
