"""The environment that workers get."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dotflow.workers.environment import ProcessEnvironment, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class Vanishing(dict[Any, Any]):
    """Describe a variable that is gone when its value is asked for."""

    def __iter__(self) -> Iterator[Any]:
        yield from (b"GONE", *super().__iter__())


def test_a_variable_vanishes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that another thread takes away while a run begins is left out."""
    monkeypatch.setenv("KEPT", "kept")
    expected = dict(os.environ)
    environ: Any = os.environ
    monkeypatch.setattr(environ, "_data", Vanishing(environ._data))  # noqa: SLF001 - `os` keeps the variables there

    environment = ProcessEnvironment.here().environment

    assert environment == expected
    assert environment["KEPT"] == "kept"


def test_variables_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read again when one has changed, has gone, or all are others."""
    monkeypatch.setenv("ONE", "1")
    assert (environment()["ONE"], environment() is environment()) == ("1", True)
    monkeypatch.setenv("ONE", "2")
    assert environment()["ONE"] == "2"
    monkeypatch.delenv("ONE")
    assert "ONE" not in environment()
    with monkeypatch.context() as changed:
        changed.setattr(os, "environ", {"TWO": "2", "THREE": 3})
        assert environment() == {"TWO": "2"}
        os.environ["TWO"] = "two"
        assert environment() == {"TWO": "two"}
    assert environment() == dict(os.environ)
