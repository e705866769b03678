"""What the commands share: their options, the history, and how they write for people."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.cells import cell_len, chop_cells, set_cell_size

from dotflow.cli.output import has_colors
from dotflow.core.exception import DotflowError
from dotflow.printable import printable
from dotflow_otel.analysis import UNKNOWN
from dotflow_otel.analysis.sentences import moment, seconds
from dotflow_otel.history.reader import History

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dotflow_otel.analysis import RunView
    from dotflow_otel.history.reader import RunInfo

# --- options ------------------------------------------------------------------------------

# How many runs a shell is offered.
_OFFERED: Final = 50


class WrongUse(DotflowError):
    """The command line asks for something that cannot be."""


def _offered(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the runs that a shell completes RUN with."""
    found: list[tuple[str, str]] = []
    # Whoever presses TAB wants no error.
    with suppress(Exception), History(context.params.get("history")) as history:
        runs = history.runs(limit=_OFFERED)
        found = [("latest", "the one that began last"), ("failed", "the last that failed")]
        workflows = dict.fromkeys(run.workflow for run in runs)
        found += [(f"latest:{printable(name)}", "") for name in workflows]
        found += [(run.id, f"{printable(run.workflow)[:40]} {run.status}") for run in runs]
    return [(name, text) for name, text in found if name.startswith(incomplete)]


