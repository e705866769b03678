"""The points of the plot: what a task costs among 10 to 100,000, by mode and by peer."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from processes import Peers, workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZES: Final = (10, 100, 1000, 10_000, 100_000)

# How long rounds are begun at one point, and the most that one round may take, in seconds.
_ROUNDS: Final = 2.0
_LONGEST: Final = 20.0

# Seconds for a point in all: its interpreter, what is built before the clock, its rounds.
_POINT: Final = 60.0


class Line(NamedTuple):
    """One line of the plot.

    Attributes:
        name: What it is of.
        panel: Where: `here`, in the process that asks for it, or `workers`.
        measure: Measures a point of so many tasks, in so many seconds.
        most: The most tasks that it can have.
        reason: Why no more.
    """

    name: str
    panel: str
    measure: Callable[[int, float], dict[str, float]]
    most: int = SIZES[-1]
    reason: str = ""


class Measured(NamedTuple):
    """A line that was measured.

    Attributes:
        name: What it is of.
        panel: Where.
        points: Microseconds a task by the number of tasks.
        ended: Why it ends before 100,000 tasks; empty where it does not.
    """

    name: str
    panel: str
    points: dict[int, float]
    ended: str


def lines(peers: Peers) -> Iterator[Line]:
    """Return all lines, ours first."""
    for mode in ("sequential", "sequential_group", "background"):
        yield Line(mode, "here", _ours(peers.here, mode, "off"))
    for mode in ("sequential", "background"):
        yield Line(f"{mode}, observed", "here", _ours(peers.telemetry, mode, "on"))
    yield Line("dotflow 1.0.1", "here", _ours(peers.dotflow1, "sequential", "off"))
    yield Line("Apache Hamilton", "here", _theirs(peers.hamilton, "hamilton_nodes.py", "apart"))
    yield Line("taskiq", "here", _theirs(peers.taskiq, "taskiq_tasks.py"))
    yield Line("luigi", "here", _theirs(peers.luigi, "luigi_tasks.py"))
    yield Line("Prefect", "here", _theirs(peers.prefect, "prefect_tasks.py"))
    yield Line("parallel", "workers", _ours(peers.here, "parallel", "off"))
    yield Line("parallel, observed", "workers", _ours(peers.telemetry, "parallel", "on"))
    yield Line("parallel on Dask", "workers", _theirs(peers.dask, "dask_calls.py", "here"))
    hung = _ours(peers.dotflow1, "parallel", "off")
    yield Line("dotflow 1.0.1", "workers", hung, 100, "it hangs with 400")
    yield Line("bare pebble", "workers", _theirs(peers.pebble, "pebble_calls.py", "all"))
    yield Line("bare Dask", "workers", _theirs(peers.dask, "dask_calls.py", "bare"))


def _ours(python: Path, mode: str, telemetry: str) -> Callable[[int, float], dict[str, float]]:
    return _theirs(python, "by_mode.py", mode, telemetry)


def _theirs(python: Path, script: str, *words: str) -> Callable[[int, float], dict[str, float]]:
    return partial(workload, python, script, *words, limit=_POINT)


def measured(line: Line) -> Measured:
    """Measure a line, from few tasks to many, as far as it goes."""
    points: dict[int, float] = {}
    ended = ""
    for size in SIZES:
        ended = line.reason if size > line.most else _too_long(points, size)
        if not ended:
            ended = _measure(line, size, points)
        if ended:
            break
    return Measured(line.name, line.panel, points, ended)


def _too_long(points: dict[int, float], size: int) -> str:
    if points and list(points.values())[-1] * size / 1e6 > _LONGEST:
        return f"{size:,} would take longer than {_LONGEST:.0f} s"
    return ""


def _measure(line: Line, size: int, points: dict[int, float]) -> str:
    try:
        points[size] = line.measure(size, _ROUNDS)["run"]
    except subprocess.TimeoutExpired:
        return f"{size:,} were not done in {_POINT:.0f} s"
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return f"{size:,} failed"
    return ""


def table(every: list[Measured]) -> Iterator[str]:
    """Return the lines of a table of the points."""
    yield "| us a task | where | " + " | ".join(f"{size:,}" for size in SIZES) + " | ends because |"
    yield "|---" * (len(SIZES) + 3) + "|"
    for each in every:
        cells = [_cell(each.points.get(size)) for size in SIZES]
        where = {"here": "this process", "workers": "workers"}[each.panel]
        yield f"| {each.name} | {where} | " + " | ".join(cells) + f" | {each.ended} |"


def _cell(microseconds: float | None) -> str:
    if microseconds is None:
        return ""
    return f"{microseconds:,.{1 if microseconds < 100 else 0}f}"
