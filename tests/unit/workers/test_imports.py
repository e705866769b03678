"""Whether modules were loaded again, and where they are."""

from __future__ import annotations

import gc
import importlib
import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dotflow.workers import imports
from dotflow.workers.imports import CodeVersion, FinderByPlace, import_path


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


def test_a_module_that_was_put_there_by_hand_counts(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the place of another, where nothing is loaded."""
    version = CodeVersion()
    version.renew()
    monkeypatch.setitem(sys.modules, "loaded_again", ModuleType("loaded_again"))
    assert (version.renew(), version.renew()) == (1, 1)
    monkeypatch.setitem(sys.modules, "loaded_again", module)
    assert version.renew() == 2


def test_a_removal_does_not_count(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the same module's return; another one of its name does, whenever it comes."""
    version = CodeVersion()
    version.renew()
    monkeypatch.delitem(sys.modules, "loaded_again")
    assert version.renew() == 0
    sys.modules["loaded_again"] = module
    assert (version.renew(), version.renew()) == (0, 0)
    sys.modules["loaded_again"] = None
    assert (version.renew(), version.renew()) == (0, 0)
    del sys.modules["loaded_again"]
    assert version.renew() == 0
    importlib.import_module("loaded_again")
    assert (version.renew(), version.renew()) == (1, 1)


def test_modules_that_are_gone_are_not_held(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may load and remove many."""
    version = CodeVersion()
    version.renew()
    monkeypatch.delitem(sys.modules, "loaded_again")
    version.renew()
    holders = [type(each).__module__ for each in gc.get_referrers(module)]
    assert imports.__name__ not in holders


@pytest.mark.parametrize("kind", ["site-packages", "dist-packages"])
def test_an_installed_module_counts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may work on one where it is installed, however many others there are."""
    folder = tmp_path / kind
    folder.mkdir()
    for name in ("installed_one", "installed_two"):
        (folder / f"{name}.py").write_text("VALUE = 1\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(folder))
    one, two = map(importlib.import_module, ("installed_one", "installed_two"))
    version = CodeVersion()
    assert (version.renew(), version.renew()) == (0, 0)
    importlib.reload(one)
    assert (version.renew(), version.renew()) == (1, 1)
    importlib.reload(one)
    assert version.renew() == 2
    importlib.reload(two)
    importlib.reload(one)
    assert version.renew() == 3
    del sys.modules["installed_two"]
    importlib.import_module("installed_two")
    assert (version.renew(), version.renew()) == (4, 4)


def test_an_import_in_another_thread_meanwhile(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of modules may change while it is looked at."""

    class Changing(dict[str, Any]):
        def __reversed__(self) -> Any:
            raise RuntimeError("dictionary changed size during iteration")

    version = CodeVersion()
    version.renew()
    monkeypatch.setattr(sys, "modules", Changing(sys.modules))
    assert version.renew() == 0
    monkeypatch.undo()
    assert module.VALUE == 1


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


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the path had while a package of it was imported."""
    (tmp_path / "placed" / "below").mkdir(parents=True)
    (tmp_path / "placed" / "__init__.py").touch()
    (tmp_path / "placed" / "one.py").write_text("VALUE = 1\n")
    (tmp_path / "placed" / "below" / "two.py").write_text("VALUE = 2\n")
    for name in ("placed", "placed.one", "placed.below", "placed.below.two"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with monkeypatch.context() as path:
        path.syspath_prepend(str(tmp_path))
        importlib.import_module("placed.one")
        importlib.import_module("placed.below.two")
    return tmp_path


def placed(version: CodeVersion, *more: str) -> dict[str, object]:
    """Return where the package is found out of the path."""
    found = version.out_of([*sys.path, *more])
    return {name: place for name, place in found.items() if name.startswith("placed")}


def test_modules_out_of_the_path(package: Path) -> None:
    """Those to which the path does not lead, with their files, and the folders of packages."""
    version = CodeVersion()
    version.renew()
    expected = {
        "placed": (f"{package}/placed/__init__.py", [f"{package}/placed"]),
        "placed.one": (f"{package}/placed/one.py", None),
        "placed.below.two": (f"{package}/placed/below/two.py", None),
    }
    assert placed(version) == expected
    assert placed(version, str(package)) == {}
    assert placed(version) == expected


def test_modules_without_a_file_of_their_own(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor those with more names than one, or whose file is gone or their spec odd, are placed."""
    module = sys.modules["placed.one"]
    monkeypatch.setitem(sys.modules, "placed.alias", module)
    odd: Any = ModuleType("placed.odd")
    odd.__file__, odd.__spec__ = module.__file__, "odd"
    monkeypatch.setitem(sys.modules, "placed.odd", odd)
    (package / "placed" / "below" / "two.py").unlink()
    version = CodeVersion()
    version.renew()
    assert placed(version).keys() == {"placed", "placed.one"}


def test_modules_are_found_where_they_are(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before what the path leads to; what is not known is left to other finders."""
    (package / "other").mkdir()
    (package / "other" / "placed.py").touch()
    monkeypatch.syspath_prepend(str(package / "other"))
    version = CodeVersion()
    version.renew()
    places = version.out_of(sys.path)
    for name in [each for each in sys.modules if each.startswith("placed")]:
        monkeypatch.delitem(sys.modules, name)
    finder = FinderByPlace()
    finder.places = places
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert importlib.import_module("placed.one").VALUE == 1
    assert importlib.import_module("placed.below.two").VALUE == 2
    assert finder.find_spec("colorsys") is None


def test_the_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry is where it was when it was first used; an empty one is where the process is."""
    used, gone = tmp_path / "used", tmp_path / "gone"
    for folder in (used, gone):
        (folder / "lib").mkdir(parents=True)
    (used / "lib" / "found_there.py").touch()
    monkeypatch.delitem(sys.modules, "found_there", raising=False)
    monkeypatch.chdir(used)
    monkeypatch.setattr(sys, "path", ["", "lib", Path("odd"), "/absolute"])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    importlib.import_module("found_there")
    sys.path.append("unused")
    monkeypatch.chdir(tmp_path)
    expected = ["", str(used / "lib"), "/absolute", str(tmp_path / "unused")]
    assert import_path() == expected
    monkeypatch.chdir(gone / "lib")
    (gone / "lib").rmdir()
    assert import_path() == [*expected[:3], "unused"]
