"""What a worker takes over from the run's process, and undoes after each attempt."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.workers import allowance
from dotflow.workers.surroundings import Baseline, Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = (None, None)


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the state of this process be as before."""
    folder, environment, umask = Path.cwd(), dict(os.environ), os.umask(0o022)
    path, argv = list(sys.path), list(sys.argv)
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    with warnings.catch_warnings():
        yield
    monkeypatch.undo()
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.path[:], sys.argv[:] = path, argv
    sys.setrecursionlimit(limits[0])
    sys.set_int_max_str_digits(limits[1])


def there(folder: Path, **changes: Any) -> Surroundings:
    """Return surroundings that are none of this process's."""
    here = Surroundings(
        folder=str(folder),
        environment={"KEPT": "1", "TZ": "UTC"},
        path=[*sys.path, "/their/path"],
        argv=["their.py", "arg"],
        recursion_limit=sys.getrecursionlimit() + 100,
        int_digits=5000,
        filters=[("ignore", None, ("builtins", "UserWarning"), None, 0)],
        main=MAIN,
        umask=0o027,
        modules=[],
    )
    return here._replace(**changes)


def umask() -> int:
    """Return the mask of new files."""
    found = os.umask(0)
    os.umask(found)
    return found


def state() -> list[object]:
    """Return all that a worker takes over, as it is in this process."""
    return [
        Path.cwd(),
        dict(os.environ),
        sys.path[-1],
        list(sys.argv),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        list(warnings.filters),
    ]


def test_is_taken_over(tmp_path: Path) -> None:
    """All of it becomes that of the run's process, and nothing of this one stays."""
    limit = sys.getrecursionlimit() + 100
    Baseline(there(tmp_path))
    assert state() == [
        tmp_path,
        {"KEPT": "1", "TZ": "UTC"},
        "/their/path",
        ["their.py", "arg"],
        limit,
        5000,
        [("ignore", None, UserWarning, None, 0)],
    ]


def test_what_a_step_changes_is_undone(tmp_path: Path) -> None:
    """Whatever a step has changed, the next one begins as it did; the import path stays."""
    baseline = Baseline(there(tmp_path))
    before = state()

    os.chdir("/")
    os.umask(0o077)
    os.environ["KEPT"] = "2"
    os.environ["NEW"] = "3"
    sys.argv.append("more")
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)
    sys.set_int_max_str_digits(0)
    warnings.simplefilter("error", DeprecationWarning)
    sys.path.append("/of/the/step")
    baseline.restore()

    assert sys.path.pop() == "/of/the/step"
    assert state() == before
    assert umask() == 0o027


def test_the_time_zone_is_that_of_the_variables(tmp_path: Path) -> None:
    """Local time follows TZ: when it is taken over, and when a step has changed it."""
    baseline = Baseline(there(tmp_path, environment={"TZ": "EST5"}))
    assert (time.tzname[0], time.timezone) == ("EST", 5 * 3600)
    os.environ["TZ"] = "CET-1"
    time.tzset()
    baseline.restore()
    assert (time.tzname[0], time.timezone) == ("EST", 5 * 3600)


def test_a_folder_that_a_step_removes(tmp_path: Path) -> None:
    """A step that removes the folder it is in leaves the next one in the run's."""
    baseline = Baseline(there(tmp_path))
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert Surroundings.here().folder == "/"
    baseline.restore()
    assert Path.cwd() == tmp_path


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A worker stays where it is when the run's folder is gone."""
    os.chdir(tmp_path)
    Baseline(there(tmp_path / "gone"))
    assert Path.cwd() == tmp_path


def test_a_limit_that_this_process_is_beyond(tmp_path: Path) -> None:
    """A recursion limit below the depth of this very call is left as it is."""
    before = sys.getrecursionlimit()
    Baseline(there(tmp_path, recursion_limit=5))
    assert sys.getrecursionlimit() == before


def test_a_worker_says_how_many_may_be_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is this worker's, not that of the run's process."""
    monkeypatch.setattr(allowance._Own, "workers", 3)
    Baseline(there(tmp_path, environment={allowance.VARIABLE: "16"}))
    assert dict(os.environ) == {allowance.VARIABLE: "3"}


def test_filters_of_modules_that_are_imported_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter whose category is not known yet holds once its module has been imported."""
    late = ("error", None, ("late_module", "Outer.Late"), None, 7)
    known = ("ignore", None, ("builtins", "UserWarning"), None, 0)
    baseline = Baseline(there(tmp_path, filters=[late, known]))
    baseline.note_modules()
    assert warnings.filters == [("ignore", None, UserWarning, None, 0)]

    class Outer:
        class Late(Warning):
            pass

    module: Any = ModuleType("late_module")
    module.Outer = Outer
    monkeypatch.setitem(sys.modules, "late_module", module)
    baseline.note_modules()
    expected = [("error", None, Outer.Late, None, 7), ("ignore", None, UserWarning, None, 0)]
    assert warnings.filters == expected


def test_filters_that_are_no_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no category of warnings makes no filter, and an odd filter does not travel."""
    Baseline(there(tmp_path, filters=[("error", None, ("builtins", "int"), None, 0)]))
    assert warnings.filters == []
    filters: Any = warnings.filters
    filters[:] = ["odd", ("ignore", None, UserWarning, None, 0)]
    packed = [("ignore", None, ("builtins", "UserWarning"), None, 0)]
    assert Surroundings.here().filters == packed


@pytest.mark.parametrize(
    ("file", "found"), [("/a/script.py", "/a/script.py"), ("<stdin>", None), (None, None)]
)
def test_the_main_module(
    monkeypatch: pytest.MonkeyPatch, file: str | None, found: str | None
) -> None:
    """Its file is that of a script; a program that is piped in has none."""
    module: Any = ModuleType("__main__")
    if file is not None:
        module.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert Surroundings.here().main == (found, None)
