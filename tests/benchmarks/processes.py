"""Running one workload in an interpreter of its own, and two of them in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_WORKLOADS = Path(__file__).resolve().parent / "workloads"
_LIMIT = 120.0

Measured = TypeVar("Measured")


class Peers(NamedTuple):
    """The interpreters: this project's, that of dotflow 1.0.1, this project's with `[otel]`."""

    here: Path
    peer: Path
    telemetry: Path


class Pair(NamedTuple):
    """One figure of both: medians."""

    here: float
    peer: float


def run(python: Path, *arguments: str) -> str:
    """Run an interpreter in an empty folder of its own and give what it printed.

    It gets a process group of its own, and all of that is ended after two minutes:
    dotflow 1.0.1 can hang with hundreds of processes.

    Raises:
        RuntimeError: It failed, or took too long.
    """
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [python, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            printed, _ = process.communicate(timeout=_LIMIT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise RuntimeError(f"{python} {arguments} ended with {process.returncode}")
    return printed


def workload(python: Path, name: str, *arguments: object) -> dict[str, float]:
    """Run a workload and give its figures."""
    printed = run(python, str(_WORKLOADS / name), *map(str, arguments))
    figures: dict[str, float] = json.loads(printed)
    return figures


def seconds(python: Path, code: str) -> float:
    """Tell how long a new interpreter takes from its start to its end, with `code` between."""
    begun = perf_counter()
    run(python, "-c", code)
    return perf_counter() - begun


def in_turn(
    pairs: int, here: Callable[[], Measured], peer: Callable[[], Measured]
) -> tuple[list[Measured], list[Measured]]:
    """Measure both `pairs` times, alternately, each first in every other pair.

    So what else the machine does in the meantime meets both alike.
    """
    ours: list[Measured] = []
    theirs: list[Measured] = []
    sides = [(here, ours), (peer, theirs)]
    for number in range(pairs):
        for measure, figures in sides if number % 2 == 0 else reversed(sides):
            figures.append(measure())
    return ours, theirs


def medians(ours: list[dict[str, float]], theirs: list[dict[str, float]], name: str) -> Pair:
    """Give the medians of one of the figures."""
    return Pair(median(each[name] for each in ours), median(each[name] for each in theirs))
