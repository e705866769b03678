"""What several tests of faults start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dotflow.providers import ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from figures import Figures


@pytest.fixture
def executor() -> Iterator[ExecutorLocal]:
    """Return a single worker of this test's own."""
    made = ExecutorLocal(workers=1)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _a_fault(figures: Figures) -> None:
    """Count each test of this folder as a fault; one that tries more adds the others itself."""
    figures.add("faults tried", 1)
