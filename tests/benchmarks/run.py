"""Measure this project beside dotflow 1.0.1 and print a table: see README.md, beside this file.

Exits with 1 where a bar is not met.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from processes import Peers
from rows import Row, imported, memory, otlp, parallel, scale, sequential, telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_GROUPS: dict[str, tuple[Callable[[Peers, int], Iterator[Row]], int]] = {
    "sequential": (sequential, 7),
    "import": (imported, 21),
    "scale": (scale, 3),
    "memory": (memory, 3),
    "parallel": (parallel, 5),
    "telemetry": (telemetry, 7),
    "otlp": (otlp, 7),
}

# Rows that say themselves what they are beside.
_OWN_TERMS = ("telemetry", "otlp")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this project beside dotflow 1.0.1.")
    parser.add_argument("--here", type=Path, required=True, help="a Python with this project")
    parser.add_argument("--peer", type=Path, required=True, help="a Python with dotflow 1.0.1")
    parser.add_argument("--telemetry", type=Path, required=True, help="... and with `[otel]`")
    parser.add_argument("--pairs", type=int, help="how often each, instead of the usual")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(_GROUPS)}")
    given = parser.parse_args()
    unknown = set(given.groups) - set(_GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    return given


def _line(row: Row) -> str:
    digits = 2 if row.is_ratio else 1 if row.figures.here < 100 else 0
    here, peer = (f"{figure:,.{digits}f} {row.unit}" for figure in row.figures)
    ratio = f"{row.ratio:.2f}" if row.ratio >= 0.1 else f"{row.ratio:.3f}"
    verdict = "yes" if row.holds else "**no**"
    return f"| {row.what} | {here} | {peer} | {ratio} | {row.bar} | {verdict} |"


def _machine() -> str:
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()}"
    return f"{machine}; medians of interleaved pairs."


def _header(group: str) -> str:
    beside = "beside it" if group in _OWN_TERMS else "dotflow 1.0.1"
    return f"\n| what | here | {beside} | ratio | bar | met |\n|---|---|---|---|---|---|"


def main() -> int:
    """Print each row as soon as it is measured; give the exit status."""
    given = _arguments()
    # Not resolved: the interpreter of a virtual environment is a link out of it.
    peers = Peers(given.here.absolute(), given.peer.absolute(), given.telemetry.absolute())
    print(_machine(), flush=True)
    met, header = True, ""
    for name in given.groups or _GROUPS:
        measure, pairs = _GROUPS[name]
        if _header(name) != header:
            header = _header(name)
            print(header, flush=True)
        for row in measure(peers, given.pairs or pairs):
            print(_line(row), flush=True)
            met &= row.holds
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
