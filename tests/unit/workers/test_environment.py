"""The environment that workers get."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dotflow.workers.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class Vanishing(dict[Any, Any]):
    """Tells of a variable that is gone when its value is asked for."""

    def __iter__(self) -> Iterator[Any]:
        yield from (b"GONE", *super().__iter__())


def test_a_variable_vanishes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that another thread takes away while a run begins is left out."""
    monkeypatch.setenv("KEPT", "kept")
    expected = dict(os.environ)
    environ: Any = os.environ
    monkeypatch.setattr(environ, "_data", Vanishing(environ._data))

    environment = Surroundings.here().environment

    assert environment == expected
    assert environment["KEPT"] == "kept"
