"""The bytes that a worker and its owner share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dotflow.workers.page import Page, make_page

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["memory", "file"])
def sides(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Page, Page]]:
    """Give two views of one page, of either kind that systems have."""
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = make_page()
    pages = Page(descriptor), Page(descriptor)
    os.close(descriptor)
    yield pages
    for page in pages:
        page.close()


def test_an_empty_page(sides: tuple[Page, Page]) -> None:
    """Nothing is noted of an attempt that has not arrived."""
    assert (sides[0].received(1), sides[0].begun(1)) == (None, None)


def test_all_moments_are_seen_at_the_other_side(sides: tuple[Page, Page]) -> None:
    """What one side notes the other one reads, each moment on its own."""
    sides[0].receive(7, 1.25)
    assert (sides[1].received(7), sides[1].begun(7)) == (1.25, None)
    sides[0].begin(7, 2.5)
    assert (sides[1].received(7), sides[1].begun(7), sides[1].ended(7)) == (1.25, 2.5, None)
    sides[0].end(7, 3.75)
    assert (sides[1].received(7), sides[1].begun(7), sides[1].ended(7)) == (1.25, 2.5, 3.75)


def test_an_attempt_is_not_taken_for_the_one_before(sides: tuple[Page, Page]) -> None:
    """The moments of one attempt are not those of another."""
    sides[0].receive(7, 1.0)
    sides[0].begin(7, 1.0)
    sides[0].receive(8, 2.0)
    assert (sides[1].received(7), sides[1].received(8)) == (None, 2.0)
    assert (sides[1].begun(7), sides[1].begun(8)) == (1.0, None)
