"""Random workflows, and what is promised of each, by a model that knows no more than that."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_inputs import bounded
from random_workflows import (
    LATE,
    MODES,
    SPECS,
    STOP,
    STOPPED,
    Error,
    Spec,
    Unit,
    make_step,
    noted,
    shape,
    spec,
)

from dotflow import DotFlow
from dotflow.providers import ExecutorLocal
from dotflow.testing import RecordingNotify, RecordingServer
from dotflow_otel.testing import record_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from figures import Figures

    from dotflow import Task
    from dotflow_otel.testing import RecordedTelemetry

NOTHING = shape(None)


# --- the model --------------------------------------------------------------------------


class Run(NamedTuple):
    """How a workflow is run.

    Attributes:
        plan: Its tasks.
        mode: The mode.
        keep_going: Whether chains go on after a failed task.
        named: Whether the workflow has an id, and so keeps checkpoints.
    """

    plan: Sequence[Spec]
    mode: str
    keep_going: bool
    named: bool

    @property
    def in_workers(self) -> bool:
        """Whether steps run in workers."""
        return self.mode == "parallel"

    @property
    def mode_that_runs(self) -> str:
        """The mode that telemetry tells of."""
        groups = {one.group for one in self.plan}
        return "sequential_group" if self.mode == "sequential" and len(groups) > 1 else self.mode

    def chains(self) -> list[list[int]]:
        """Return the numbers of the tasks that run one after another."""
        groups: dict[str, list[int]] = {}
        for number, one in enumerate(self.plan):
            groups.setdefault(one.group, []).append(number)
        if self.in_workers and len(groups) == 1:
            return [[number] for number in range(len(self.plan))]
        return list(groups.values())


class Attempt:
    """One attempt: what it notes, its spans, and its value or error."""

    def __init__(self, task: Spec, previous: str, calls: Counter[str]) -> None:
        self.notes: list[str] = []
        self.spans: list[str] = []
        self.value = task.own.value.shape
        takes = {"class": "p", "function": task.takes}.get(task.kind, "ip")
        given = (task.initial.shape if "i" in takes else None, previous if "p" in takes else None)
        self._calls = calls
        self.error = self._call("step", task.own, *given)
        if task.kind == "coroutine" and self.error is STOP:
            self.error = STOPPED
        if self.error is None and task.kind in {"class", "instance"}:
            self._run_methods(task, previous)

    def _run_methods(self, task: Spec, previous: str) -> None:
        values = []
        for number, unit in enumerate(task.methods):
            name = f"m{number}"
            tried = []
            for attempt in range(1, max(1, unit.retry) + 1):
                self.error = self._call(name, unit, task.initial.shape, previous)
                tried.append(f"  attempt #{attempt}{_end(self.error)}")
                if self.error is None:
                    break
            self.spans += [f"method {name}{_end(self.error)}", *(tried if unit.retry > 1 else ())]
            if self.error is not None:
                return
            previous = unit.value.shape
            values.append(f"Context({previous})")
        self.value = f"[{', '.join(values)}]"

    def _call(self, name: str, unit: Unit, *given: str | None) -> Error | None:
        self.notes.append(
            noted(name, [None if each is None else f"Context({each})" for each in given])
        )
        self._calls[name] += 1
        return unit.error if self._calls[name] <= unit.fails else None


def _end(error: Error | None) -> str:
    return "" if error is None else f" {error.type}"


class Outcome:
    """What becomes of one task, which has not run yet."""

    def __init__(self) -> None:
        self.status = "Not started"
        self.previous = self.value = NOTHING
        self.notes: list[str] = []
        self.spans: list[str] = []
        self.errors: list[Error] = []

    def run(self, task: Spec, previous: str, *, in_workers: bool) -> None:
        """Run the task."""
        attempts, calls = max(1, task.own.retry), Counter[str]()
        self.previous = previous
        for number in range(1, attempts + 1):
            attempt = Attempt(task, previous, calls)
            self.notes += attempt.notes
            within = in_workers or attempts > 1
            if within:
                self.spans.append(f"attempt #{number}{_end(attempt.error)}")
            self.spans += [f"{'  ' * within}{line}" for line in attempt.spans]
            if attempt.error is None:
                self.status, self.value = "Completed", attempt.value
                return
            self.errors.append(attempt.error)
        self.status = "Failed"

    @property
    def failed(self) -> bool:
        """Return whether it failed."""
        return self.status == "Failed"

    @property
    def ran(self) -> bool:
        """Return whether it ran."""
        return self.status != "Not started"

    @property
    def retries(self) -> int:
        """Return how many failed attempts were followed by another."""
        return len(self.errors) - self.failed


def expected(run: Run) -> list[Outcome]:
    """Return what becomes of each task of a run."""
    outcomes = [Outcome() for _ in run.plan]
    for chain in run.chains():
        previous = NOTHING
        for number in chain:
            outcome = outcomes[number]
            outcome.run(run.plan[number], previous, in_workers=run.in_workers)
            previous = outcome.value
            if outcome.failed and not run.keep_going:
                break
    return outcomes


# --- a run ------------------------------------------------------------------------------


class Ran:
    """A run that has ended, and what was seen of it."""

    def __init__(self, run: Run, telemetry: RecordedTelemetry, executor: ExecutorLocal) -> None:
        self.run = run
        self.telemetry = telemetry
        self.notify, self.server = RecordingNotify(), RecordingServer()
        self.called: list[tuple[int, str, str]] = []
        self.ended: list[tuple[str, list[int]]] = []
        config = telemetry.observe(notify=self.notify, server=self.server, executor=executor)
        self.flow = DotFlow(config=config, name="etl", workflow_id="w" if run.named else None)
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, str(number)) for number in range(len(run.plan))]
            for number, (task, file) in enumerate(zip(run.plan, files, strict=True)):
                self._add(number, task, file)
            manager = self.flow.start(
                mode=run.mode,
                keep_going=run.keep_going,
                on_success=self._note_end("success"),
                on_failure=self._note_end("failure"),
            )
            if run.mode == "background":
                manager.thread.join(30)
                assert not manager.thread.is_alive()
            self.notes = [file.read_text().splitlines() if file.exists() else [] for file in files]
        self.tasks = self.flow.task.queue

    def _add(self, number: int, task: Spec, file: Path) -> None:
        copied = self.run.named or self.run.in_workers or task.own.retry > 1
        step = make_step(task._replace(changes=task.changes and copied), file)
        options = {} if task.callback == "none" else {"callback": self._note_task(number, task)}
        self.flow.task.add(
            step,
            initial_context=task.initial.make(),
            group_name=task.group,
            name=f"t{number}",
            **options,
        )

    def _note_task(self, number: int, one: Spec) -> Callable[..., None]:
        def callback(*, task: Task) -> None:
            assert task is self.flow.task.queue[number]
            self.called.append((number, task.status, shape(task.current_context.storage)))
            if one.callback == "raises":
                raise KeyError(number)

        return callback

    def _note_end(self, how: str) -> Callable[..., None]:
        def callback(*, tasks: list[Task]) -> None:
            self.ended.append((how, [self.flow.task.queue.index(task) for task in tasks]))

        return callback


def check(ran: Ran) -> None:
    """Check all that was seen of a run against the model."""
    outcomes = expected(ran.run)
    assert ran.notes == [outcome.notes for outcome in outcomes]
    for task, outcome, one in zip(ran.tasks, outcomes, ran.run.plan, strict=True):
        _check_task(task, outcome, one)
    _check_calls(ran, outcomes)
    _check_spans(ran, outcomes)
    _check_counts(ran, outcomes)
    _check_events(ran, outcomes)


def _check_task(task: Task, outcome: Outcome, one: Spec) -> None:
    assert task.status == outcome.status
    assert shape(task.current_context) == f"Context({outcome.value})"
    assert shape(task.previous_context) == f"Context({outcome.previous})"
    assert shape(task.initial_context) == f"Context({one.initial.shape})"
    assert task.retry_count == outcome.retries
    # The last error of a task that failed has no number: no attempt followed.
    numbers = [*range(1, outcome.retries + 1), *[None] * outcome.failed]
    assert [error.attempt for error in task.errors] == numbers
    assert [error.exception for error in task.errors] == [error.name for error in outcome.errors]
    for found, error in zip(task.errors, outcome.errors, strict=True):
        assert error.message in {None, found.message}
    failure = task.failure
    assert (failure and failure.error_type) == (outcome.errors[-1].type if outcome.failed else None)
    times = (task.duration, task.started_at, task.finished_at)
    assert [time is not None for time in times] == [outcome.ran] * 3


def _check_calls(ran: Ran, outcomes: list[Outcome]) -> None:
    called = [
        (number, outcome.status, outcome.value)
        for number, (outcome, one) in enumerate(zip(outcomes, ran.run.plan, strict=True))
        if outcome.ran and one.callback != "none"
    ]
    assert sorted(ran.called) == called
    how = "failure" if any(outcome.failed for outcome in outcomes) else "success"
    assert ran.ended == [(how, list(range(len(outcomes))))]
    for task, outcome in zip(ran.tasks, outcomes, strict=True):
        told = ["Not started"]
        if outcome.ran:
            told += ["In progress", *["Retry"] * outcome.retries, outcome.status]
        statuses = [
            call["status"]
            for call in ran.notify.of("hook_status_task")
            if call["task_id"] == task.task_id
        ]
        assert statuses == told
        updates = [
            call["status"]
            for call in ran.server.of("update_task")
            if call["task_id"] == task.task_id
        ]
        assert updates == [outcome.status] * outcome.ran
    # What any of it is must not keep it from being told as JSON.
    told = json.loads(json.dumps(ran.flow.result()))["tasks"]
    assert [task["status"] for task in told] == [outcome.status for outcome in outcomes]


def _check_spans(ran: Ran, outcomes: list[Outcome]) -> None:
    errors = [outcome.errors[-1].type for outcome in outcomes if outcome.failed]
    (root,) = ran.telemetry.roots
    assert root.error_type in (errors or [None])
    lines = [f"workflow etl{f' {root.error_type}' if errors else ''}"]
    for number, outcome in enumerate(outcomes):
        if outcome.ran:
            end = _end(outcome.errors[-1]) if outcome.failed else ""
            lines.append(f"  task t{number} [{ran.run.plan[number].group}]{end}")
            lines += [f"    {line}" for line in outcome.spans]
            span = ran.telemetry.span(f"task t{number}")
            assert span.attributes["dotflow.task.status"] == outcome.status.lower()
            assert span.attributes["dotflow.task.attempts"] == outcome.retries + 1
            assert span.attributes["dotflow.task.index"] == number
    ran.telemetry.assert_tree("\n".join(lines))
    assert root.attributes["dotflow.workflow.mode"] == ran.run.mode_that_runs
    assert root.attributes["dotflow.workflow.status"] == ("failed" if errors else "completed")
    assert root.attributes["dotflow.workflow.task.count"] == len(outcomes)


def _check_counts(ran: Ran, outcomes: list[Outcome]) -> None:
    counts: Counter[str] = Counter()
    for number, outcome in enumerate(outcomes):
        task = f'task="t{number}",workflow="etl"'
        if not outcome.ran:
            counts[f"dotflow_task_skipped_total{{{task}}}"] += 1
            continue
        counts[f"dotflow_task_started_total{{{task}}}"] += 1
        if not outcome.failed:
            counts[f"dotflow_task_completed_total{{{task}}}"] += 1
        for attempt, error in enumerate(outcome.errors):
            what = "retried" if attempt < outcome.retries else "failed"
            counts[f'dotflow_task_{what}_total{{error_type="{error.type}",{task}}}'] += 1
            if error is LATE:
                counts[f"dotflow_task_timed_out_total{{{task}}}"] += 1
    ended = "failed" if any(outcome.failed for outcome in outcomes) else "completed"
    for what in ("started", ended):
        mode = ran.run.mode_that_runs
        counts[f'dotflow_workflow_{what}_total{{mode="{mode}",workflow="etl"}}'] += 1
    values = ran.telemetry.metrics()
    assert {name: value for name, value in values.items() if value and "_total" in name} == counts
    ran.telemetry.assert_balanced()


def _check_events(ran: Ran, outcomes: list[Outcome]) -> None:
    events = ran.telemetry.events
    ended = "failed" if any(outcome.failed for outcome in outcomes) else "completed"
    assert (events[0].event, events[-1].event) == ("workflow.started", f"workflow.{ended}")
    for number, outcome in enumerate(outcomes):
        told = ["task.skipped"]
        if outcome.ran:
            told = ["task.started", *["task.retried"] * outcome.retries]
            told.append(f"task.{outcome.status.lower()}")
        assert [event.event for event in events if event.get("task") == f"t{number}"] == told
    assert len({event["trace_id"] for event in events}) == 1


@pytest.fixture(scope="module")
def workers() -> Iterator[ExecutorLocal]:
    """Return two workers that all runs share."""
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


def test_random_workflows(workers: ExecutorLocal, figures: Figures) -> None:
    """Whatever a workflow is made of, in all modes it does what the model says."""
    late = spec("coroutine", fails=1, error=LATE, retry=2)
    too_late = spec("coroutine", fails=2, error=LATE, retry=2)

    @bounded(60)
    @given(plan=st.lists(SPECS, max_size=5), keep_going=st.booleans(), named=st.booleans())
    @example(plan=[late, spec()], keep_going=False, named=False)
    @example(plan=[too_late, spec()], keep_going=True, named=True)
    @example(plan=[spec("class", fails=1, retry=2), spec(group="b")], keep_going=False, named=True)
    def trial(plan: list[Spec], *, keep_going: bool, named: bool) -> None:
        # Hypothesis seeds it before each example, and the SDK draws the ids of spans from it:
        # workers would get those of earlier examples again.
        random.seed()
        for mode in MODES:
            with record_telemetry(global_tracer=False) as telemetry:
                check(Ran(Run(plan, mode, keep_going, named), telemetry, workers))
            figures.add("random workflows run", 1)

    trial()
