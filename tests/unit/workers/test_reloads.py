"""Whether modules were loaded again."""

from __future__ import annotations

import importlib
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.workers.reloads import CodeVersion

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of somebody's own."""
    (tmp_path / "loaded_again.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "loaded_again", raising=False)
    return importlib.import_module("loaded_again")


def test_nothing_was_loaded_again(module: Any) -> None:
    """Another look, and further imports, change nothing."""
    version = CodeVersion()
    assert (version.renew(), version.renew()) == (0, 0)
    sys.modules.pop("colorsys", None)
    importlib.import_module("colorsys")
    assert version.renew() == 0
    assert module.VALUE == 1


def test_a_reload_counts(module: Any) -> None:
    """Each one once, however often it is looked at."""
    version = CodeVersion()
    version.renew()
    importlib.reload(module)
    assert (version.renew(), version.renew()) == (1, 1)
    importlib.reload(module)
    assert version.renew() == 2


@pytest.mark.usefixtures("module")
def test_an_import_after_a_removal_counts() -> None:
    """The module is another one."""
    version = CodeVersion()
    version.renew()
    del sys.modules["loaded_again"]
    importlib.import_module("loaded_again")
    assert version.renew() == 1


def test_a_lazy_module_is_left_alone(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that loads when it is asked is not asked."""
    del module
    spec = find_spec("loaded_again")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = LazyLoader(spec.loader)
    lazy = module_from_spec(spec)
    spec.loader.exec_module(lazy)
    monkeypatch.setitem(sys.modules, "loaded_again", lazy)
    version = CodeVersion()
    version.renew()
    version.renew()
    assert "VALUE" not in object.__getattribute__(lazy, "__dict__")


def test_odd_entries_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as None, which keeps a module from being imported."""
    monkeypatch.setitem(sys.modules, "not_to_be_imported", None)
    version = CodeVersion()
    assert (version.renew(), version.renew()) == (0, 0)
