"""`dotflow trace`, the waterfall of a run, two runs, and traces for other programs; `dotflow why`.

`dotflow why` tells in a few lines what failed, where the time went, and what is unusual.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dotflow.cli.output import COMPLETED
from dotflow_otel.analysis import chrome_trace, compare, otlp_json, view_of
from dotflow_otel.analysis import why as reasons
from dotflow_otel.analysis.sentences import moment, plural, seconds, sections
from dotflow_otel.cli.shared import (
    BOLD,
    DIM,
    GREEN,
    RED,
    STATUS_STYLES,
    Debug,
    HistoryPath,
    OptionalReference,
    Reference,
    Screen,
    WrongUse,
    heading,
    wide,
)
from dotflow_otel.cli.waterfall import waterfall
from dotflow_otel.history.reader import History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow_otel.analysis import Comparison, RunView, TaskChange
    from dotflow_otel.history.reader import RunInfo


_FORMATS: Final = ("text", "otlp-json", "chrome")

# Of more tasks than these some are left out of a comparison, unless all are asked for.
_MOST_TASKS: Final = 40
_TIME: Final = 8
_RATIO: Final = 7
_LEAST_NAME: Final = 10


def _formats(incomplete: str) -> list[str]:
    return [name for name in _FORMATS if name.startswith(incomplete)]


def trace(
    run: OptionalReference = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--diff",
            metavar="RUN RUN",
            help="In place of RUN two of them: which tasks took longer in the second one.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(_FORMATS),
            help="text (default), otlp-json, which Jaeger's page reads, or chrome, which Perfetto "
            "does.",
            show_default=False,
            autocompletion=_formats,
        ),
    ] = "text",
    shows_all: Annotated[
        bool, typer.Option("--all", help="Show each task and span, however many there are.")
    ] = False,
    history: HistoryPath = None,
    _debug: Debug = False,
) -> int:
    """Show where the time of a run went: its tasks, attempts and spans on one scale.

    What the end of the run waited for, its critical path, is marked.
    """
    if (run is None) == (diff is None):
        given = "RUN and --diff are both given" if run is not None else "no run is named"
        raise WrongUse(f"{given}: give RUN, such as latest, or --diff RUN RUN.")
    if form not in _FORMATS:
        raise WrongUse(f"--format {form!r} is none: use one of {', '.join(_FORMATS)}.")
    if diff is not None and form != "text":
        raise WrongUse(f"--diff is text: it does not go with --format {form}.")
    with History(history) as found:
        if diff is not None:
            views = [_view(found, found.run(each)) for each in diff]
            screen = Screen()
            screen.write(_compared(screen, compare(*views), shows_all=shows_all))
        elif form == "text":
            screen = Screen()
            screen.write(waterfall(screen, _view(found, found.run(run or "")), shows_all=shows_all))
        else:
            _export(found, found.run(run or ""), form)
    return COMPLETED


def _view(history: History, run: RunInfo) -> RunView:
    return view_of(run, history.spans(run, nested=True))


def _export(history: History, run: RunInfo, form: str) -> None:
    if form == "chrome":
        made = chrome_trace(_view(history, run))
    else:
        made = otlp_json(run, history.spans(run, nested=True), history.resource(run))
    # In ASCII, which each locale takes; in one piece, which takes a fifth of the time.
    print(json.dumps(made, indent=2 if sys.stdout.isatty() else None))


# --- two runs -----------------------------------------------------------------------------


def _compared(screen: Screen, found: Comparison, *, shows_all: bool) -> list[str]:
    lines = []
    for letter, view in (("A", found.before), ("B", found.after)):
        run = view.run
        took = f"{run.status} in {seconds(view.duration)}"
        name = screen.cut(run.workflow, max(screen.width - wide(took) - 4, _LEAST_NAME))
        style = STATUS_STYLES.get(run.status, BOLD)
        lines.append(f"{letter}  {screen.style(name, BOLD)} {screen.style(took, style)}")
        lines += (
            screen.style(line, DIM)
            for line in screen.wrapped(f"{run.id}, {moment(run.started)}", "   ")
        )
    changes = [*found.tasks]
    if not shows_all and len(changes) > _MOST_TASKS:
        changes = sorted(changes, key=lambda each: -abs(each.change))[:_MOST_TASKS]
        changes.sort(key=lambda each: -each.change)
    has_groups = len({each.group for each in found.tasks}) > 1
    lines += _changes(screen, found, changes, has_groups=has_groups)
    left_out = len(found.tasks) - len(changes)
    if left_out:
        lines += screen.wrapped(
            f"{plural(left_out, 'more task')} that changed less: --all shows them."
        )
    return lines


def _changes(
    screen: Screen, found: Comparison, changes: list[TaskChange], *, has_groups: bool
) -> Iterator[str]:
    labels = [_label(each, has_groups=has_groups) for each in changes]
    longest = max((wide(screen.plain(label)) for label in labels), default=0)
    room = screen.width - 3 * (_TIME + 1)
    has_ratio = room - _RATIO - 1 >= _LEAST_NAME
    room -= (_RATIO + 1) if has_ratio else 0
    width = max(min(max(longest, len("- waiting for workers")), room), len("task"))
    titles = ("A", "B", "change")
    title = " ".join(["task".ljust(width), *(each.rjust(_TIME) for each in titles)])
    yield screen.style(title + (" " + "B / A".rjust(_RATIO) if has_ratio else ""), BOLD)
    for change, label in zip(changes, labels, strict=True):
        yield _change(screen, label, width, change.before, change.after, has_ratio=has_ratio)
    whole = found.before.duration, found.after.duration
    yield _change(screen, "the whole run", width, *whole, has_ratio=has_ratio)
    for label, before, after in (
        ("- steps", found.time_before.steps, found.time_after.steps),
        ("- retries", found.time_before.retries, found.time_after.retries),
        ("- waiting for workers", found.time_before.queue, found.time_after.queue),
        ("- backoff", found.time_before.backoff, found.time_after.backoff),
    ):
        if before or after:
            yield _change(screen, label, width, before, after, has_ratio=has_ratio)


def _label(change: TaskChange, *, has_groups: bool) -> str:
    count = max(change.count_before, change.count_after)
    label = f"{change.name} [{change.group}]" if has_groups else change.name
    return label if count == 1 else f"{label} x {count:,}"


def _change(
    screen: Screen,
    label: str,
    width: int,
    before: float | None,
    after: float | None,
    *,
    has_ratio: bool,
) -> str:
    change = (after or 0.0) - (before or 0.0)
    is_known = before is not None and after is not None
    sign = "+" if change > 0 else ""
    told = f"{sign}{seconds(change)}" if is_known else "new" if before is None else "gone"
    parts = [
        screen.fit(label, width),
        ("-" if before is None else seconds(before)).rjust(_TIME),
        ("-" if after is None else seconds(after)).rjust(_TIME),
        screen.style(told.rjust(_TIME), *_weight(before, change)),
    ]
    if has_ratio:
        ratio = f"{after / before:.2f} x" if before and after is not None else ""
        parts.append(ratio.rjust(_RATIO))
    return " ".join(parts).rstrip()


def _weight(before: float | None, change: float) -> tuple[str, ...]:
    """Return in which style a change is shown: one of a twentieth or less has no colour."""
    if before is None or abs(change) <= before / 20:
        return (DIM,)
    return (RED,) if change > 0 else (GREEN,)


def why(run: Reference, history: HistoryPath = None, _debug: Debug = False) -> int:
    """Return why a run failed, was slow, or was lost: facts of the history, each with its figure.

    Out of the ordinary is what lies more than three spreads from the median of the last 20 runs
    of the same workflow; the spread is the median distance from the median, times 1.48.
    """
    with History(history) as found:
        named = found.run(run)
        view = view_of(named, found.spans(named, nested=True))
        told = reasons(found, view, found.logs(named) if named.skipped else ())
    screen = Screen()
    lines = heading(screen, view)
    for title, facts in sections(told):
        lines += ["", *(screen.style(line, BOLD) for line in screen.wrapped(title))]
        for fact in facts:
            indent = "  " * (fact.depth + 1)
            lines += screen.wrapped(fact.text, indent, f"{indent}  ")
    screen.write(lines)
    return COMPLETED
