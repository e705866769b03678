"""What is told of a run, from its spans alone: its tree, its critical path, why it is as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from made_history import MadeAttempt, MadeHistory, MadeLine, MadeSpan, MadeTask, at

from dotflow_otel.analysis import (
    Baseline,
    RunView,
    Why,
    compare,
    concurrency,
    critical_path,
    earlier_runs,
    lanes,
    time_of_tasks,
    time_on_path,
    view_of,
    why,
)
from dotflow_otel.history.reader import History

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Return a history to be made."""
    with MadeHistory(tmp_path / "history.db") as found:
        yield found


def view(made: MadeHistory, reference: str = "latest") -> RunView:
    """Return a run of a history as a tree."""
    with History(made.path) as history:
        run = history.run(reference)
        return view_of(run, history.spans(run, nested=True))


def reason(made: MadeHistory, reference: str = "latest") -> Why:
    """Return why a run of a history is as it is."""
    with History(made.path) as history:
        run = history.run(reference)
        return why(history, view_of(run, history.spans(run)), history.logs(run))


def pieces(found: RunView) -> list[tuple[str, str | None, float]]:
    """Return the critical path in short."""
    return [
        (each.kind, each.task and each.task.name, pytest.approx(each.duration))
        for each in critical_path(found)
    ]


RETRIED = MadeTask(
    "flaky",
    1,
    6,
    attempts=[
        MadeAttempt(1, 2, "OSError: down"),
        MadeAttempt(4, 6, spans=[MadeSpan("GET /", 4.5, 5, below=[MadeSpan("parse", 4.6, 4.7)])]),
    ],
)


def test_a_sequential_run(made: MadeHistory) -> None:
    """A task without a span for its attempt has one all the same; the path has no gap."""
    made.add("billing", MadeTask("load", 0.5, 1), RETRIED, ended=7)
    found = view(made)
    load, flaky = found.tasks
    assert (load.name, load.group, load.place, load.status, load.tries) == (
        *("load", "default", 0, "completed", 1),
    )
    (only,) = load.attempts
    assert (only.number, only.started, only.ended) == (1, at(0.5), at(1))
    assert (only.queue, only.backoff, only.pid) == (0, 0, found.run.pid)
    first, second = flaky.attempts
    assert str(first.error) == "OSError: down"
    assert first.error is not None
    assert first.error.stacktrace.endswith("OSError: down\n")
    assert (first.backoff, second.backoff, second.queue) == (0, 2, 0)
    assert [(each.depth, each.span.name) for each in second.spans] == [(0, "GET /"), (1, "parse")]
    assert (flaky.duration(found.end), flaky.retried(found.end), flaky.backoff) == (5, 1, 2)
    assert pieces(found) == [
        ("between", None, 0.5),
        ("step", "load", 0.5),
        ("retry", "flaky", 1),
        ("backoff", "flaky", 2),
        ("step", "flaky", 2),
        ("between", None, 1),
    ]
    spent = time_on_path(critical_path(found))
    assert spent == pytest.approx((7, 2.5, 1, 0, 2, 1.5))
    assert time_of_tasks(found) == pytest.approx((5.5, 2.5, 1, 0, 2, 0))


def test_a_parallel_run(made: MadeHistory) -> None:
    """The path goes back through the group that ended last, with what it waited for workers."""

    def attempt(started: float, ended: float, pid: int, queue: float) -> list[MadeAttempt]:
        return [MadeAttempt(started, ended, pid=pid, queue=queue)]

    made.add(
        "nightly",
        MadeTask("fetch", 0, 2, "a", attempts=attempt(0, 2, 11, 0)),
        MadeTask("load", 2, 5, "a", attempts=attempt(4, 5, 12, 2)),
        MadeTask("fetch", 0, 4, "b", attempts=attempt(0.5, 4, 12, 0.5)),
        mode="parallel",
        ended=5.5,
    )
    found = view(made)
    assert pieces(found) == [
        ("step", "fetch", 2),
        ("queue", "load", 2),
        ("step", "load", 1),
        ("between", None, 0.5),
    ]
    assert [(lane.host, lane.pid, len(lane.attempts), lane.busy) for lane in lanes(found)] == [
        ("here", 11, 1, 2),
        ("here", 12, 2, 4.5),
    ]


def test_how_long_a_task_took(made: MadeHistory) -> None:
    """A task took the time from its first attempt to the end of its last, in the worker."""
    attempt = MadeAttempt(1, 2, pid=1, queue=1)
    made.add("nightly", MadeTask("a", 0, 3, attempts=[attempt]), mode="parallel")
    (task,) = view(made).tasks
    assert task.duration(at(9)) == 1


