"""The Pythons that we claim: which are found, what runs on them, and what is said of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture
def every_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, on a machine with one folder of programs and pyenv, run by Python 3.11."""
    monkeypatch.syspath_prepend(HERE)
    import every_python

    monkeypatch.setattr(every_python, "ROOT", tmp_path)
    monkeypatch.setattr(every_python, "THIS", "3.11")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("DOTFLOW_REQUIRE_TOOLS", raising=False)
    return every_python


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a shell script at a place and returns where that is."""

    def write(place: str, text: str) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return write


# --- which are found ------------------------------------------------------------------------


def test_one_of_each_version_is_found(
    every_python: ModuleType, program: Callable[[str, str], Path]
) -> None:
    """What the path has by name is taken before what pyenv has; other versions are not."""
    program("pyenv/versions/3.12.7/bin/python3", "echo 3.12.7")
    program("bin/python3.10", "echo 3.10.13")
    expected = {
        "3.12": program("bin/python3.12", "echo 3.12.1"),
        "3.14": program("pyenv/versions/3.14.0/bin/python3", "echo 3.14.0"),
    }
    assert every_python.found() == expected


@pytest.mark.parametrize("shim", ["echo no such version; exit 127", "echo 3.11.4", "exit 0"])
def test_what_does_not_run_as_that_version_is_passed_over(
    every_python: ModuleType, program: Callable[[str, str], Path], shim: str
) -> None:
    """A shim of pyenv has the name and refuses, or runs another version."""
    program("bin/python3.12", shim)
    real = program("pyenv/versions/3.12.1/bin/python3", "echo 3.12.1")
    assert every_python.found() == {"3.12": real}


def test_the_newest_release_is_taken(
    every_python: ModuleType, program: Callable[[str, str], Path]
) -> None:
    """Of the releases in pyenv, by number; what is no plain release is not looked at."""
    for name in ("3.12.9", "3.12.10", "3.12.11t", "3.12-dev"):
        program(f"pyenv/versions/{name}/bin/python3", f"echo {name}")
    assert every_python.found()["3.12"].parts[-3] == "3.12.10"


# --- what runs ------------------------------------------------------------------------------


@pytest.fixture
def machine(program: Callable[[str, str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that sets up Pythons whose tests end as told, and returns the calls' log."""
    log = tmp_path / "log"
    program("bin/make", f'echo make "$@" >> {log}')

    def set_up(**statuses: int) -> Path:
        for name, status in statuses.items():
            version = name.replace("py3", "3.")
            program(f"bin/python{version}", f"echo {version}.5")
            run = f"echo {version} $@ >> {log}; exit {status}"
            program(f"build/pythons/{version}/bin/python", run)
        return log

    return set_up


def test_the_tests_run_on_each_other_python(
    every_python: ModuleType, machine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in an environment of its own; what was found and what was not is said."""
    log = machine(py311=1, py312=0, py313=0)
    assert every_python.main(["-m", "pytest", "tests"]) is None
    assert log.read_text(encoding="utf-8").splitlines() == [
        f"make --no-print-directory build/pythons/3.12/.made PYTHON={tmp_path}/bin/python3.12",
        "3.12 -m pytest tests",
        f"make --no-print-directory build/pythons/3.13/.made PYTHON={tmp_path}/bin/python3.13",
        "3.13 -m pytest tests",
    ]
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"Beside Python 3\.[\d.]+: 3\.12\.5, 3\.13\.5; not found: 3\.14", last)


def test_a_failure_is_no_end(every_python: ModuleType, machine: Any) -> None:
    """Where tests fail on one Python they still run on the next, and the whole fails."""
    log = machine(py312=1, py313=0)
    assert every_python.main([]) == "failed on Python 3.12"
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "3.13"


def test_an_environment_that_cannot_be_made_is_a_failure(
    every_python: ModuleType, machine: Any, program: Callable[[str, str], Path]
) -> None:
    """What cannot be installed on a Python cannot be tested there."""
    machine(py312=0, py313=0)
    program("bin/make", "exit 2")
    assert every_python.main([]) == "failed on Python 3.12, 3.13"


def test_one_python_is_enough_but_in_ci(
    every_python: ModuleType, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's machine may have one Python; where tools are required, two must be found."""
    machine(py311=0)
    assert every_python.main([]) is None
    monkeypatch.setenv("DOTFLOW_REQUIRE_TOOLS", "1")
    assert every_python.main([]) == "CI needs a second Python"
    machine(py312=0)
    assert every_python.main([]) is None


# --- what is said ---------------------------------------------------------------------------


def test_what_is_claimed_is_what_is_looked_for(every_python: ModuleType) -> None:
    """A version has a classifier, or the README says that it was not run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    classifiers = "\n".join(project["classifiers"])
    claimed = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    pattern = r"tests pass on Python ((?:3\.\d+\.\d+,? )+)and (3\.\d+\.\d+); not run yet: (3\.\d+)"
    said = re.search(pattern, readme)
    assert said
    ran = [release.rpartition(".")[0] for release in [*said[1].replace(",", "").split(), said[2]]]
    assert claimed == ran
    assert [*claimed, said[3]] == list(every_python.VERSIONS)
    assert project["requires-python"] == f">={every_python.VERSIONS[0]}"


def test_make_takes_every_version_by_name(every_python: ModuleType) -> None:
    """Where `python3` is too old, `make` looks for the same versions, the newest first."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    candidates = re.search(r"^CANDIDATES := python3 (.*) python$", makefile, re.MULTILINE)
    assert candidates
    assert candidates[1].split() == [f"python{version}" for version in every_python.VERSIONS[::-1]]
