"""Tests of the figures that the tests of faults count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from figures import Figures, total


def report(*counted: tuple[str, int]) -> Any:
    """Return a report of a test that counted something."""
    properties: list[tuple[str, object]] = [("other", "x")]
    figures = Figures(properties)
    for name, count in counted:
        figures.add(name, count)
    return SimpleNamespace(user_properties=properties)


def test_total() -> None:
    """The figures of all tests are summed by name, in one order; those of nobody are left out."""
    reports = [report(("double runs", 0), ("faults tried", 2)), report(("faults tried", 3))]
    assert total(reports) == {"faults tried": 5, "double runs": 0}
    assert list(total(reports)) == ["faults tried", "double runs"]


def test_unknown_name() -> None:
    """A name that is none of the figures is refused, with those that are."""
    with pytest.raises(ValueError, match="no figure is called 'fault tried': faults tried, bad"):
        report(("fault tried", 1))
