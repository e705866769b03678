"""The text of what goes on, in as many columns and lines as there are."""

from __future__ import annotations

import os
from heapq import nsmallest
from typing import TYPE_CHECKING, Final, NamedTuple
from unicodedata import category, east_asian_width

from dotflow.core.timing import monotonic
from dotflow.core.types import TypeExecution
from dotflow.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dotflow.core.model import Task
    from dotflow.core.run import Run

    # Text, and its style.
    Piece = tuple[str, str]

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _PLAIN = "1", "2", "31", "32", "33", ""

_HEAVY: Final = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"
_BETWEEN: Final = "  "
_LONGEST_BAR: Final = 40
_SHORTEST_BAR: Final = 10
_BAR: Final = "bar"
_LEAST_NAME: Final = 6
_NO_GROUP: Final = "default"


class RunCounts:
    """What has become of a run until now; the run's own thread writes it.

    Attributes:
        name: The name of the workflow.
        mode: The mode as it runs.
        total: How many tasks it has.
        began: When it began, in time of the monotonic clock.
        done: How many tasks have ended, whatever became of them, or were restored.
        failed: How many of these failed.
        retried: How many attempts followed a failed one.
        running: The tasks that have begun and not ended, with when they began.
        waiting: Those of them that wait for another attempt.
    """

    __slots__ = (
        *("began", "done", "failed", "mode", "name", "retried", "running", "total", "waiting"),
    )

    def __init__(self, run: Run) -> None:
        self.name = run.name
        self.mode = run.mode
        self.total = run.task_count
        self.began = monotonic()
        self.done = self.failed = self.retried = 0
        self.running: dict[Task, float] = {}
        self.waiting: dict[Task, None] = {}


class Style(NamedTuple):
    """What a terminal can show.

    Attributes:
        has_colors: Whether pieces are styled.
        bar: The characters of a bar: what is done, and what is not.
    """

    has_colors: bool
    bar: tuple[str, str]

    @classmethod
    def of(cls, encoding: str) -> Style:
        """Return the style for an encoding and the environment of this process."""
        has_colors = not os.environ.get("NO_COLOR")
        try:
            _HEAVY.encode(encoding)
        except (UnicodeEncodeError, LookupError):
            return cls(has_colors, ("#", "-"))
        rest = _HEAVY if has_colors else "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
        return cls(has_colors, (_HEAVY, rest))

    def line(self, pieces: Iterable[Piece]) -> str:
        """Return pieces as one text."""
        return "".join(
            f"\x1b[{style}m{text}\x1b[0m" if style and self.has_colors else text
            for text, style in pieces
        )


def lines_of(
    runs: Sequence[RunCounts], workers: tuple[int, int], width: int, limit: int, style: Style
) -> list[str]:
    """Return a line for each run, and below it some for its tasks that run longest.

    Args:
        runs: The runs, those that began first before the others.
        workers: How many workers live, and how many are busy.
        width: The most columns of a line.
        limit: The most lines.
        style: How they are styled.
    """
    now = monotonic()
    shown = runs if len(runs) <= limit else runs[: limit - 1]
    tasks = {run: _in_flight(run) for run in shown}
    every = [each for of_run in tasks.values() for each in of_run]
    room = max(0, limit - len(runs))
    # The last line may have to say how many others there are.
    listed = set(nsmallest(room if len(every) <= room else room - 1, every, key=_rank))
    lines: list[list[Piece]] = []
    for run in shown:
        lines.append(_run_line(run, tasks[run], workers, now, width, style))
        lines += _task_lines([each for each in tasks[run] if each in listed], now, width)
    if len(shown) < len(runs):
        lines.append([(_fitted(f"and {len(runs) - len(shown):,} more runs", width), _DIM)])
    elif room and len(listed) < len(every):
        lines.append([(_fitted(f"  and {len(every) - len(listed):,} more", width), _DIM)])
    return [style.line(pieces) for pieces in lines]


class _InFlight(NamedTuple):
    """A task that has begun and not ended."""

    task: Task
    began: float
    is_waiting: bool


def _rank(each: _InFlight) -> tuple[bool, float]:
    """Return what sorts those first that run longest, and those last that wait."""
    return each.is_waiting, each.began


def _in_flight(run: RunCounts) -> list[_InFlight]:
    # The run goes on meanwhile; to copy a dictionary is one step of the interpreter's.
    waiting = run.waiting.copy()
    running = run.running.copy()
    found = [_InFlight(task, began, task in waiting) for task, began in running.items()]
    return sorted(found, key=_rank)


