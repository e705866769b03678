"""A run as a waterfall: a line for each task, attempt and span, with a bar of when it ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.types import TypeExecution
from dotflow_otel.analysis import RESTORED, critical_path, time_on_path
from dotflow_otel.analysis.sentences import NOT_SAMPLED, plural, seconds
from dotflow_otel.analysis.timing import BACKOFF, BETWEEN, QUEUE, RETRY, STEP
from dotflow_otel.cli.shared import (
    BOLD,
    CYAN,
    DIM,
    GREEN,
    MAGENTA,
    RED,
    YELLOW,
    Screen,
    heading,
    wide,
)
from dotflow_otel.conventions import COMPLETED, FAILED, LOST, TASK_GROUP
from dotflow_otel.history.store import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dotflow_otel.analysis import Attempt, Error, OwnSpan, RunView, Segment, TaskView
    from dotflow_otel.history.segments import Span

# Of more tasks and spans than these some are left out, unless all are asked for.
_MOST_TASKS: Final = 60
_MOST_SPANS: Final = 12
# So many are shown then, and of the others so many names.
_CHOSEN: Final = 24
_MOST_NAMES: Final = 6

# The columns before a label: whether it is on the critical path, and how it ended.
_GUTTER: Final = 3
_TIME: Final = 8
_LEAST_BAR: Final = 10
_LEAST_LABEL: Final = 10
_LONGEST_LABEL: Final = 60
# From this width on the workers are named.
_ROOM_FOR_WORKERS: Final = 100

# What a bar is made of, beside the kinds of a critical path.
_OPEN: Final = "open"
_SPAN: Final = "span"
_BROKEN: Final = "broken"

_STYLES: Final = {
    STEP: (GREEN,),
    _BROKEN: (RED,),
    _OPEN: (MAGENTA,),
    _SPAN: (CYAN,),
    QUEUE: (DIM,),
    BACKOFF: (DIM,),
}
_HEAVY: Final = frozenset({STEP, _BROKEN, _OPEN, _SPAN})

# A cell of a bar by its halves: nothing, thin, dotted, or heavy.
_CELLS: Final = {
    ("", ""): " ",
    ("heavy", "heavy"): "\N{BOX DRAWINGS HEAVY HORIZONTAL}",
    ("heavy", ""): "\N{BOX DRAWINGS HEAVY LEFT}",
    ("", "heavy"): "\N{BOX DRAWINGS HEAVY RIGHT}",
    ("thin", "thin"): "\N{BOX DRAWINGS LIGHT HORIZONTAL}",
    ("thin", ""): "\N{BOX DRAWINGS LIGHT LEFT}",
    ("", "thin"): "\N{BOX DRAWINGS LIGHT RIGHT}",
    ("thin", "heavy"): "\N{BOX DRAWINGS LIGHT LEFT AND HEAVY RIGHT}",
    ("heavy", "thin"): "\N{BOX DRAWINGS HEAVY LEFT AND LIGHT RIGHT}",
    ("dotted", "dotted"): "\N{BOX DRAWINGS LIGHT QUADRUPLE DASH HORIZONTAL}",
}
_ASCII: Final = {"heavy": "=", "thin": "-", "dotted": ".", "": " "}

_SIGNS: Final = {
    FAILED: ("\N{BALLOT X}", "x", RED),
    LOST: ("?", "?", MAGENTA),
    RUNNING: ("~", "~", CYAN),
    RESTORED: ("\N{ANTICLOCKWISE OPEN CIRCLE ARROW}", "r", DIM),
}
_MEANINGS: Final = {
    FAILED: "failed",
    LOST: "in flight when it was lost",
    RUNNING: "runs",
    RESTORED: "restored",
}
_ON_PATH: Final = ("\N{BLACK RIGHT-POINTING SMALL TRIANGLE}", "*")

# The kinds in words, as they are named below.
_WORDS: Final = {
    STEP: "steps",
    RETRY: "failed attempts",
    QUEUE: "waiting for workers",
    BACKOFF: "backoff",
    BETWEEN: "between tasks",
}

_Piece = tuple[str, int, int]


class _Row(NamedTuple):
    """A line of the waterfall.

    Attributes:
        label: What it is of.
        depth: How far it is indented.
        time: Seconds.
        pieces: What its bar is made of, each with its beginning and end.
        status: How it ended, which has a sign.
        is_on_path: Whether it is on the critical path.
        style: That of the label.
        worker: Where it ran.
        note: A line below it.
        is_bad: Whether that tells of an error.
    """

    label: str
    depth: int
    time: float
    pieces: Sequence[_Piece]
    status: str = ""
    is_on_path: bool = False
    style: tuple[str, ...] = ()
    worker: str = ""
    note: str = ""
    is_bad: bool = True


def waterfall(screen: Screen, view: RunView, *, shows_all: bool) -> list[str]:
    """Return a run as lines of text.

    Args:
        screen: What they are written to.
        view: The run.
        shows_all: Whether each task and span is to have its line, however many there are.
    """
    path = critical_path(view)
    on_path = {segment.task.span_id for segment in path if segment.task is not None}
    tasks = view.tasks if shows_all else _chosen(view, path)
    rows = [*_rows(view, sorted(tasks, key=_order), on_path, shows_all=shows_all)]
    shown = {task.span_id for task in tasks}
    rows += _rest_rows(view, [task for task in view.tasks if task.span_id not in shown])
    layout = _Layout(screen, view, rows)
    lines = [*heading(screen, view), *layout.title()]
    for row in rows:
        lines += layout.lines(row)
    lines += _below(screen, view, path, left_out=len(view.tasks) - len(tasks))
    return lines


def _order(task: TaskView) -> tuple[int, int]:
    return task.started, task.place


def _chosen(view: RunView, path: Sequence[Segment]) -> Sequence[TaskView]:
    """Return the tasks that tell most: what failed, goes on, or was waited for, and the longest."""
    if len(view.tasks) <= _MOST_TASKS:
        return view.tasks
    time_on = {segment.task.span_id: segment.duration for segment in path if segment.task}

    def weight(task: TaskView) -> tuple[bool, bool, float, float]:
        return (
            task.status == FAILED,
            task.ended is None,
            time_on.get(task.span_id, 0.0),
            task.duration(view.end),
        )

    return sorted(view.tasks, key=weight, reverse=True)[:_CHOSEN]


# --- rows ---------------------------------------------------------------------------------


def _rows(
    view: RunView, tasks: Iterable[TaskView], on_path: set[int], *, shows_all: bool
) -> Iterator[_Row]:
    has_groups = len({task.group for task in view.tasks}) > 1
    has_hosts = len({each.host for task in view.tasks for each in task.attempts}) > 1
    for task in tasks:
        label = f"{task.name} [{task.group}]" if has_groups else task.name
        several = len(task.attempts) > 1
        error = "" if several or task.error is None else str(task.error)
        unknown = f"{task.tries} attempts, whose times are not recorded"
        note = error or (unknown if task.tries > len(task.attempts) else "")
        pieces = [piece for each in _with_places(task) for piece in _pieces(view, *each)]
        if task.status == RESTORED:
            pieces = []
        last = task.attempts[-1] if task.attempts else None
        yield _Row(
            label,
            0,
            task.duration(view.end),
            pieces,
            task.status,
            task.span_id in on_path,
            (BOLD,) if task.span_id in on_path else (),
            "" if last is None or several else _worker(last, has_hosts=has_hosts),
            note,
            bool(error),
        )
        for each, ready in _with_places(task):
            if several:
                yield _attempt_row(view, task, each, ready, has_hosts=has_hosts)
            yield from _span_rows(view, each.spans, 2 if several else 1, shows_all=shows_all)
        yield from _span_rows(view, task.spans, 1, shows_all=shows_all)
    yield from _span_rows(view, view.spans, 0, shows_all=shows_all)


def _rest_rows(view: RunView, tasks: Sequence[TaskView]) -> Iterator[_Row]:
    """Return a row for the tasks of each name that have none of their own."""
    by_name: dict[str, list[TaskView]] = {}
    for task in tasks:
        by_name.setdefault(task.name, []).append(task)
    ordered = sorted(by_name.items(), key=lambda each: -len(each[1]))
    for name, alike in ordered[:_MOST_NAMES]:
        yield _rest_row(view, f"{len(alike):,} more: {name}", alike)
    others = [task for _, alike in ordered[_MOST_NAMES:] for task in alike]
    if others:
        yield _rest_row(view, f"{len(others):,} others", others)


def _rest_row(view: RunView, label: str, tasks: Sequence[TaskView]) -> _Row:
    times = sorted(task.duration(view.end) for task in tasks)
    middle = seconds(times[len(times) // 2])
    span = [
        (STEP, min(task.started for task in tasks), max(task.ended or view.end for task in tasks))
    ]
    return _Row(
        label,
        0,
        sum(times),
        span,
        style=(DIM,),
        note=f"{seconds(times[0])} to {seconds(times[-1])} each, {middle} at the median",
        is_bad=False,
    )


def _with_places(task: TaskView) -> list[tuple[Attempt, int]]:
    """Return attempts, each with the end of the one before."""
    ready, found = task.ready, []
    for attempt in task.attempts:
        found.append((attempt, ready))
        ready = attempt.ended or attempt.started
    return found


def _pieces(view: RunView, attempt: Attempt, ready: int) -> Iterator[_Piece]:
    queued = attempt.started - int(attempt.queue * 1e9)
    if attempt.backoff:
        yield BACKOFF, ready, queued
    if attempt.queue:
        yield QUEUE, queued, attempt.started
    yield _kind(attempt.error, attempt.ended), attempt.started, attempt.ended or view.end


def _kind(error: Error | None, ended: int | None, fine: str = STEP) -> str:
    if ended is None:
        return _OPEN
    return fine if error is None else _BROKEN


def _attempt_row(
    view: RunView, task: TaskView, attempt: Attempt, ready: int, *, has_hosts: bool
) -> _Row:
    status = FAILED if attempt.error is not None else task.status if attempt.ended is None else ""
    return _Row(
        f"attempt {attempt.number}",
        1,
        attempt.duration(view.end),
        [*_pieces(view, attempt, ready)],
        status,
        worker=_worker(attempt, has_hosts=has_hosts),
        note="" if attempt.error is None else str(attempt.error),
    )


def _worker(attempt: Attempt, *, has_hosts: bool) -> str:
    if attempt.pid is None:
        return ""
    return f"{attempt.host}:{attempt.pid}" if has_hosts else str(attempt.pid)


def _span_rows(
    view: RunView, spans: Sequence[OwnSpan], depth: int, *, shows_all: bool
) -> Iterator[_Row]:
    shown = spans if shows_all or len(spans) <= _MOST_SPANS else spans[: _MOST_SPANS - 1]
    for own in shown:
        span = own.span
        ended = span.ended or view.end
        yield _Row(
            _span_label(span),
            depth + own.depth,
            max(ended - span.started, 0) / 1e9,
            [(_kind(own.error, span.ended, _SPAN), span.started, ended)],
            FAILED if own.error is not None else "",
            style=(CYAN,),
        )
    if len(shown) < len(spans):
        rest = spans[len(shown) :]
        started = min(own.span.started for own in rest)
        ended = max(own.span.ended or view.end for own in rest)
        label = f"{len(rest):,} more spans"
        pieces = [(_SPAN, started, ended)]
        yield _Row(label, depth, (ended - started) / 1e9, pieces, style=(DIM,))


def _span_label(span: Span) -> str:
    group = span.attributes.get(TASK_GROUP)  # of a task of a run that the step started
    return span.name if group in {None, "default"} else f"{span.name} [{group}]"


# --- lines --------------------------------------------------------------------------------


class _Layout:
    """Where on a line what stands.

    Args:
        screen: What the lines are written to.
        view: The run.
        rows: All rows.
    """

    def __init__(self, screen: Screen, view: RunView, rows: Sequence[_Row]) -> None:
        self._screen = screen
        self._start = view.run.started
        self._total = max(view.end - view.run.started, 1)
        self._signs = 0 if screen.has_unicode else 1
        is_parallel = view.run.mode == TypeExecution.PARALLEL
        worker = max((len(row.worker) for row in rows), default=0) if is_parallel else 0
        self._worker = max(worker, len("pid")) if worker else 0
        if screen.width < _ROOM_FOR_WORKERS:
            self._worker = 0
        left = screen.width - _GUTTER - 1 - _TIME - 1 - (self._worker and self._worker + 1)
        longest = max((2 * row.depth + wide(screen.plain(row.label)) for row in rows), default=0)
        most = max(min(left - _LEAST_BAR, left * 2 // 5, _LONGEST_LABEL), _LEAST_LABEL)
        self._label = max(min(longest, most), len("task"))
        self._bar = max(left - self._label, 1)
        self._cells: dict[tuple[str, str], str] = {}

    def title(self) -> list[str]:
        """Return the line above: what the columns are, and the scale of the bars."""
        total = seconds(self._total / 1e9)
        scale = "0"
        middle = seconds(self._total / 2e9)
        if self._bar >= len(middle) * 3 + len(total):
            scale = scale.ljust(self._bar // 2) + middle
        scale = f"{scale.ljust(self._bar - len(total))}{total}"[-self._bar :]
        worker = f" {'pid'.rjust(self._worker)}" if self._worker else ""
        label = " " * _GUTTER + "task".ljust(self._label)
        return [self._screen.style(f"{label} {'time'.rjust(_TIME)}{worker} {scale}", DIM)]

    def lines(self, row: _Row) -> Iterator[str]:
        """Return a row, and what is noted below it."""
        screen = self._screen
        indent = min(2 * row.depth, self._label - 4)
        label = " " * indent + screen.fit(row.label, self._label - indent)
        worker = f" {screen.style(row.worker.rjust(self._worker), DIM)}" if self._worker else ""
        time = "" if row.status == RESTORED else seconds(row.time)
        yield (
            f"{self._gutter(row)}{screen.style(label, *row.style)} {time.rjust(_TIME)}{worker} "
            f"{self._drawn(row.pieces)}"
        ).rstrip()
        if row.note:
            room = screen.width - _GUTTER - indent - 2 if screen.is_bounded else 1000
            note = screen.cut(row.note, room)
            yield f"{' ' * (_GUTTER + indent + 2)}{screen.style(note, RED if row.is_bad else DIM)}"

    def _gutter(self, row: _Row) -> str:
        mark = self._screen.style(_ON_PATH[self._signs], YELLOW) if row.is_on_path else " "
        sign = _SIGNS.get(row.status)
        shown = " " if sign is None else self._screen.style(sign[self._signs], sign[2])
        return f"{mark}{shown} "

    def _drawn(self, pieces: Sequence[_Piece]) -> str:
        """Return a bar: two halves a cell, so that it is twice as fine as the text."""
        halves: list[str] = []
        size = 2 * self._bar
        # What runs stands over what waits, where both share a half.
        for kind, started, ended in sorted(pieces, key=lambda piece: piece[0] in _HEAVY):
            begin = min(max((started - self._start) * size // self._total, 0), size - 1)
            end = min(max(-(-(ended - self._start) * size // self._total), begin + 1), size)
            if kind not in _HEAVY:
                end = max(end, begin)
            halves += [""] * (end - len(halves))
            halves[begin:end] = [kind] * (end - begin)
        if len(halves) % 2:
            halves.append("")
        return self._joined(halves)

    def _joined(self, halves: Sequence[str]) -> str:
        blank = next((at for at, half in enumerate(halves) if half), len(halves)) // 2
        parts = [" " * blank]
        text, styled = "", ""
        for at in range(2 * blank, len(halves), 2):
            left, right = halves[at], halves[at + 1]
            # A cell has one colour: that of what runs.
            kind = right if right in _HEAVY or not left else left
            if kind != styled:
                parts.append(self._screen.style(text, *_STYLES.get(styled, ())))
                text, styled = "", kind
            text += self._cell(left, right)
        parts.append(self._screen.style(text, *_STYLES.get(styled, ())))
        return "".join(parts)

    def _cell(self, left: str, right: str) -> str:
        found = self._cells.get((left, right))
        if found is None:
            halves = _weight(left), _weight(right)
            if self._screen.has_unicode:
                # The dots have no halves.
                plain = max(halves, key=_by_weight)
                found = _CELLS.get(halves) or _CELLS[plain, plain]
            else:
                found = _ASCII[max(halves, key=_by_weight)]
            self._cells[left, right] = found
        return found


def _weight(kind: str) -> str:
    if not kind:
        return ""
    return "heavy" if kind in _HEAVY else "thin" if kind == QUEUE else "dotted"


_by_weight = ("", "dotted", "thin", "heavy").index


def _below(screen: Screen, view: RunView, path: Sequence[Segment], left_out: int) -> list[str]:
    lines = []
    if left_out:
        lines += screen.wrapped("--all shows each task on a line of its own.", "   ")
    spent = time_on_path(path)
    figures = {
        STEP: spent.steps,
        RETRY: spent.retries,
        QUEUE: spent.queue,
        BACKOFF: spent.backoff,
        BETWEEN: spent.between,
    }
    listed = ", ".join(
        f"{_WORDS[kind]} {seconds(figure)}" for kind, figure in figures.items() if figure
    )
    mark = _ON_PATH[0 if screen.has_unicode else 1]
    lines += screen.wrapped(f"critical path: {listed}", f"{mark}  ", "   ")
    if not view.run.is_sampled:
        lines += screen.wrapped(f"{NOT_SAMPLED}.", "   ")
    keys = _keys(screen, view)
    if keys:
        lines += screen.wrapped("   ".join(keys), "   ")
    skipped = view.run.skipped
    if skipped:
        # A run that completed has run them all: the history did not keep up with it.
        verb = "was not recorded" if view.run.status == COMPLETED else "did not run"
        verb = verb if skipped == 1 else verb.replace("was", "were")
        lines += screen.wrapped(f"{plural(skipped, 'task')} {verb}.", "   ")
    return lines


def _keys(screen: Screen, view: RunView) -> list[str]:
    """Return what the lines and signs mean, of those that there are."""
    number = 0 if screen.has_unicode else 1
    kinds = {each for task in view.tasks for each in _waits(task)}
    keys = []
    for kind in (QUEUE, BACKOFF):
        if kind in kinds:
            weight = _weight(kind)
            cell = _CELLS[weight, weight] if screen.has_unicode else _ASCII[weight]
            keys.append(f"{cell * 2} {_WORDS[kind]}")
    statuses = {task.status for task in view.tasks}
    keys += (
        f"{_SIGNS[status][number]} {meaning}"
        for status, meaning in _MEANINGS.items()
        if status in statuses
    )
    return keys


def _waits(task: TaskView) -> Iterator[str]:
    if task.queue:
        yield QUEUE
    if task.backoff:
        yield BACKOFF
