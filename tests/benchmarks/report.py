"""What is kept of a complete run: `results.md` and the plot, beside this file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lines import table
from row import HEADER

if TYPE_CHECKING:
    from lines import Measured
    from processes import Peers
    from row import Row

_FOLDER: Final = Path(__file__).resolve().parent
PLOT: Final = _FOLDER / "cost_per_task.svg"
RESULTS: Final = _FOLDER / "results.md"

# The packages that the tables name, by the files that pin them.
_PACKAGES: Final = {
    "dotflow1": ("dotflow",),
    "hamilton": ("apache-hamilton",),
    "taskiq": ("taskiq",),
    "luigi": ("luigi",),
    "prefect": ("prefect",),
    "dask": ("distributed",),
    "pebble": ("Pebble", "loky", "cloudpickle"),
}


def machine() -> str:
    """Return what this is measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = platform.release().partition("-")[0]
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {kernel}, "
        f"Python {platform.python_version()}"
    )


def versions() -> str:
    """Return the releases of the peers, as they are pinned."""
    return ", ".join(
        line.replace("==", " ")
        for name, packages in _PACKAGES.items()
        for line in (_FOLDER / "peers" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        if line.partition("==")[0] in packages
    )


def draw(peers: Peers, lines: list[Measured]) -> None:
    """Draw the plot, in the interpreter that has what it needs."""
    given = json.dumps([line._asdict() for line in lines])
    # Its own configuration and cache are not looked for in a home.
    command = [peers.plot, "-I", _FOLDER / "draw.py", PLOT]
    subprocess.run(command, input=given, text=True, check=True)
    print(f"drawn: {PLOT.relative_to(_FOLDER.parents[1])}", file=sys.stderr)


def write(rows: list[Row], lines: list[Measured], load: float) -> None:
    """Write `results.md`.

    Args:
        rows: Of the table.
        lines: Of the plot.
        load: How many processes wanted a core in the minute before: above 0, others worked as well.
    """
    today = datetime.now(UTC).date()
    text = [
        "# Results",
        "",
        "Written by `make bench`, in one complete run; how it is measured stands in",
        "[README.md](README.md). Medians of interleaved pairs.",
        "",
        f"- Machine: {machine()}; load before the run {load:.1f}",
        f"- Date: {today}",
        f"- Beside: {versions()}",
        "",
        HEADER,
        *map(str, rows),
        "",
        "## What a task costs among so many",
        "",
        f"![Cost per task by number of tasks]({PLOT.name})",
        "",
        *table(lines),
        "",
    ]
    RESULTS.write_text("\n".join(text), encoding="utf-8")
