"""Figures that tests of faults count, summed over the whole run and printed at its end.

A test asks for the fixture `figures` and adds what it has tried. The processes that the tests are
spread over send theirs along with their reports.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

# The order in which they are printed; any other name is refused, so that two spellings of one
# figure are not counted apart.
NAMES: Final = (
    "faults tried",
    "bad inputs tried",
    "values kept",
    "kills survived",
    "power losses survived",
    "random workflows run",
    "runs in one process",
    "bytes lost",
    "double runs",
)

_PROPERTY: Final = "figure"


class Figures:
    """What one test has counted."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def add(self, name: str, count: int) -> None:
        """Add to a figure; see `NAMES`."""
        if name not in NAMES:
            raise ValueError(f"no figure is called {name!r}: {', '.join(NAMES)}")
        self._properties.append((_PROPERTY, (name, count)))


def total(reports: Iterable[pytest.TestReport]) -> dict[str, int]:
    """Return the sums of what tests counted, in the order of `NAMES`."""
    sums: Counter[str] = Counter()
    for report in reports:
        for kind, value in report.user_properties:
            if kind == _PROPERTY and isinstance(value, list | tuple):
                sums[value[0]] += value[1]
    return {name: sums[name] for name in NAMES if name in sums}