def test_a_run_that_is_not_sampled(made: MadeHistory) -> None:
    """Of attempts whose ends are not recorded one stands for all, which claims no times of them."""
    begun = [MadeAttempt(1, 5, pid=1), MadeAttempt(3, 5, pid=1)]
    made.add("nightly", MadeTask("a", 0, 5, attempts=begun), mode="parallel", sampled=False)
    (task,) = view(made).tasks
    assert task.tries == 2
    (only,) = task.attempts
    assert (only.number, only.started, only.ended, only.pid) == (2, at(0), at(5), None)
    assert (task.queue, task.backoff, task.retried(at(5))) == (0, 0, 0)


def test_attempts_that_are_missing(made: MadeHistory) -> None:
    """Where the history has not all attempts of a task, none is taken for another."""
    span = MadeSpan("GET /", 3, 4)
    recorded = [MadeAttempt(3, 5, spans=[span])]
    made.add("billing", MadeTask("a", 0, 6, attempts=recorded, tries=3))
    (task,) = view(made).tasks
    assert task.tries == 3
    (only,) = task.attempts
    assert (only.number, only.started, only.ended) == (3, at(0), at(6))
    assert [each.span.name for each in only.spans] == ["GET /"]


def test_concurrency(made: MadeHistory) -> None:
    """Attempts at the same time are counted; one that begins as another ends is none of them."""
    made.add(
        "nightly",
        MadeTask("a", 0, 2, "a"),
        MadeTask("b", 1, 4, "b"),
        MadeTask("c", 2, 3, "c"),
        MadeTask("d", 3, 4, "d"),
        mode="parallel",
    )
    assert concurrency(view(made)) == (2, 0.7)


def test_a_group_in_parallel_begins_at_once(made: MadeHistory) -> None:
    """Tasks of one group that began together did not wait for each other."""
    tasks = [
        MadeTask("a", 0, 2, attempts=[MadeAttempt(0, 2, pid=1, queue=0)]),
        MadeTask("b", 0, 4, attempts=[MadeAttempt(2, 4, pid=1, queue=2)]),
    ]
    made.add("pair", *tasks, mode="parallel", ended=4)
    assert pieces(view(made)) == [("queue", "b", 2), ("step", "b", 2)]


def test_a_failure(made: MadeHistory) -> None:
    """The first failure is told with what lies deepest in it, what failed later, what was left."""
    inside = MadeSpan("call", 1, 2, "OSError: 503", below=[MadeSpan("GET /", 1, 2, "OSError: 503")])
    made.add(
        "billing",
        MadeTask("load", 0, 3, error="ValueError: late"),
        MadeTask("fetch", 1, 2, error="OSError: 503", spans=[inside]),
        count=4,
        lines=[MadeLine(3, "task.skipped", 30, {"task": "send"}, 0)],
    )
    found = reason(made)
    assert found.first is not None
    assert (found.first.name, str(found.first.error)) == ("fetch", "OSError: 503")
    assert found.first.cause is not None
    assert found.first.cause.span.name == "GET /"
    assert [task.name for task in found.also_failed] == ["load"]
    assert (found.skipped, found.skipped_names) == (2, ["send"])
    assert found.in_flight == []


def test_a_lost_run(made: MadeHistory) -> None:
    """What was in flight is told with its attempt, since when, and for how long until the end."""
    process = made.process(beat=9)
    attempts = [MadeAttempt(1, 2, "OSError: x"), MadeAttempt(3, None)]
    made.add(
        "billing",
        MadeTask("load", 0, 1),
        MadeTask("fetch", 1, None, attempts=attempts),
        MadeTask("wait", 2, None),
        ended=None,
        process=process,
    )
    found = reason(made)
    assert found.view.run.status == "lost"
    assert found.view.end == at(9)
    assert [task.status for task in found.view.tasks] == ["completed", "lost", "lost"]
    went_on = [(each.task.name, *each[1:]) for each in found.in_flight]
    assert went_on == [("wait", 1, at(2), 7), ("fetch", 2, at(3), 6)]


def test_restored_tasks_have_no_attempts(made: MadeHistory) -> None:
    """A task that was restored took no time of the run, and is none that another waited for."""
    made.add("billing", MadeTask("load", 0, 0.1, restored=True), MadeTask("fetch", 1, 2), ended=2)
    found = view(made)
    assert [(task.status, len(task.attempts)) for task in found.tasks] == [
        ("restored", 0),
        ("completed", 1),
    ]
    assert pieces(found) == [("between", None, 1), ("step", "fetch", 1)]


def test_a_run_without_tasks(made: MadeHistory) -> None:
    """A run of nothing has a path all the same: its time is between tasks."""
    made.add("empty", ended=2)
    found = reason(made)
    assert found.first is None
    assert found.on_path == (2, 0, 0, 0, 0, 2)


