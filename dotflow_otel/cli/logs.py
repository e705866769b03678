"""`dotflow logs`: the log lines of a run."""

from __future__ import annotations

import json
import sys
from itertools import chain
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dotflow.cli.output import COMPLETED, print_note
from dotflow_otel import conventions as names
from dotflow_otel.analysis.sentences import moment
from dotflow_otel.cli.shared import (
    BOLD,
    CYAN,
    DIM,
    MAGENTA,
    RED,
    YELLOW,
    Debug,
    HistoryPath,
    Reference,
    Screen,
    WrongUse,
    iso,
    wide,
)
from dotflow_otel.history.reader import History
from dotflow_otel.history.store import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.segments import LogLine, Span

_LEVELS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
_NUMBERS: Final = {name: number for number, name in _LEVELS.items()}
_LEVEL_STYLES: Final = {10: DIM, 20: CYAN, 30: YELLOW, 40: RED, 50: MAGENTA}
_WIDEST_LEVEL: Final = 7

# Between two looks at a run that goes on, in seconds.
_PAUSE: Final = 0.3

_LEAST_TASK: Final = 8
_MOST_TASK: Final = 24
_LONGEST_VALUE: Final = 2000

# What the heading, the column of the task, or the place of the line says.
_ELSEWHERE: Final = frozenset({"workflow_id", "workflow", "task_id", "task", "group", "logged_at"})
_TRACEBACK: Final = "exception"


# Which lines there are, for those who find none.
_RECORDED: Final = (
    "it has those that the levels of the workflow's log and of the root logger let through"
)


def _levels(incomplete: str) -> list[str]:
    return [name for name in _NUMBERS if name.startswith(incomplete)]


def logs(
    run: Reference,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="TASK", help="Only those of this task: its name, or its id."
        ),
    ] = None,
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="LEVEL",
            help="Only those of this level or above: debug (default), info, warning, error, ...",
            show_default=False,
            autocompletion=_levels,
        ),
    ] = "debug",
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on with what comes, until the run has ended."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object of JSON for each line, for scripts.")
    ] = False,
    history: HistoryPath = None,
    _debug: Debug = False,
) -> int:
    """Print the log lines of a run, each with its task.

    They are those of dotflow itself, and those that steps logged with the standard library.
    """
    lowest = _NUMBERS.get(level.lower())
    if lowest is None:
        raise WrongUse(f"--level {level!r} is none: use one of {', '.join(_NUMBERS)}.")
    with History(history) as found:
        named = found.run(run)
        owners = _Owners()
        printer = _Printer(owners, task, lowest, as_json=as_json)
        if follow:
            _follow(found, named, owners, printer)
        else:
            owners.add(found.spans(named, nested=True))
            printer.print(found.logs(named))
    if not printer.count:
        _tell_none(named, task, lowest, owners)
    return COMPLETED


def _follow(history: History, run: RunInfo, owners: _Owners, printer: _Printer) -> None:
    position = 0
    while True:
        # First how it is: what was recorded until then is read after that.
        run = history.run(run.id)
        recorded = history.recorded(run, position)
        position = recorded.position
        owners.add(recorded.spans)
        printer.print(sorted(recorded.lines, key=lambda line: line.time))
        if run.status != RUNNING:
            return
        sys.stdout.flush()
        sleep(_PAUSE)


def _tell_none(run: RunInfo, task: str | None, lowest: int, owners: _Owners) -> None:
    if task is None:
        none = "no log lines" if lowest == min(_LEVELS) else "no such log lines"
        print_note(f"The history has {none} of the run {run.id}: {_RECORDED}.")
        return
    known = ", ".join(dict.fromkeys(owners.names())) or "none"
    if task not in owners.names():
        raise WrongUse(f"The run {run.id} has no task {task!r}: it has {known[:300]}.")
    print_note(f"The history has no such log lines of the task {task!r}.")