def _run_line(
    run: RunCounts,
    tasks: Sequence[_InFlight],
    workers: tuple[int, int],
    now: float,
    width: int,
    style: Style,
) -> list[Piece]:
    total = max(run.total, run.done + len(tasks))
    running = sum(not each.is_waiting for each in tasks)
    live, busy = workers if run.mode == TypeExecution.PARALLEL else (0, 0)
    counts: dict[str, Piece] = {
        "done": (f"{run.done:,}/{total:,}", _BOLD),
        "failed": (f"{run.failed:,} failed" if run.failed else "", _RED),
        "retried": (f"{run.retried:,} retried" if run.retried else "", _YELLOW),
        "running": (f"{running:,} running", _PLAIN),
        "workers": (f"{busy:,} of {live:,} workers busy" if live else "", _PLAIN),
        "time": (clock(now - run.began), _PLAIN),
    }
    name = printable(run.name)
    # What a narrow terminal has no room for, in this order; a bar is drawn where there is some.
    bar = _SHORTEST_BAR + len(_BETWEEN)
    for dropped in ("running" if live else "", _BAR, "workers", "retried", "running"):
        if _needed(name, counts) + bar <= width:
            break
        counts.pop(dropped, None)
        bar = 0 if dropped == _BAR else bar
    rest = [piece for piece in counts.values() if piece[0]]
    taken = sum(len(text) + len(_BETWEEN) for text, _ in rest)
    name = _fitted(name, max(_LEAST_NAME, width - taken))
    pieces: list[Piece] = [(name, _BOLD)]
    free = min(_LONGEST_BAR, width - taken - cells(name) - len(_BETWEEN))
    if free >= _SHORTEST_BAR:
        pieces += [(_BETWEEN, _PLAIN), *_bar(run, total, free, style)]
    for piece in rest:
        pieces += [(_BETWEEN, _PLAIN), piece]
    return _cut(pieces, width)


def _needed(name: str, counts: dict[str, Piece]) -> int:
    return cells(name) + sum(len(text) + len(_BETWEEN) for text, _ in counts.values() if text)


def _bar(run: RunCounts, total: int, width: int, style: Style) -> list[Piece]:
    done = width * run.done // total if total else 0
    failed = min(done, max(1, width * run.failed // total)) if run.failed and total else 0
    full, rest = style.bar
    return [
        (full * (done - failed), _GREEN),
        (full * failed, _RED),
        (rest * (width - done), _DIM),
    ]


def _task_lines(tasks: Sequence[_InFlight], now: float, width: int) -> Iterable[list[Piece]]:
    names = [_name_of(each.task) for each in tasks]
    longest = min(max(map(cells, names), default=0), max(_LEAST_NAME, width - 12))
    for each, name in zip(tasks, names, strict=True):
        fitted = _fitted(name, longest)
        pieces = [
            (f"  {fitted}{' ' * (longest - cells(fitted))}", _PLAIN),
            (f"{clock(now - each.began):>8}", _PLAIN),
        ]
        if each.is_waiting:
            pieces.append((f"  waits for attempt {each.task.attempt}", _YELLOW))
        elif each.task.attempt > 1:
            pieces.append((f"  attempt {each.task.attempt}", _YELLOW))
        yield _cut(pieces, width)


def _name_of(task: Task) -> str:
    group = "" if task.group_name == _NO_GROUP else f" ({task.group_name})"
    return printable(f"{task.name}{group}")


def _cut(pieces: Iterable[Piece], width: int) -> list[Piece]:
    kept: list[Piece] = []
    for text, style in pieces:
        fitted = _fitted(text, width)
        kept.append((fitted, style))
        width -= cells(fitted)
        if fitted != text:
            break
    return kept


def _fitted(text: str, width: int) -> str:
    """Return text cut to a width, with an ellipsis where there is room for one."""
    if cells(text) <= width:
        return text
    end = "..." if width > _LEAST_NAME else ""
    kept, left = "", width - len(end)
    for character in text:
        left -= cells(character)
        if left < 0:
            break
        kept += character
    return kept + end


def cells(text: str) -> int:
    """Return how many columns a terminal needs for a text."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if east_asian_width(character) in {"W", "F"} else 1


def clock(seconds: float) -> str:
    """Return a time that goes on: `3.2 s`, `1:05`, `2:03:04`."""
    if seconds < 59.95:  # noqa: PLR2004 - what is rounded to a minute is one
        return f"{seconds:.1f} s"
    minutes, left = divmod(max(60, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
