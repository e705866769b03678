"""`dotflow why`: in a few lines what failed, where the time went, and what is unusual."""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

from dotflow.cli.output import COMPLETED
from dotflow.core.types import TypeExecution
from dotflow_otel.analysis import Why, concurrency, view_of
from dotflow_otel.analysis import why as reasons
from dotflow_otel.analysis.beside import FEWEST, RUN_DURATION, TASK_DURATION, TASK_QUEUE
from dotflow_otel.analysis.timing import BACKOFF, BETWEEN, QUEUE, RETRY, STEP
from dotflow_otel.cli.shared import (
    BOLD,
    NOT_SAMPLED,
    Debug,
    HistoryPath,
    Reference,
    Screen,
    heading,
    moment,
    plural,
    seconds,
)
from dotflow_otel.history.reader import History
from dotflow_otel.history.store import LOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dotflow_otel.analysis import Segment, TaskView, Unusual

# How many of each kind are told of; of the rest there is the number.
_MOST: Final = 5
_LONGEST: Final = 200


def why(run: Reference, history: HistoryPath = None, _debug: Debug = False) -> int:
    """Tell why a run failed, was slow, or was lost: facts of the history, each with its figure.

    Out of the ordinary is what lies more than three spreads from the median of the last 20 runs
    of the same workflow; the spread is the median distance from the median, times 1.48.
    """
    with History(history) as found:
        named = found.run(run)
        view = view_of(named, found.spans(named, nested=True))
        told = reasons(found, view, found.logs(named) if named.skipped else ())
    screen = Screen()
    lines = heading(screen, view)
    for title, facts in _sections(told):
        lines += ["", *(screen.style(line, BOLD) for line in screen.wrapped(title))]
        for depth, fact in facts:
            indent = "  " * (depth + 1)
            lines += screen.wrapped(fact, indent, f"{indent}  ")
    screen.write(lines)
    return COMPLETED


_Facts = list[tuple[int, str]]


def _sections(told: Why) -> Iterator[tuple[str, _Facts]]:
    run = told.view.run
    if told.first is not None or run.error:
        yield "What failed first", [*_failure(told)]
    if told.in_flight:
        when = f"at {moment(told.view.end, '%H:%M:%S')}"
        last = f"when it was lost: its process was last alive {when}"
        now = f"{when}, as far as is recorded"
        yield f"In flight {last if run.status == LOST else now}", [*_in_flight(told)]
    elif run.status == LOST:
        when = moment(told.view.end, "%H:%M:%S")
        yield (
            "Nothing was in flight when it was lost",
            [(0, f"Its process was last alive at {when}.")],
        )
    yield f"Where the time went: {seconds(told.on_path.total)}", [*_time(told)]
    yield from _beside(told)


def _failure(told: Why) -> Iterator[tuple[int, str]]:
    run, first = told.view.run, told.first
    if first is None:
        yield 0, _short(run.error or "")
        return
    yield 0, f"{_failed(told, first)}: {_short(str(first.error))}"
    if first.cause is not None and first.cause.error is not None:
        span = first.cause.span
        yield 1, f"in it {_short(span.name)} failed: {_short(str(first.cause.error))}"
    followed = [*told.also_failed]
    for task in followed[:_MOST]:
        yield 0, f"then {_failed(told, task)}: {_short(str(task.error))}"
    if len(followed) > _MOST:
        yield 0, f"and {plural(len(followed) - _MOST, 'more task')} failed"
    if told.skipped:
        verb = f"{plural(told.skipped, 'task')} did not run"
        yield 0, f"{verb}{_listed(told.skipped_names, told.skipped)}"


def _failed(told: Why, task: TaskView) -> str:
    after = seconds(max((task.ended or told.view.end) - told.view.run.started, 0) / 1e9)
    tries = f", in attempt {task.tries}" if task.tries > 1 else ""
    return f"{_name(told, task)} failed after {after}{tries}"


def _listed(names: Sequence[str], number: int) -> str:
    if not names:
        return ""
    shown = ", ".join(_short(name) for name in names[:_MOST])
    return f": {shown}{', ...' if number > _MOST else ''}"


def _in_flight(told: Why) -> Iterator[tuple[int, str]]:
    for each in told.in_flight[:_MOST]:
        what = f"attempt {each.attempt}" if each.attempt else "waiting for its next attempt"
        since = moment(each.since, "%H:%M:%S")
        yield 0, f"{_name(told, each.task)}: {what} since {since}, for {seconds(each.seconds)}"
    if len(told.in_flight) > _MOST:
        yield 0, f"and {plural(len(told.in_flight) - _MOST, 'more task')}"


