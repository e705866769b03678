"""Doing a thing for each of many, whatever happens at one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Item = TypeVar("_Item")


def for_each(function: Callable[[_Item], object], items: Iterable[_Item]) -> None:
    """Call a function with each item.

    Raises:
        Exception: The first one that a call raised, after all of them.
    """
    first: Exception | None = None
    for item in items:
        try:
            function(item)
        except Exception as error:  # noqa: BLE001 - raised below, when the others had their turn
            first = error if first is None else first
    if first is not None:
        raise first
