"""What workers take over from the process that owns a run: its folder, environment, path."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple


class Surroundings(NamedTuple):
    """Where a process is.

    Attributes:
        folder: The working directory.
        environment: The variables.
        path: Where modules are found.
        argv: The arguments of the program.
    """

    folder: str
    environment: dict[str, str]
    path: list[str]
    argv: list[str]

    @classmethod
    def here(cls) -> Surroundings:
        """Give those of this process."""
        try:
            folder = str(Path.cwd())
        except OSError:
            folder = "/"  # the folder was removed
        return cls(folder, _environment(), list(sys.path), list(sys.argv))


def _environment() -> dict[str, str]:
    # Another thread may take a variable away while they are read.
    found = ((name, os.environ.get(name)) for name in list(os.environ))
    return {name: value for name, value in found if value is not None}