def test_comparison(made: MadeHistory) -> None:
    """Tasks are compared by name and group, those that got slower by most come first."""
    made.add("billing", MadeTask("load", 0, 1), MadeTask("fetch", 1, 4), MadeTask("old", 4, 5))
    made.add(
        "billing", MadeTask("load", 100, 103), MadeTask("fetch", 103, 104), started=100, ended=120
    )
    with History(made.path) as history:
        after, before = (view_of(run, history.spans(run)) for run in history.runs())
    found = compare(before, after)
    assert found.change == 10
    assert [(each.name, each.before, each.after, each.change) for each in found.tasks] == [
        ("load", 1, 3, 2),
        ("old", 1, None, -1),
        ("fetch", 3, 1, -2),
    ]
    assert found.tasks[0].ratio == 3
    assert found.tasks[1].ratio is None


def test_what_is_out_of_the_ordinary(made: MadeHistory) -> None:
    """Only what is outside of what the last runs had is told, with their median and spread."""
    for number in range(6):
        start = number * 100.0
        made.add(
            "billing",
            MadeTask("load", start, start + 1 + number / 100),
            MadeTask("fetch", start + 2, start + 5),
            started=start,
            ended=start + 5,
        )
    made.add(
        "billing",
        MadeTask("load", 900, 902),
        MadeTask("fetch", 902, 905.1),
        started=900,
        ended=905.2,
    )
    found = reason(made).beside
    assert len(found.runs) == 6
    (load,) = found.unusual
    assert (load.kind, load.name, load.group, load.value) == ("task", "load", "default", 2)
    assert load.baseline == pytest.approx((1.025, 0.015 * 1.4826, 6))
    assert load.ratio == pytest.approx(2 / 1.025)


def test_what_goes_on_is_not_short_yet(made: MadeHistory) -> None:
    """In a run that has no end, what is less than usual is not out of the ordinary."""
    for number in range(6):
        start = number * 100.0
        queued = MadeAttempt(start + 5, start + 6, None, 7, 5.0)
        task = MadeTask("load", start, start + 6, attempts=[queued])
        made.add("nightly", task, started=start, ended=start + 6, mode="parallel")
    waits = MadeTask("load", 1000.0, None)
    process = made.process(1001.0)
    made.add("nightly", waits, started=1000.0, ended=None, mode="parallel", process=process)
    assert reason(made).beside.unusual == []


@pytest.mark.parametrize(
    ("values", "value", "is_outside"),
    [
        ([1, 1, 1, 1], 100, False),
        ([1, 1, 1, 1, 1], 1.1, False),
        ([1, 1, 1, 1, 1], 1.2, True),
        ([0, 0, 0, 0, 0], 0.01, False),
        ([1, 2, 3, 4, 5], 7, False),
        ([1, 2, 3, 4, 5], 8, True),
        ([1, 2, 3, 4, 50], 8, True),
    ],
)
def test_outside(values: list[float], value: float, *, is_outside: bool) -> None:
    """Fewer than five values tell nothing; a little more than all alike is by chance."""
    assert Baseline.of(values).is_outside(value) is is_outside


def test_spans_by_task(made: MadeHistory) -> None:
    """Each span leads to its task, so that a log line does."""
    made.add("billing", MadeTask("load", 0, 1), RETRIED)
    found = view(made)
    flaky = found.tasks[1]
    ids = [flaky.span_id, *(each.span_id for each in flaky.attempts)]
    ids += [each.span.span_id for each in flaky.attempts[1].spans]
    assert {found.task_by_span[span_id].name for span_id in ids} == {"flaky"}


def test_deep_spans(made: MadeHistory) -> None:
    """However deep spans are nested, the tree is made."""
    span = MadeSpan("s", 0, 1)
    for _ in range(300):
        span = MadeSpan("s", 0, 1, below=[span])
    made.add("deep", MadeTask("load", 0, 1, spans=[span]))
    found = view(made)
    assert [each.depth for each in found.tasks[0].attempts[0].spans] == list(range(301))


@pytest.mark.parametrize(("tasks", "runs"), [(10, 20), (4_000, 12), (10_000, 5), (200_000, 5)])
def test_runs_of_many_tasks(made: MadeHistory, tasks: int, runs: int) -> None:
    """A run is compared with the last 20; where these have very many tasks, with five or more."""
    for number in range(22):
        task = MadeTask("load", number * 10.0, number * 10.0 + 1)
        made.add("etl", task, started=number * 10.0, ended=number * 10.0 + 2, count=tasks)
    with History(made.path) as history:
        latest = history.run("latest")
        found = earlier_runs(history, latest)
    assert len(found) == runs
    assert found == sorted(found, key=lambda run: run.started, reverse=True)
    assert found[0].started == latest.started - 10 * 10**9
