"""A user's program: steps in worker processes, with spans of their own, and workers that die.

Takes a folder. Prints, as one line of JSON, the run's process and what steps noted: for each
name the lines, each of them the noting process and the ids of its current span.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from threading import Event

from opentelemetry import baggage, context, trace

from dotflow import Context, DotFlow, action
from dotflow.providers import ExecutorLocal
from dotflow_otel import observe

tracer = trace.get_tracer("shop", "2.0")
folder = Path(sys.argv[1])


def note(name: str) -> int:
    """Note this process and the current span; give how many times that was done."""
    ids = trace.get_current_span().get_span_context()
    line = [os.getpid(), f"{ids.trace_id:032x}", f"{ids.span_id:016x}"]
    with (folder / name).open("a") as file:
        file.write(json.dumps(line) + "\n")
    return len((folder / name).read_text().splitlines())


@action
def query() -> None:
    """Succeed, with a span in a span."""
    note("query")
    trace.get_current_span().set_attribute("rows", 7)
    with tracer.start_as_current_span("outer", kind=trace.SpanKind.CLIENT) as span:
        span.set_attribute("ratio", 1.0)
        with tracer.start_as_current_span("inner") as inner:
            inner.add_event("found", {"rows": 7})


@action
class Pipe:
    """A class step of two actions, each with a span."""

    @action
    def clean(self) -> None:
        """Succeed."""
        with tracer.start_as_current_span("clean rows"):
            pass

    @action
    def count(self) -> None:
        """Succeed."""
        with tracer.start_as_current_span("count rows"):
            pass


@action
async def fetch() -> None:
    """Succeed asynchronously, with a span."""
    with tracer.start_as_current_span("get"):
        pass


@action(timeout=30)
def limited() -> None:
    """Succeed within a limit, with a span."""
    with tracer.start_as_current_span("compute"):
        pass


@action(retry=3, retry_delay=0)
def unsteady() -> None:
    """Fail twice, then succeed."""
    with tracer.start_as_current_span("call"):
        if note("unsteady") < 3:
            raise ConnectionError("busy")


@action(timeout=0.3, retry=2, retry_delay=0)
def late() -> None:
    """Take too long, twice."""
    Event().wait(30)


@action
def broken() -> None:
    """Fail."""
    raise ValueError("no such table")


@action
def killed() -> None:
    """Take the worker down."""
    note("killed")
    os.kill(os.getpid(), signal.SIGKILL)


@action(retry=2, retry_delay=0)
def killed_once() -> None:
    """Take the worker down, and succeed the next time."""
    if note("killed_once") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@action
def tenant() -> None:
    """Describe the caller's baggage."""
    trace.get_current_span().set_attribute("tenant", str(baggage.get_baggage("tenant")))


@action
def long(initial_context: Context) -> None:
    """Take a while."""
    Event().wait(initial_context.storage)


config = observe(service_name="shop", level="ERROR")

flow = DotFlow(config=config, name="one group")
flow.task.add([query, Pipe, fetch, limited, unsteady, late, broken, killed, killed_once])
flow.start(mode="parallel")

flow = DotFlow(config=config, name="several groups")
for group in ("a", "b"):
    flow.task.add([fetch, query], group_name=group)
flow.start(mode="parallel")

token = context.attach(baggage.set_baggage("tenant", "acme"))
flow = DotFlow(config=config, name="baggage")
flow.task.add(tenant)
flow.start(mode="parallel")
context.detach(token)

config = observe(service_name="shop", level="ERROR", executor=ExecutorLocal(workers=1))
flow = DotFlow(config=config, name="one worker")
for name in ("first", "second"):
    flow.task.add(long, initial_context=0.3, name=name)
flow.start(mode="parallel")

notes = {
    file.name: [json.loads(line) for line in file.read_text().splitlines()]
    for file in folder.iterdir()
}
print(json.dumps({"pid": os.getpid(), "notes": notes}))
