"""A program as users write it: type checkers find nothing wrong in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.core.task import TaskBuilder
from dotflow.core.types import TypeExecution, TypeInputChange
from dotflow.core.workflow import Manager
from dotflow.providers import (
    ExecutorLocal,
    LogDefault,
    ProgressTerminal,
    SchedulerCron,
    StorageFile,
)
from dotflow_otel import (
    LogStructlog,
    MetricsPrometheus,
    TracerOpenTelemetry,
    observe,
    record_history,
    record_telemetry,
)


@action
def read() -> list[float]:
    """Be a bare step."""
    return [12.8, 10.6, 11.7]


@action(retry=3, retry_delay=0.1, backoff=True, timeout=5)
def average(previous_context: Context) -> float:
    """Be a step with options."""
    days: list[float] = previous_context.storage
    return sum(days) / len(days)


@action
async def notify(initial_context: Context, *, previous_context: Context) -> None:
    """Be an asynchronous step."""


@action
class Pipeline:
    """Be a step with methods."""

    def __init__(self, initial_context: Context) -> None:
        self.url: str = initial_context.storage

    @action
    def load(self) -> str:
        """Load."""
        return self.url

    @action(retry=2)
    def save(self, previous_context: Context) -> str:
        """Save."""
        return str(previous_context.storage)


class Grouped(Manager):
    """Decides how `parallel` runs."""

    def parallel(self, **kwargs: Any) -> list[Task]:
        """Run groups one after another."""
        return self.sequential_group(**kwargs)


class OneFirst(Manager):
    """Runs the first task alone."""

    def parallel(self, *, tasks: list[Task], **options: Any) -> list[Task]:
        """Run the first, then the others."""
        options.pop("groups")
        super().sequential(tasks=tasks[:1], **options)
        return super().parallel(tasks=tasks[1:], **options)

    def _callback_workflow(self, tasks: list[Task]) -> None:
        """Say so."""
        super()._callback_workflow(tasks)


def use(pipeline: Pipeline) -> str:
    """Take what a step is made of."""
    return pipeline.url


def done(tasks: list[Task]) -> None:
    """Be called at the end."""
    print([task.status for task in tasks])


def each(task: Task) -> None:
    """Be called after each task."""
    print(task.duration, task.errors)


config = Config(
    storage=StorageFile(path="data"),
    log=LogDefault(level="ERROR"),
    scheduler=SchedulerCron("*/5 * * * *"),
    tracer=TracerOpenTelemetry(),
    metrics=MetricsPrometheus(),
    executor=ThreadPoolExecutor(2),
    progress=ProgressTerminal(),
)
flow = DotFlow(config=config, workflow_id="nightly", name="billing")
flow.task.add([read, average]).add((notify, "package.module:step"), initial_context=3)
flow.task.add(Pipeline, callback=each, group_name="pipeline", name="pipe")
manager: Manager = flow.start(mode="parallel", keep_going=True, on_success=done, on_failure=done)
flow.start(mode=TypeExecution.SEQUENTIAL, on_input_change=TypeInputChange.RESET, resume=True)
flow.schedule(mode="background", resume=True, fingerprint="v1")
values: list[Any] = flow.result_storage()
context: Context = read()
again: Context = average(previous_context=Context([1.0]))
number = again.storage + 1
builder: TaskBuilder = flow.task
name: str = read.__name__
flow.task.add(read, callback=lambda task: print(task.status))
tasks: list[Task] = manager.sequential(tasks=flow.result_task(), ignore=True)
Grouped(flow.task.queue, mode="parallel", config=config)

observed: Config = observe(
    service_name="billing",
    history=".dotflow/history.db",
    storage=StorageFile("data"),
    log=LogStructlog("INFO"),
    executor=ExecutorLocal(workers=2),
)
record_history(Config(), history=True)
with record_telemetry() as telemetry:
    DotFlow(telemetry.config).start()
    duration: float | None = telemetry.span("task read").duration
