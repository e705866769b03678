"""Mistakes that type checkers find: each in a line that ends with `# error`, and no other."""

from __future__ import annotations

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.core.workflow import Manager
from dotflow.providers import ExecutorLocal, LogDefault, StorageDefault, StorageFile
from dotflow_otel import MetricsPrometheus, TracerOpenTelemetry, observe


@action
def step() -> int:
    """Return a number, which the step wraps."""
    return 1


@action(retry=2)
def second(previous_context: Context) -> int:
    """Return a number, which the step wraps."""
    return 1


def takes_nothing() -> None:
    """Be no callback."""


def takes_task(task: Task) -> None:
    """Be the callback of a task, not of a workflow."""


number: int = step()  # error
step(1)  # error
step(path="x")  # error
second(previous=Context(1))  # error
action(retries=3)  # error
action(retry="3")  # error
action(3)  # error
action(backoff="no")  # error

flow = DotFlow(name="billing")
flow.start("parallel")  # error
flow.start(mode="paralel")  # error
flow.start(kep_going=True)  # error
flow.start(keep_going="no")  # error
flow.start(on_input_change="resume")  # error
flow.start(on_success=3)  # error
flow.start(fingerprint=3)  # error
flow.start(workflow_id="x")  # error
flow.schedule(mode="paralel")  # error
flow.schedule(cron="* * * * *")  # error
flow.task.add(step, grop_name="x")  # error
flow.task.add(3)  # error
flow.task.add(step, callback=3)  # error
flow.task.add(step, name=3)  # error
flow.task.add(step, callback=takes_nothing)  # error
flow.start(on_success=takes_nothing)  # error
flow.start(on_failure=takes_task)  # error
DotFlow(workflow_id=5)  # error
flow.result_storage().storage  # error

DotFlow(config="x")  # error
DotFlow(nme="x")  # error
Config(storage="x")  # error
Config(storage=StorageDefault)  # error
Config(tracr=None)  # error
Config(executor=3)  # error
Config(progress=True)  # error
Config(tracer=MetricsPrometheus())  # error
StorageFile(pth="data")  # error
StorageFile(path=3)  # error
LogDefault(levl="INFO")  # error
ExecutorLocal(workers="2")  # error
TracerOpenTelemetry(service_name=3)  # error
observe(servce_name="x")  # error
observe(storage="x")  # error
observe(timeout="5")  # error
observe(history=3)  # error
Manager()  # error
Manager([], mode="paralel")  # error
Manager([], keep_goin=True)  # error
Manager([]).parallel(task=[])  # error
Manager([]).sequential(ignore="no")  # error
