"""`dotflow init`: make a small project that runs."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from dotflow.cli.flow import Debug, WrongUse
from dotflow.cli.output import COMPLETED
from dotflow.printable import printable

# Each file of a project, and the template that it is made of.
_FILES: Final = {
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "workflow.py": "workflow.py.txt",
    "tests/test_workflow.py": "tests/test_workflow.py.txt",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def init(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", show_default=False, help="Where; the working directory unless given."
        ),
    ] = ".",
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The project's; the folder's unless given."),
    ] = None,
    _debug: Debug = False,
) -> int:
    """Make a small project that runs, with telemetry and tests. Nothing is overwritten."""
    if not folder:  # such as an unset variable of a shell's
        raise WrongUse("FOLDER is empty: give the path of one, or none for the working directory.")
    place = Path(folder)
    called = _checked_name(place.resolve().name if name is None else name)
    written: list[Path] = []
    try:
        _refuse_to_overwrite(place, folder)
        for file, template in _FILES.items():
            _write(place / file, template, called, written)
    except OSError as error:
        # Half a project would refuse the next try.
        for path in written:
            path.unlink(missing_ok=True)
        raise WrongUse(f"The project cannot be written to {folder}: {error}.") from error
    _print_next(called, folder)
    return COMPLETED


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise WrongUse(
            f"{name!r} cannot be the project's name: give --name one of lower case letters, "
            "digits, '-' and '_' that begins with a letter, such as my-workflow."
        )
    return name


def _refuse_to_overwrite(place: Path, folder: str) -> None:
    present = [file for file in _FILES if os.path.lexists(place / file)]
    if present:
        raise WrongUse(
            f"{', '.join(present)} in {folder} would be overwritten, so nothing was made: choose "
            "another folder."
        )


def _write(file: Path, template: str, name: str, written: list[Path]) -> None:
    text = (files("dotflow.cli") / "project" / template).read_text(encoding="utf-8")
    file.parent.mkdir(parents=True, exist_ok=True)
    # `x`: what another program has made meanwhile is not overwritten either.
    with file.open("x", encoding="utf-8") as opened:
        written.append(file)
        opened.write(Template(text).substitute(name=name))


def _print_next(name: str, folder: str) -> None:
    print(f"The project {name} is in {printable(folder)}. Next:\n")
    if folder != ".":
        print(f"    cd {printable(folder)}")
    print("    dotflow start --workflow workflow:build")
    print("    python -m pytest")
