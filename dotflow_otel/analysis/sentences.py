"""What to know of a run, in sentences: facts of the history, each with its figure.

The command `why` prints them, and the page of a run has them on top.
"""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.types import TypeExecution
from dotflow_otel.analysis.timing import BACKOFF, BETWEEN, QUEUE, RETRY, STEP, concurrency
from dotflow_otel.analysis.why import (
    FEWEST,
    RUN_DURATION,
    TASK_DURATION,
    TASK_QUEUE,
    TASK_TRIES,
)
from dotflow_otel.history.store import LOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dotflow_otel.analysis.timing import Segment
    from dotflow_otel.analysis.tree import TaskView
    from dotflow_otel.analysis.why import Unusual, Why

# How many of each kind are listed; of the rest there is the number.
_MOST: Final = 5
_LONGEST: Final = 200

# Of such a run there are no spans but those of its own process.
NOT_SAMPLED: Final = "The run was not sampled: what its tasks took includes waiting and retries"


class Fact(NamedTuple):
    """A sentence.

    Attributes:
        text: What it says, on one line.
        depth: How deep it lies below the one before it: 0, or 1.
        span_id: The span that it is of; None: it is of none alone.
    """

    text: str
    depth: int = 0
    span_id: int | None = None


class Section(NamedTuple):
    """Some facts, under a title."""

    title: str
    facts: Sequence[Fact] = ()


# --- figures ------------------------------------------------------------------------------

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


def seconds(value: float) -> str:
    """Return a duration in at most eight characters."""
    if value <= 0:
        return f"-{seconds(-value)}" if value else "0 ms"
    for limit, scale, text in (
        (0.00995, 1e3, "{:.2f} ms"),
        (0.0995, 1e3, "{:.1f} ms"),
        (0.9995, 1e3, "{:.0f} ms"),
        (9.995, 1, "{:.2f} s"),
        (59.95, 1, "{:.1f} s"),
    ):
        if value < limit:
            return text.format(value * scale)
    whole = round(value)
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02d}h"


def plural(number: int, noun: str) -> str:
    """Return a number with what it counts."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(nanoseconds: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return a time on the clock of this machine."""
    return datetime.fromtimestamp(nanoseconds / 1e9).strftime(form)


# --- sentences ----------------------------------------------------------------------------


def sections(reasons: Why) -> Iterator[Section]:
    """Return what to know of a run, part by part."""
    run = reasons.view.run
    if reasons.first is not None or run.error:
        yield Section("What failed first", [*_failure(reasons)])
    if reasons.in_flight:
        when = f"at {moment(reasons.view.end, '%H:%M:%S')}"
        last = f"when it was lost: its process was last alive {when}"
        now = f"{when}, as far as is recorded"
        yield Section(f"In flight {last if run.status == LOST else now}", [*_in_flight(reasons)])
    elif run.status == LOST:
        when = moment(reasons.view.end, "%H:%M:%S")
        alive = Fact(f"Its process was last alive at {when}.")
        yield Section("Nothing was in flight when it was lost", [alive])
    yield Section(f"Where the time went: {seconds(reasons.on_path.total)}", [*_time(reasons)])
    yield from _beside(reasons)


def _failure(reasons: Why) -> Iterator[Fact]:
    run, first = reasons.view.run, reasons.first
    if first is None:
        yield Fact(_short(run.error or ""))
        return
    yield Fact(f"{_failed(reasons, first)}: {_short(str(first.error))}", 0, first.span_id)
    if first.cause is not None and first.cause.error is not None:
        span = first.cause.span
        text = f"in it {_short(span.name)} failed: {_short(str(first.cause.error))}"
        yield Fact(text, 1, span.span_id)
    followed = [*reasons.also_failed]
    for task in followed[:_MOST]:
        yield Fact(f"then {_failed(reasons, task)}: {_short(str(task.error))}", 0, task.span_id)
    if len(followed) > _MOST:
        yield Fact(f"and {plural(len(followed) - _MOST, 'more task')} failed")
    if reasons.skipped:
        verb = f"{plural(reasons.skipped, 'task')} did not run"
        yield Fact(f"{verb}{_listed(reasons.skipped_names, reasons.skipped)}")


def _failed(reasons: Why, task: TaskView) -> str:
    after = seconds(max((task.ended or reasons.view.end) - reasons.view.run.started, 0) / 1e9)
    tries = f", in attempt {task.tries}" if task.tries > 1 else ""
    return f"{_name(reasons, task)} failed after {after}{tries}"


def _listed(names: Sequence[str], number: int) -> str:
    if not names:
        return ""
    shown = ", ".join(_short(name) for name in names[:_MOST])
    return f": {shown}{', ...' if number > _MOST else ''}"