def _time(told: Why) -> Iterator[tuple[int, str]]:
    path, tasks = told.on_path, told.of_tasks
    for kind, what, value in (
        (STEP, "steps", path.steps),
        (RETRY, "attempts that failed and were retried", path.retries),
        (QUEUE, "waiting for workers", path.queue),
        (BACKOFF, "waiting between attempts", path.backoff),
        (BETWEEN, "before, between and after tasks", path.between),
    ):
        if value:
            part = value / path.total if path.total else 0.0
            most = _most_of(told, [each for each in told.path if each.kind == kind])
            yield 0, f"{seconds(value)} ({part:.0%}) {what}{most}"
    if not told.view.run.is_sampled:
        yield 0, NOT_SAMPLED
    if told.retried:
        first = told.retried[0]
        count = sum(task.tries - 1 for task in told.retried)
        retries = f"{count:,} {'retry' if count == 1 else 'retries'}"
        where = f"{_name(told, first)} had {first.tries} attempts"
        yield 0, f"{retries} in {plural(len(told.retried), 'task')}: {where}"
    if tasks.queue > path.queue and len(told.view.tasks) > 1:
        ran, waited = seconds(tasks.steps + tasks.retries), seconds(tasks.queue)
        whole = f"all {len(told.view.tasks):,} tasks together"
        yield 0, f"{whole} ran for {ran} and waited {waited} for workers"
    if told.view.run.mode == TypeExecution.PARALLEL:
        number, average = concurrency(told.view)
        yield 0, f"at most {plural(number, 'task')} ran at a time, {average:.1f} on average"


def _most_of(told: Why, segments: Sequence[Segment]) -> str:
    """Return which task has the most of some segments of the critical path."""
    by_task: dict[int, tuple[float, TaskView]] = {}
    for each in segments:
        if each.task is not None and each.kind != BETWEEN:
            known = by_task.get(each.task.span_id, (0.0, each.task))[0]
            by_task[each.task.span_id] = known + each.duration, each.task
    if len(told.view.tasks) == 1 or not by_task:
        return ""
    most, task = max(by_task.values(), key=itemgetter(0))
    name = _name(told, task)
    return f": {name}" if len(by_task) == 1 else f", {seconds(most)} of it {name}"


def _beside(told: Why) -> Iterator[tuple[str, _Facts]]:
    runs = told.beside.runs
    if not runs:
        return
    if len(runs) < FEWEST:
        need = f"it takes {FEWEST} earlier runs, and there {'is' if len(runs) == 1 else 'are'}"
        yield f"What is out of the ordinary is not known: {need} {len(runs)}", []
        return
    beside = f"beside the last {len(runs)} runs"
    if not told.beside.unusual:
        yield f"Nothing is out of the ordinary {beside}", []
        return
    unusual = told.beside.unusual
    facts = [(0, _unusual(told, each)) for each in unusual[:_MOST]]
    if len(unusual) > _MOST:
        facts.append((0, f"and {plural(len(unusual) - _MOST, 'more figure')}"))
    yield f"Out of the ordinary {beside}", facts


def _unusual(told: Why, each: Unusual) -> str:
    group = f" [{_short(each.group)}]" if each.group and _has_groups(told) else ""
    name = f"{_short(each.name)}{group}"
    base = each.baseline
    if each.kind in (RUN_DURATION, TASK_DURATION, TASK_QUEUE):
        what = {
            RUN_DURATION: "the run took",
            TASK_DURATION: f"{name} took",
            TASK_QUEUE: f"{name} waited for workers",
        }[each.kind]
        usual = f"median {seconds(base.median)}, spread {seconds(base.spread)}"
        value = seconds(each.value)
    else:
        what, value = f"{name} had", plural(round(each.value), "attempt")
        usual = f"median {base.median:g}, spread {base.spread:.2g}"
    ratio = "" if each.ratio is None else f", {each.ratio:.1f} x"
    return f"{what} {value}{ratio} ({usual}, of {base.values:,})"


def _name(told: Why, task: TaskView) -> str:
    name = _short(task.name)
    return f"{name} [{_short(task.group)}]" if _has_groups(told) else name


def _has_groups(told: Why) -> bool:
    return len(set(map(attrgetter("group"), told.view.tasks))) > 1


def _short(text: str) -> str:
    line = " ".join(text[: _LONGEST + 1].split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
