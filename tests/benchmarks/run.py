"""Measure this project beside others and print a table: see README.md, beside this file.

A complete run writes `results.md` as well. Exits with 1 where a bar is not met or a group failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import report
import rows
import rows_stored
import rows_telemetry
import rows_workers
from lines import Measured, lines, measured, table
from processes import Peers
from row import HEADER, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GROUPS: dict[str, tuple[Callable[[Peers, int], Iterator[Row]], int]] = {
    "sequential": (rows.sequential, 7),
    "hamilton": (rows.hamilton, 5),
    "import": (rows.imported, 21),
    "command": (rows.command, 21),
    "scale": (rows.scale, 3),
    "memory": (rows.memory, 3),
    "result": (rows.result, 3),
    "awaited": (rows.awaited, 9),
    "parallel": (rows_workers.parallel, 5),
    "pebble": (rows_workers.pebble, 7),
    "progress": (rows_workers.progress, 3),
    "large": (rows_workers.large, 5),
    "many": (rows_workers.many, 3),
    "dask": (rows_workers.dask, 3),
    "telemetry": (rows_telemetry.telemetry, 7),
    "observed": (rows_telemetry.observed, 3),
    "history": (rows_telemetry.history, 5),
    "shown": (rows_telemetry.shown, 9),
    "otlp": (rows_telemetry.otlp, 7),
    "stored": (rows_stored.stored, 5),
    "hanging": (rows_telemetry.hanging, 5),
}
_PLOT = "plot"


def _arguments() -> argparse.Namespace:
    names = [*_GROUPS, _PLOT]
    parser = argparse.ArgumentParser(description="Measure this project beside others.")
    parser.add_argument(
        "--environments", type=Path, required=True, help="the folder of the virtual environments"
    )
    parser.add_argument("--pairs", type=int, help="how often each, instead of the usual")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(names)}")
    given = parser.parse_args()
    unknown = set(given.groups) - set(names)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return given


def _measured_rows(peers: Peers, given: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Print each row as soon as it is measured; give all, and the groups that failed."""
    measured_rows: list[Row] = []
    failed = []
    for name in [each for each in given.groups or _GROUPS if each != _PLOT]:
        measure, pairs = _GROUPS[name]
        try:
            for row in measure(peers, given.pairs or pairs):
                print(row, flush=True)
                measured_rows.append(row)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"the group {name} failed: {error}", file=sys.stderr)
            failed.append(name)
    return measured_rows, failed


def _measured_lines(peers: Peers) -> list[Measured]:
    """Measure the points of the plot, draw and print them."""
    every = []
    for line in lines(peers):
        every.append(measured(line))
        print(f"measured: {line.name}", file=sys.stderr)
    report.draw(peers, every)
    print("", *table(every), sep="\n", flush=True)
    return every


def main() -> int:
    """Measure what is asked for; give the exit status."""
    given = _arguments()
    load, *_ = os.getloadavg()
    # What was started is ended on the way out, as after an interrupt.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    peers = Peers.below(given.environments)
    print(f"{report.machine()}; medians of interleaved pairs.\n\n{HEADER}", flush=True)
    measured_rows, failed = _measured_rows(peers, given)
    if not given.groups or _PLOT in given.groups:
        every = _measured_lines(peers)
        if not (given.groups or given.pairs or failed):
            report.write(measured_rows, every, load)
    return 0 if all(row.holds for row in measured_rows) and not failed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