def _in_flight(reasons: Why) -> Iterator[Fact]:
    for each in reasons.in_flight[:_MOST]:
        what = f"attempt {each.attempt}" if each.attempt else "waiting for its next attempt"
        since = moment(each.since, "%H:%M:%S")
        text = f"{_name(reasons, each.task)}: {what} since {since}, for {seconds(each.seconds)}"
        yield Fact(text, 0, each.task.span_id)
    if len(reasons.in_flight) > _MOST:
        yield Fact(f"and {plural(len(reasons.in_flight) - _MOST, 'more task')}")


def _time(reasons: Why) -> Iterator[Fact]:
    path, tasks = reasons.on_path, reasons.of_tasks
    for kind, what, value in (
        (STEP, "steps", path.steps),
        (RETRY, "attempts that failed and were retried", path.retries),
        (QUEUE, "waiting for workers", path.queue),
        (BACKOFF, "waiting between attempts", path.backoff),
        (BETWEEN, "before, between and after tasks", path.between),
    ):
        if value:
            part = value / path.total if path.total else 0.0
            most, span_id = _most_of(reasons, [each for each in reasons.path if each.kind == kind])
            yield Fact(f"{seconds(value)} ({part:.0%}) {what}{most}", 0, span_id)
    if not reasons.view.run.is_sampled:
        yield Fact(NOT_SAMPLED)
    if reasons.retried:
        first = reasons.retried[0]
        count = sum(task.tries - 1 for task in reasons.retried)
        retries = f"{count:,} {'retry' if count == 1 else 'retries'}"
        where = f"{_name(reasons, first)} had {first.tries} attempts"
        text = f"{retries} in {plural(len(reasons.retried), 'task')}: {where}"
        yield Fact(text, 0, first.span_id)
    if tasks.queue > path.queue and len(reasons.view.tasks) > 1:
        ran, waited = seconds(tasks.steps + tasks.retries), seconds(tasks.queue)
        whole = f"all {len(reasons.view.tasks):,} tasks together"
        yield Fact(f"{whole} ran for {ran} and waited {waited} for workers")
    if reasons.view.run.mode == TypeExecution.PARALLEL:
        number, average = concurrency(reasons.view)
        yield Fact(f"at most {plural(number, 'task')} ran at a time, {average:.1f} on average")


def _most_of(reasons: Why, segments: Sequence[Segment]) -> tuple[str, int | None]:
    """Return which task has the most of some segments of the critical path, and its span."""
    by_task: dict[int, tuple[float, TaskView]] = {}
    for each in segments:
        if each.task is not None and each.kind != BETWEEN:
            known = by_task.get(each.task.span_id, (0.0, each.task))[0]
            by_task[each.task.span_id] = known + each.duration, each.task
    if len(reasons.view.tasks) == 1 or not by_task:
        return "", None
    most, task = max(by_task.values(), key=itemgetter(0))
    name = _name(reasons, task)
    text = f": {name}" if len(by_task) == 1 else f", {seconds(most)} of it {name}"
    return text, task.span_id


def _beside(reasons: Why) -> Iterator[Section]:
    runs = reasons.beside.runs
    if not runs:
        return
    if len(runs) < FEWEST:
        need = f"it takes {FEWEST} earlier runs, and there {'is' if len(runs) == 1 else 'are'}"
        yield Section(f"What is out of the ordinary is not known: {need} {len(runs)}")
        return
    beside = f"beside the last {len(runs)} runs"
    if not reasons.beside.unusual:
        yield Section(f"Nothing is out of the ordinary {beside}")
        return
    unusual = reasons.beside.unusual
    facts = [Fact(_unusual(reasons, each), 0, _span_of(reasons, each)) for each in unusual[:_MOST]]
    if len(unusual) > _MOST:
        facts.append(Fact(f"and {plural(len(unusual) - _MOST, 'more figure')}"))
    yield Section(f"Out of the ordinary {beside}", facts)


def _unusual(reasons: Why, each: Unusual) -> str:
    group = f" [{_short(each.group)}]" if each.group and _has_groups(reasons) else ""
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


def _name(reasons: Why, task: TaskView) -> str:
    name = _short(task.name)
    return f"{name} [{_short(task.group)}]" if _has_groups(reasons) else name


def _has_groups(reasons: Why) -> bool:
    return len(set(map(attrgetter("group"), reasons.view.tasks))) > 1


def _short(text: str) -> str:
    line = " ".join(text[: _LONGEST + 1].split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _span_of(reasons: Why, each: Unusual) -> int | None:
    """Return the span of the task that an unusual value is of."""
    for task in reasons.view.tasks:
        value = {
            TASK_DURATION: task.duration(reasons.view.end),
            TASK_QUEUE: task.queue,
            TASK_TRIES: float(task.tries),
        }.get(each.kind)
        if (task.name, task.group, value) == (each.name, each.group, each.value):
            return task.span_id
    return None
