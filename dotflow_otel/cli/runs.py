"""`dotflow runs`: a table of the runs of the history."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from fnmatch import fnmatchcase
from shutil import get_terminal_size
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from dotflow.cli.output import COMPLETED, FAILED, print_error, print_note
from dotflow.core.exception import DotflowError
from dotflow.printable import printable
from dotflow_otel.analysis.sentences import moment, plural, seconds
from dotflow_otel.cli.shared import (
    BOLD,
    DIM,
    RED,
    STATUS_STYLES,
    AsJson,
    Debug,
    HistoryPath,
    Screen,
    WrongUse,
    as_data,
    offered_workflows,
    time_of,
    wide,
)
from dotflow_otel.history.place import history_path
from dotflow_otel.history.reader import History
from dotflow_otel.history.store import RUNNING, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.recovery import Sending


_STATUSES: Final = ("running", "completed", "failed", "lost")
_LIMIT: Final = 20

# The fewest characters of an id that are shown: those of a millisecond, and two more.
_SHORTEST: Final = 12
# Between two looks at the history, in seconds.
_PAUSE: Final = 1.0
# How wide columns are: of states, of names and of errors at least, of names at most.
_STATUS: Final = 9
_LEAST_NAME: Final = 14
_LEAST_ERROR: Final = 12
_LONGEST_NAME: Final = 60


def _statuses(incomplete: str) -> list[str]:
    return [status for status in _STATUSES if status.startswith(incomplete)]


def runs(
    workflow: Annotated[
        str | None,
        typer.Option(
            "--workflow",
            "-w",
            metavar="NAME",
            help="Only those of this workflow; * and ? stand for any text and character.",
            autocompletion=offered_workflows,
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="|".join(_STATUSES),
            help="Only those in this state.",
            autocompletion=_statuses,
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    lost: Annotated[
        bool, typer.Option("--lost", help="Only those whose process is gone; with --failed both.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Only those that started then or later: 2h ago, or at 2026-03-01T06:00.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Only those that started before; as --since."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            "-n",
            metavar="NUMBER",
            min=0,
            help="At most so many; 0: all.",
            show_default=True,
        ),
    ] = _LIMIT,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the table again each second, until Ctrl-C.")
    ] = False,
    history: HistoryPath = None,
    _debug: Debug = False,
) -> int:
    """List the runs of the history, the latest first.

    The id of a run, or its beginning, is what `dotflow trace`, `why` and `logs` take.
    """
    chosen = _Chosen(workflow, _states(status, failed=failed, lost=lost), since, until, limit)
    chosen.check()
    with History(history) as found:
        if watch:
            if as_json or not sys.stdout.isatty():
                other = "--json" if as_json else "a pipe or a file"
                raise WrongUse(f"--watch draws on a terminal: it does not go with {other}.")
            _watch(found, chosen)
        listed = chosen.runs(found)
        if as_json:
            print(json.dumps([as_data(run) for run in listed], indent=2))
            return COMPLETED
        screen = Screen()
        screen.write(_table(screen, listed))
        if not listed:
            print_note(f"The history {str(found.path)!r} has no such run.")
        elif limit and len(listed) == limit:
            print_note(f"The latest {limit:,}; --limit 0 lists all.")
    return COMPLETED


class _Chosen(NamedTuple):
    """Which runs are asked for."""

    workflow: str | None
    states: Sequence[str]
    since: str | None
    until: str | None
    limit: int

    def check(self) -> None:
        """Refuse times that are none, or that nothing lies between."""
        since, until = self._times()
        if since is not None and until is not None and since >= until:
            raise WrongUse(
                f"--since {self.since} is not before --until {self.until}: no run lies between."
            )

    def _times(self) -> tuple[int | None, int | None]:
        since = None if self.since is None else time_of("--since", self.since)
        return since, None if self.until is None else time_of("--until", self.until)

    def runs(self, history: History) -> list[RunInfo]:
        """Return them, the latest first."""
        name = self.workflow
        is_pattern = name is not None and any(each in name for each in "*?[")
        since, until = self._times()
        most = None if is_pattern or not self.limit else self.limit
        found: list[RunInfo] = []
        for state in self.states or (None,):
            found += history.runs(
                workflow=None if is_pattern else name,
                status=state,
                since=since,
                until=until,
                limit=most,
            )
        if is_pattern:
            found = [run for run in found if fnmatchcase(run.workflow, name or "")]
        if len(self.states) > 1:
            found.sort(key=lambda run: run.started, reverse=True)
        return found[: self.limit] if self.limit else found


def _states(status: str | None, *, failed: bool, lost: bool) -> Sequence[str]:
    flags = [name for name, is_set in (("failed", failed), ("lost", lost)) if is_set]
    if status is None:
        return flags
    if status not in _STATUSES:
        raise WrongUse(f"--status {status!r} is none: use one of {', '.join(_STATUSES)}.")
    if flags and flags != [status]:
        raise WrongUse(f"--status {status} and --{flags[0]} contradict each other: give one.")
    return [status]


def _watch(history: History, chosen: _Chosen) -> None:
    try:
        while True:
            screen = Screen()
            lines = _table(screen, chosen.runs(history))[: _rows()]
            # Over what was there, line by line: a screen that is cleared flickers.
            shown = "".join(f"{line}\x1b[K\n" for line in lines)
            sys.stdout.write(f"\x1b[H{shown}\x1b[J")
            sys.stdout.flush()
            sleep(_PAUSE)
    except KeyboardInterrupt:
        print()  # what the shell writes next stands on a line of its own
        raise


def _rows() -> int:
    return max(get_terminal_size().lines - 1, 2)


# --- the table ----------------------------------------------------------------------------


class _Columns(NamedTuple):
    """How wide the columns are; 0: there is no room for one."""

    run: int
    workflow: int
    started: int
    time: int
    tasks: int
    error: int


def _table(screen: Screen, listed: Sequence[RunInfo]) -> list[str]:
    if not listed:
        return []
    columns = _columns(screen, listed)
    titles = [
        "run".ljust(columns.run),
        "workflow".ljust(columns.workflow),
        "status".ljust(_STATUS),
        "started".ljust(columns.started),
        "time".rjust(columns.time),
        "tasks".rjust(columns.tasks),
        "error"[: columns.error],
    ]
    widths = columns.run, columns.workflow, _STATUS, *columns[2:]
    shown = (title for title, width in zip(titles, widths, strict=True) if width)
    lines = [screen.style(" ".join(shown).rstrip(), BOLD)]
    lines += [_line(screen, columns, run) for run in listed]
    return lines


def _columns(screen: Screen, listed: Sequence[RunInfo]) -> _Columns:
    run = _shortest([each.id for each in listed])
    longest = max(wide(screen.plain(each.workflow, _LONGEST_NAME)) for each in listed)
    name = max(longest, len("workflow"))
    least = min(name, _LEAST_NAME)
    wanted = {"time": 8, "started": 15, "tasks": max(5, *(len(_tasks(each)) for each in listed))}
    error = max(len(_why(each)) for each in listed)
    if not screen.is_bounded:
        return _Columns(run, name, error=error, **wanted)
    # The columns come in as long as there is room for them, the most telling ones first.
    left = screen.width - run - 1 - _STATUS - 1
    for title, width in wanted.items():
        wanted[title] = width if left - least > width else 0
        left -= wanted[title] and wanted[title] + 1
    if error and left - least > _LEAST_ERROR:
        name = min(name, max(least, left // 2))
        return _Columns(run, name, error=left - name - 1, **wanted)
    return _Columns(run, max(min(name, left), 1), error=0, **wanted)


def _shortest(ids: Sequence[str]) -> int:
    """Return of how many characters the beginnings of ids are all different."""
    longest = max(map(len, ids))
    lengths = range(min(_SHORTEST, longest), longest)
    return next((at for at in lengths if len({each[:at] for each in ids}) == len(ids)), longest)


def _line(screen: Screen, columns: _Columns, run: RunInfo) -> str:
    parts = [
        screen.style(run.id[: columns.run].ljust(columns.run), DIM),
        screen.fit(run.workflow[: _LONGEST_NAME + 1], columns.workflow),
        screen.style(run.status.ljust(_STATUS), STATUS_STYLES.get(run.status, BOLD)),
    ]
    if columns.started:
        parts.append(moment(run.started, "%b %d %H:%M:%S"))
    if columns.time:
        parts.append(seconds(run.duration).rjust(columns.time))
    if columns.tasks:
        parts.append(_tasks(run).rjust(columns.tasks))
    if columns.error:
        parts.append(screen.style(screen.cut(_why(run), columns.error), RED if run.failed else DIM))
    return " ".join(parts).rstrip()


def _tasks(run: RunInfo) -> str:
    return f"{run.completed + run.restored}/{run.tasks}"


def _why(run: RunInfo) -> str:
    parts = [run.error] if run.error else []
    if run.in_flight and run.status == "lost":
        parts.append(f"{run.in_flight} in flight")
    if run.retried:
        parts.append(f"{run.retried} retried")
    return ", ".join(parts)


_LONGEST: Final = 60

# What decides whether spans are exported at all.
_DECIDING: Final = ("SDK_DISABLED", "TRACES_EXPORTER")


class NowhereToSend(DotflowError):
    """Spans are exported nowhere."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            f"{reason}, so nothing could be sent, and nothing was done: name a backend in "
            "OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318."
        )


