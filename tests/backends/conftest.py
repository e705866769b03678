"""Real backends, each in a folder of the test's own and ended with it."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import pytest
from backends.prometheus import Prometheus
from backends.pushgateway import Pushgateway
from backends.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def _collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect what a file of storages leaves: the sessions of s3fs and gcsfs warn as they go.

    A later test would hear that, in whatever it does then.
    """
    yield
    if request.path.name.startswith("test_storage"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """Return a Prometheus that scrapes nothing yet."""
    with Prometheus(tmp_path / "prometheus") as server:
        yield server


@pytest.fixture
def pushgateway(tmp_path: Path) -> Iterator[Pushgateway]:
    """Return an empty Pushgateway."""
    with Pushgateway(tmp_path / "pushgateway") as server:
        yield server


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Return a webhook that has received nothing."""
    with Webhook() as receiver:
        yield receiver
