"""Running one workload in an interpreter of its own, and two of them in turn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
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
    """The interpreters of the virtual environments, by the folders' names.

    Attributes:
        here: This project's.
        telemetry: This project's with `[cli,notify,otel]`.
        dask: This project's with Dask.
        stores: This project's with `[postgres,s3]`.
        dotflow1: That of dotflow 1.0.1.
        hamilton: That of Apache Hamilton; and so on.
        plot: That of what draws the plot.
    """

    here: Path
    telemetry: Path
    dask: Path
    stores: Path
    dotflow1: Path
    hamilton: Path
    luigi: Path
    pebble: Path
    prefect: Path
    taskiq: Path
    plot: Path

    @classmethod
    def below(cls, folder: Path) -> Peers:
        """Return those in the folders below this one."""
        # Not resolved: the interpreter of a virtual environment is a link out of it.
        return cls(*(folder.absolute() / name / "bin" / "python" for name in cls._fields))


class Pair(NamedTuple):
    """One figure of both: medians."""

    here: float
    peer: float


def run(python: Path, *arguments: str, limit: float = _LIMIT) -> str:
    """Run an interpreter in an empty folder of its own and give what it printed.

    It gets a process group of its own, and all of that is ended with it, and at the latest when
    its time is up: dotflow 1.0.1 can hang with hundreds of processes.

    Args:
        python: The interpreter.
        arguments: Its arguments.
        limit: The time, in seconds.

    Raises:
        RuntimeError: It failed.
        TimeoutExpired: It took too long.
    """
    environment = {name: value for name, value in os.environ.items() if name[:6] != "PYTHON"}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
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
            printed, _ = process.communicate(timeout=limit)
        finally:
            # What it has started and not ended, too; there is often nothing.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise RuntimeError(f"{python} {arguments} ended with {process.returncode}")
    return printed


def workload(
    python: Path, name: str, *arguments: object, limit: float = _LIMIT
) -> dict[str, float]:
    """Run a workload and give its figures.

    Raises:
        RuntimeError: It failed, or printed no figures.
        TimeoutExpired: It took too long.
    """
    printed = run(python, str(_WORKLOADS / name), *map(str, arguments), limit=limit)
    try:
        figures: dict[str, float] = json.loads(printed)
    except ValueError as error:
        raise RuntimeError(f"{name} {arguments} printed {printed!r}, no figures") from error
    return figures


def seconds(python: Path, code: str) -> float:
    """Return how long a new interpreter takes from its start to its end, with `code` between."""
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
    """Return the medians of one of the figures."""
    return Pair(median(each[name] for each in ours), median(each[name] for each in theirs))


def within(times: int, measure: Callable[[], dict[str, float]]) -> Pair:
    """Return the medians of the first two figures of a workload that takes turns itself."""
    figures = median_figures(times, measure)
    return Pair(*list(figures.values())[:2])


def median_figures(times: int, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Return the medians of all figures of a workload."""
    told = [measure() for _ in range(times)]
    return {name: median(each[name] for each in told) for name in told[0]}
