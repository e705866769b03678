"""Ids of spans are attached to their run and task, and go with them."""

from __future__ import annotations

import copy
import gc
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider

from dotflow import Config, DotFlow, action
from dotflow_otel import TracerOpenTelemetry
from dotflow_otel.span_ids import ids_of_run, ids_of_task

if TYPE_CHECKING:
    from dotflow.core.model import Task
    from dotflow.core.run import Run


@action
def step() -> int:
    """Return 1."""
    return 1


class Noting(TracerOpenTelemetry):
    """Keeps the record of each run that has ended."""

    def __init__(self) -> None:
        super().__init__(tracer_provider=TracerProvider())
        self.ended: list[Run] = []

    def run_finished(self, run: Run) -> None:
        """Keep the record, after the span has ended."""
        super().run_finished(run)
        self.ended.append(run)


def ran(config: Config) -> list[Task]:
    """Return the tasks of a run."""
    flow = DotFlow(config=config)
    flow.task.add(step=step)
    flow.start()
    return flow.result_task()


def test_the_ids_of_a_run_are_found_whenever_they_are_asked_for() -> None:
    """However many runs have ended meanwhile, each record leads to the span of its run."""
    tracer = Noting()
    config = Config(tracer=tracer)
    for _ in range(300):
        ran(config)
    found = [ids_of_run(run) for run in tracer.ended]
    assert len({ids.trace_id for ids in found if ids is not None}) == 300


def test_ids_go_with_their_run() -> None:
    """Nothing keeps the ids of a run whose record is gone."""
    tracer = Noting()
    ran(Config(tracer=tracer))
    (run,) = tracer.ended
    assert ids_of_run(run) is not None
    attached = run.attached
    assert attached is not None
    tracer.ended.clear()
    del run
    found = [each for each in gc.get_referrers(attached) if isinstance(each, dict | list)]
    assert found == []


def test_a_task_that_has_ended_has_no_ids_of_its_own() -> None:
    """When its span has ended a task leads to the span of its run; a copy has neither."""
    tracer = Noting()
    (task,) = ran(Config(tracer=tracer))
    assert task.attached is None
    of_task, of_run = ids_of_task(task), ids_of_run(tracer.ended[0])
    assert of_task is of_run is not None
    task.attached = of_task
    task.run = None
    assert copy.copy(task).attached is None
