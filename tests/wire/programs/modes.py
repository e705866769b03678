"""A user's program: steps of all kinds, in every mode, as runs named by what they show.

Takes a folder for its notes. Prints what it knows of each run, as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Event
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from dotflow import Context, DotFlow, action
from dotflow_otel import observe

RUNS = {
    "one after another": ("sequential", ["default"]),
    "group after group": ("sequential", ["good", "retried", "late", "bad"]),
    "told group after group": ("sequential_group", ["good", "retried", "late", "bad"]),
    "in the background": ("background", ["default"]),
    "groups in the background": ("background", ["good", "retried", "late", "bad"]),
    "all at once": ("parallel", ["default"]),
    "groups at once": ("parallel", ["good", "retried", "late", "bad"]),
}


def span(name: str) -> Any:
    """Open a span of the program's own."""
    return trace.get_tracer("shop", "2.0").start_as_current_span(name)


@action
def read() -> int:
    """Succeed, with a span and attributes of all types."""
    trace.get_current_span().set_attribute("rows", 7)
    with span("select") as own:
        own.set_attributes({"table": "orders", "ratio": 0.5, "share": 1.0, "cached": True})
        own.set_attribute("shards", [1, 2])
    return 7


@action
class Pipe:
    """A class step of two actions, each with a span."""

    @action
    def clean(self) -> None:
        """Succeed."""
        with span("clean rows"):
            pass

    @action
    def count(self) -> None:
        """Succeed."""
        with span("count rows"):
            pass


@action
async def fetch() -> None:
    """Succeed asynchronously, with a span."""
    with span("get"):
        pass


@action(timeout=30)
def limited() -> None:
    """Succeed within a limit, with a span."""
    with span("compute"):
        pass


@action(retry=3, retry_delay=0)
def unsteady(initial_context: Context) -> None:
    """Fail twice, then succeed."""
    notes = Path(initial_context.storage)
    with span("call"):
        notes.open("a").write("x")
    if len(notes.read_text()) < 3:
        raise ConnectionError("busy")


@action(timeout=0.05, retry=2, retry_delay=0)
def late() -> None:
    """Take too long, twice."""
    Event().wait(30)


@action
def broken() -> None:
    """Fail."""
    raise ValueError("no such table")


@action
def never() -> None:
    """Come after one that fails."""


STEPS = {
    "good": [read, Pipe, fetch, limited],
    "retried": [unsteady],
    "late": [late, never],
    "bad": [broken, never],
    "default": [read, Pipe, fetch, limited, unsteady, late, broken],
}


def run(name: str, notes: Path) -> dict[str, Any]:
    """Run one of the runs to its end; tell what is known of it."""
    mode, groups = RUNS[name]
    flow = DotFlow(config=config, name=name)
    for group in groups:
        for step in STEPS[group]:
            flow.task.add(step, initial_context=str(notes), group_name=group)
    began = time_ns()
    manager = flow.start(mode=mode, keep_going=groups == ["default"])
    if mode == "background":
        manager.thread.join()
    return {
        "workflow_id": str(manager.workflow_id),
        "began": began,
        "ended": time_ns(),
        "tasks": {
            task.name: [task.task_id, task.group_name, task.index]
            for task in manager.tasks
            if task.status != "Not started"
        },
    }


def call(mode: str) -> None:
    """Run one step as part of a request's trace."""
    flow = DotFlow(config=config, name=f"called, {mode}")
    flow.task.add(fetch)
    with trace.get_tracer("shop", "2.0").start_as_current_span(
        f"request, {mode}", kind=SpanKind.SERVER
    ):
        manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join()


config = observe(service_name="shop", level="ERROR")
folder = Path(sys.argv[1])
print(json.dumps({name: run(name, folder / name) for name in RUNS}))
for called in ("sequential", "background", "parallel"):
    call(called)