def offered_workflows(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of workflows that a shell completes an option with."""
    found: list[str] = []
    with suppress(Exception), History(context.params.get("history")) as history:
        found = [*dict.fromkeys(run.workflow for run in history.runs(limit=1000))]
    return [name for name in found if name.startswith(incomplete)]


_RUN_HELP: Final = (
    "The beginning of a run's or a trace's id, latest, latest:WORKFLOW, or failed: the last that "
    "failed or was lost."
)
Reference = Annotated[
    str, typer.Argument(metavar="RUN", help=_RUN_HELP, autocompletion=_offered, show_default=False)
]
OptionalReference = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help=_RUN_HELP, autocompletion=_offered, show_default=False),
]
HistoryPath = Annotated[
    str | None,
    typer.Option(
        "--history",
        metavar="PATH",
        help="The history; else the one that DOTFLOW_HISTORY names, or .dotflow/history.db.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error of dotflow's own.")
]

# --- figures ------------------------------------------------------------------------------


def iso(nanoseconds: int | None) -> str | None:
    """Return a time in UTC as in ISO 8601."""
    return (
        None if nanoseconds is None else datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()
    )


_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def time_of(option: str, text: str) -> int:
    """Return the time that a text means, in nanoseconds since the epoch.

    Args:
        option: What it was given with.
        text: How long ago, such as `2h` or `1d12h`, or a time of ISO 8601: of this machine's
            clock unless it names its zone.

    Raises:
        WrongUse: It is neither.
    """
    try:
        if re.fullmatch(f"(?:{_PART.pattern})+", text):
            ago = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
            return round((datetime.now(UTC) - timedelta(seconds=ago)).timestamp() * 1e9)
        return round(datetime.fromisoformat(text).timestamp() * 1e9)
    except (ValueError, OverflowError):
        raise WrongUse(
            f"{option} {text!r} is no time: give how long ago, as 30m, 2h or 1d12h, or a time as "
            "2026-03-01 or 2026-03-01T06:00."
        ) from None


# --- text ---------------------------------------------------------------------------------

BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
MAGENTA: Final = "35"
CYAN: Final = "36"

STATUS_STYLES: Final = {
    "completed": GREEN,
    "failed": RED,
    "lost": MAGENTA,
    "running": CYAN,
    "restored": DIM,
    UNKNOWN: DIM,
}

# Where the output is no terminal, and nobody says how wide it is.
_WIDE: Final = 120
_NARROWEST: Final = 40

# Where a line may end: not between a figure and its unit.
_WORDS: Final = re.compile(r" +(?!(?:ms|s)\b)")

# Of a text nobody reads more on one line.
LONGEST: Final = 300


class Screen:
    """Standard output, as something to write lines of text to.

    Attributes:
        width: How many columns it has.
        is_bounded: Whether what is wider has no room: not in a pipe.
        has_unicode: Whether it takes lines and dots; else they are drawn in ASCII.
    """

    def __init__(self) -> None:
        out = sys.stdout
        is_terminal = bool(out.isatty())
        self.is_bounded = is_terminal or os.environ.get("COLUMNS", "").isdigit()
        size = get_terminal_size().columns if self.is_bounded else _width_behind_pipe()
        self.width = max(size, _NARROWEST)
        self._has_colors = has_colors(out)
        self._encoding = (out.encoding or "ascii").lower()
        self.has_unicode = self._takes("\N{BOX DRAWINGS HEAVY HORIZONTAL}\N{HORIZONTAL ELLIPSIS}")

    def _takes(self, text: str) -> bool:
        try:
            text.encode(self._encoding)
        except (UnicodeError, LookupError):
            return False
        return True

    def style(self, text: str, *codes: str) -> str:
        """Return text in a colour or another style, where there are such."""
        if not self._has_colors or not codes or not text:
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"

    def plain(self, text: str, longest: int = LONGEST) -> str:
        """Return text on one line, as it can be shown: nothing in it is taken for an order."""
        shown = printable(text[: longest + 1])
        if not shown.isascii() and not self._takes(shown):
            shown = shown.encode(self._encoding, "backslashreplace").decode(self._encoding)
        return shown if len(shown) <= longest else shown[: longest - 3] + self.dots

    @property
    def dots(self) -> str:
        """What stands for the rest of a text."""
        return "\N{HORIZONTAL ELLIPSIS}" if self.has_unicode else "..."

    def cut(self, text: str, width: int) -> str:
        """Return text on one line, in a width at most."""
        shown = self.plain(text)
        if wide(shown) <= width:
            return shown
        room = width - len(self.dots)
        return set_cell_size(shown, room).rstrip() + self.dots if room > 0 else self.dots[:width]

    def fit(self, text: str, width: int) -> str:
        """Return text on one line, in exactly a width."""
        shown = self.cut(text, width)
        return shown + " " * (width - wide(shown))

    def write(self, lines: Iterable[str]) -> None:
        """Write lines."""
        text = "\n".join(lines)
        if text:
            print(text)

    def wrapped(self, text: str, first: str = "", others: str | None = None) -> list[str]:
        """Return text in as many lines as it takes, the first and the others indented."""
        others = first if others is None else others
        if not self.is_bounded:
            return [first + self.plain(text)]
        room = self.width - wide(others)
        lines: list[str] = []
        line, is_empty = first, True
        for word in _WORDS.split(self.plain(text)):
            for part in (word,) if wide(word) <= room else chop_cells(word, room):
                if not is_empty and wide(line) + 1 + wide(part) > self.width:
                    lines.append(line)
                    line, is_empty = others, True
                line += part if is_empty else f" {part}"
                is_empty = False
        return [*lines, line]


def _width_behind_pipe() -> int:
    # What a pager or `head` shows is read in the window that also shows stderr, if one does.
    with suppress(OSError, ValueError):
        return os.get_terminal_size(2).columns
    return _WIDE


@lru_cache(10_000)
def wide(text: str) -> int:
    """Return how many columns a text takes."""
    return len(text) if text.isascii() else cell_len(text)


# --- runs ---------------------------------------------------------------------------------


def heading(screen: Screen, view: RunView) -> list[str]:
    """Return the lines that say which run this is."""
    run = view.run
    style = STATUS_STYLES.get(run.status, BOLD)
    took = seconds(view.duration)
    how = {
        "running": f"running for {took}",
        "lost": f"lost after {took}",
    }.get(run.status, f"{run.status} in {took}")
    name = screen.cut(run.workflow, max(screen.width - wide(how) - 1, 8))
    where = f"{run.id}, {run.mode}, {moment(run.started)}, {run.host} {run.pid}"
    return [
        f"{screen.style(name, BOLD)} {screen.style(how, style)}",
        *(screen.style(line, DIM) for line in screen.wrapped(where)),
    ]


def as_data(run: RunInfo) -> dict[str, Any]:
    """Return what is known of a run, for JSON."""
    return {
        "id": run.id,
        "workflow": run.workflow,
        "workflow_id": run.workflow_id,
        "mode": run.mode,
        "status": run.status,
        "started": iso(run.started),
        "ended": iso(run.ended),
        "duration": run.duration,
        "tasks": run.tasks,
        "completed": run.completed,
        "failed": run.failed,
        "restored": run.restored,
        "retried": run.retried,
        "skipped": run.skipped,
        "in_flight": run.in_flight,
        "error_type": run.error_type,
        "error": run.error or None,
        "trace_id": run.trace_id,
        "host": run.host,
        "pid": run.pid,
        "last_heartbeat": iso(run.beat),
    }
