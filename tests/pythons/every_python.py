"""Run the tests on every Python that is found, beside the one that runs this.

`make test-pythons` calls it, with the arguments that each interpreter gets. Exits with 1 where
tests fail, and where tools are required, as in CI, if there is no Python beside this one.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
THIS: Final = "{}.{}".format(*sys.version_info)

# Debian has what makes a virtual environment in a package of its own.
_RELEASE: Final = "import ensurepip, sys, venv; print('{}.{}.{}'.format(*sys.version_info))"


def found() -> dict[str, Path]:
    """Return one interpreter of each of `VERSIONS` that there is, by version."""
    first = {version: next(_interpreters(version), None) for version in VERSIONS}
    return {version: python for version, python in first.items() if python}


def _interpreters(version: str) -> Iterator[Path]:
    # A shim of pyenv has the name, and may refuse to run.
    return (python for python in _places(version) if release(python).startswith(f"{version}."))


def _places(version: str) -> Iterator[Path]:
    """Yield where it may be: by its name on the path, then in pyenv, the newest release first."""
    for folder in os.get_exec_path():
        yield Path(folder, f"python{version}")
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    names = [path.name for path in versions.glob(f"{version}.*")]
    releases = [name for name in names if re.fullmatch(r"\d+\.\d+\.\d+", name)]
    for name in sorted(releases, key=lambda name: -int(name.rpartition(".")[2])):
        yield versions / name / "bin" / "python3"


def release(python: Path) -> str:
    """Return an interpreter's version to its last number; of what is none, an empty text."""
    try:
        done = subprocess.run(
            [python, "-c", _RELEASE], capture_output=True, text=True, check=False, timeout=60
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def main(arguments: Sequence[str]) -> str | None:
    """Run the tests on each, and return what is wrong."""
    others = {version: python for version, python in found().items() if version != THIS}
    releases = ", ".join(release(python) for python in others.values()) or "none"
    absent = ", ".join(version for version in VERSIONS if version not in {*others, THIS}) or "none"
    summary = f"Beside Python {platform.python_version()}: {releases}; not found: {absent}"
    print(summary, flush=True)
    if not others and os.environ.get("DOTFLOW_REQUIRE_TOOLS") == "1":
        return "CI needs a second Python"
    failed = [
        version for version, python in others.items() if not _passes(version, python, arguments)
    ]
    print(summary, flush=True)
    return f"failed on Python {', '.join(failed)}" if failed else None


def _passes(version: str, python: Path, arguments: Sequence[str]) -> bool:
    environment = Path("build", "pythons", version)
    made = ["make", "--no-print-directory", str(environment / ".made"), f"PYTHON={python}"]
    return _runs(made) and _runs([str(environment / "bin" / "python"), *arguments])


def _runs(command: Sequence[str]) -> bool:
    print(*command, flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
