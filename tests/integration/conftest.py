"""What the tests of whole runs share: configs whose telemetry can be read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from observed import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def observe() -> Iterator[Callable[..., Observed]]:
    """Return what makes configs to be observed, and see that nothing is left behind."""
    made: list[Observed] = []

    def make(*args: Any, **options: Any) -> Observed:
        made.append(Observed(*args, **options))
        return made[-1]

    yield make
    for each in made:
        each.tracer.check_nothing_is_left()


@pytest.fixture
def observed(observe: Callable[..., Observed]) -> Observed:
    """Return a config to be observed."""
    return observe()