def recover(
    history: HistoryPath = None,
    as_json: AsJson = False,
    _debug: Debug = False,
) -> int:
    """Send the traces of runs whose process was killed, to where OTEL_* variables say.

    The next process that records in the same history does so by itself; this does it now. What
    was delivered is not sent again.

    Exit codes: 0 all was sent, or there was nothing to send, 1 the backend did not take it all,
    2 wrong use.
    """
    path = history_path(True if history is None else history)
    assert path is not None  # noqa: S101 - it may be None for False alone
    # Before anything is set up, and before a file that is damaged would be set aside.
    with History(path) as opened:
        going_on = len(opened.runs(status=RUNNING))
    lost, sendings = _recovered(path)
    if as_json:
        print(json.dumps(_as_data(lost, sendings, going_on), indent=2))
    else:
        _print(lost, sendings, going_on)
    failed = [each for each in sendings if not each.is_delivered]
    if not failed:
        return COMPLETED
    print_error(
        f"{plural(len(failed), 'run')} could not be sent: see that the backend is up, and call it "
        "again. Nothing is lost: what was not taken stays in the history."
    )
    return FAILED


def _recovered(path: Path) -> tuple[list[RunInfo], Sequence[Sending]]:
    # Here, for the page of help needs no SDK.
    from dotflow_otel.history.recording import recovery_of  # noqa: PLC0415
    from dotflow_otel.observing import observe  # noqa: PLC0415
    from dotflow_otel.sdk.setting_up import setup  # noqa: PLC0415

    config = observe(history=False)
    telemetry = setup()  # what `observe` has set up
    if not telemetry.pipelines:
        raise NowhereToSend(_why_nowhere())
    try:
        recovery = recovery_of(config, path, telemetry)
        return recovery.recover(), recovery.sendings
    except sqlite3.Error as error:
        raise unreadable(path, error) from error