class _Owners:
    """Knows which task the span of a line is of."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}
        self._tasks: dict[int, tuple[str, str]] = {}

    def add(self, spans: Iterable[Span]) -> None:
        """Receive spans."""
        for span in spans:
            self._above[span.span_id] = span.parent_id
            name = span.attributes.get(names.TASK_NAME)
            if name is not None:
                about = str(name), str(span.attributes.get(names.TASK_ID, ""))
                self._tasks[span.span_id] = about

    def names(self) -> Sequence[str]:
        """Return the names of all tasks."""
        return [name for name, _ in self._tasks.values()]

    def of(self, line: LogLine) -> tuple[str, str]:
        """Return the name and the id of the task of a line; empty where it has none."""
        fields = line.fields
        if "task" in fields:
            return str(fields["task"]), str(fields.get("task_id", ""))
        span_id, seen = line.span_id, set[int]()
        while span_id and span_id not in seen:
            seen.add(span_id)
            found = self._tasks.get(span_id)
            if found is not None:
                return found
            span_id = self._above.get(span_id, 0)
        return "", ""


class _Printer:
    """Prints the lines that are asked for.

    Attributes:
        count: How many it has printed.
    """

    def __init__(self, owners: _Owners, task: str | None, lowest: int, *, as_json: bool) -> None:
        self._owners = owners
        self._task = task
        self._lowest = lowest
        self._as_json = as_json
        self._screen = Screen()
        self._width = _LEAST_TASK
        self.count = 0

    def print(self, lines: Iterable[LogLine]) -> None:
        """Print those of some lines that are asked for."""
        chosen = [(line, *self._owners.of(line)) for line in lines if line.level >= self._lowest]
        if self._task is not None:
            chosen = [
                each for each in chosen if self._task == each[1] or each[2].startswith(self._task)
            ]
        self.count += len(chosen)
        if self._as_json:
            for line, name, task_id in chosen:
                print(json.dumps(_as_data(line, name, task_id)))
            return
        widths = (wide(self._screen.plain(name)) for _, name, _ in chosen)
        self._width = min(max(self._width, *widths, 0), _MOST_TASK)
        shown = (self._lines(line, name) for line, name, _ in chosen)
        self._screen.write(chain.from_iterable(shown))

    def _lines(self, line: LogLine, name: str) -> Iterator[str]:
        screen = self._screen
        time = f"{moment(line.time, '%H:%M:%S')}.{line.time // 10**6 % 1000:03d}"
        style = _LEVEL_STYLES.get(line.level, BOLD)
        level = _LEVELS.get(line.level, str(line.level))
        columns = [screen.style(time, DIM), screen.style(level.ljust(_WIDEST_LEVEL), style)]
        room = screen.width - len(time) - _WIDEST_LEVEL - 2
        # In a narrow window the task's name stands before the text, without a column.
        if not screen.is_bounded or room - self._width >= self._width:
            columns.append(screen.style(screen.fit(name, self._width), BOLD))
        elif name:
            columns.append(screen.style(screen.cut(name, self._width), BOLD))
        columns.append(screen.plain(line.event, _LONGEST_VALUE))
        columns += _fields(screen, line.fields)
        yield " ".join(columns)
        trace = line.fields.get(_TRACEBACK)
        if trace:
            for each in str(trace).splitlines():
                yield screen.style(f"    {screen.plain(each, _LONGEST_VALUE)}", DIM)


def _fields(screen: Screen, fields: Mapping[str, Any]) -> Iterator[str]:
    for name, value in fields.items():
        if name in _ELSEWHERE or name == _TRACEBACK:
            continue
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        if not shown or any(each.isspace() or each == '"' for each in shown):
            shown = json.dumps(shown, ensure_ascii=False)
        yield screen.style(f"{screen.plain(name)}={screen.plain(shown, _LONGEST_VALUE)}", DIM)


def _as_data(line: LogLine, task: str, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "time": iso(line.time),
        "level": _LEVELS.get(line.level, line.level),
        "event": line.event,
        "task": task or None,
        "task_id": task_id or None,
        "span_id": f"{line.span_id:016x}" if line.span_id else None,
    }
    # What a step calls its own values must not hide these.
    return {**found, **{name: value for name, value in line.fields.items() if name not in found}}
