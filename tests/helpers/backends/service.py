"""Programs of users that go on until they are told to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

from backends.waiting import PATIENCE

ROOT: Final = Path(__file__).resolve().parents[3]
PROGRAMS: Final = ROOT / "tests" / "backends" / "programs"


class Service:
    """A program that prints one line of JSON when it is ready, and ends with its input.

    Args:
        program: Its file among the programs of the tests.
        arguments: What it is given.
        variables: What is added to its environment.

    Attributes:
        said: The line of JSON, once entered.
    """

    said: dict[str, Any]

    def __init__(self, program: str, *arguments: object, **variables: str) -> None:
        self._command = [sys.executable, str(PROGRAMS / program), *map(str, arguments)]
        self._variables = {"PYTHONPATH": str(ROOT), **variables}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env={**os.environ, **self._variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.__exit__()
            raise AssertionError(f"{self._command} ended with {self._process.returncode}")
        self.said = json.loads(line)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