def _why_nowhere() -> str:
    disabled, named = (os.environ.get(f"OTEL_{name}", "") for name in _DECIDING)
    if disabled.strip().lower() == "true":
        return f"OTEL_SDK_DISABLED is {disabled!r}"
    if named:
        return f"OTEL_TRACES_EXPORTER is {named!r}"
    return "No backend is named, and no collector listens on this machine"


def _print(lost: Sequence[RunInfo], sendings: Sequence[Sending], going_on: int) -> None:
    more = f" {plural(going_on, 'run')} {'goes' if going_on == 1 else 'go'} on." if going_on else ""
    sent = [each for each in sendings if each.is_delivered]
    if not lost and not sendings:
        print(f"Nothing to recover: no process of this history was killed.{more}")
        return
    rest = {run.key: run for run in lost}
    for each in sendings:
        rest.pop(each.run.key, None)
    spans = sum(each.spans for each in sent)
    counted = f"{plural(spans, 'span')} of {plural(len(sent), 'run')}"
    print(f"{'Sent ' + counted if sent else 'Sent nothing'}.{more}")
    for each in sendings:
        what = f"{each.spans:,} sent" if each.is_delivered else "not sent"
        print(f"  {_described(each.run)}  {what}")
    for run in rest.values():
        print(f"  {_described(run)}  {'nothing was missing' if run.is_sampled else 'not sampled'}")


def _described(run: RunInfo) -> str:
    name = printable(run.workflow)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
    began = moment(run.started)
    tasks = f"{run.completed} of {run.tasks} tasks completed"
    return f"{run.id}  {name}  {began}  {run.status}, {tasks}"


def _as_data(lost: Sequence[RunInfo], sendings: Sequence[Sending], going_on: int) -> dict[str, Any]:
    return {
        "lost": [run.id for run in lost],
        "sent": [_sending(each) for each in sendings if each.is_delivered],
        "not_sent": [_sending(each) for each in sendings if not each.is_delivered],
        "running": going_on,
    }


def _sending(each: Sending) -> dict[str, Any]:
    run = each.run
    return {
        "id": run.id,
        "workflow": run.workflow,
        "status": run.status,
        "trace_id": run.trace_id,
        "spans": each.spans,
    }
