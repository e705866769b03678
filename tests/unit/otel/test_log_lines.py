"""The lines that are put together from texts are those that the encoder would make."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import structlog

from dotflow import Config, DotFlow, action
from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow_otel import LogStructlog
from dotflow_otel.logs.lines import fields_of, head_of, line_maker
from dotflow_otel.span_ids import SpanIds

ODD = 'a "quoted" \\ name\nof ✓ two lines'
RUN = {"workflow_id": "w1", "workflow": ODD}
IDS = SpanIds("a" * 32, "b" * 16, sampled=True)


@action
def ok() -> int:
    """Succeed."""
    return 1


def task_of(**fields: Any) -> Task:
    """Return a task of the workflow `ODD`."""
    task = Task("01JD8QJ5Y1X0AZ3V4E6N7R8S9T", ok, name=fields.pop("name", "ok"), group_name=ODD)
    task.run = Run("r", "w1", ODD, "sequential", 1, 0.0)
    for name, value in fields.items():
        setattr(task, name, value)
    return task


@pytest.mark.parametrize("ids", [None, IDS])
@pytest.mark.parametrize("name", ["ok", ODD, "{0} %s {now}"])
def test_started(name: str, ids: SpanIds | None) -> None:
    """`task.started` has these fields, in this order, whatever is in its names."""
    expected = {
        "timestamp": "now",
        "level": "info",
        "event": "task.started",
        "workflow_id": "w1",
        "workflow": ODD,
        "task_id": "01JD8QJ5Y1X0AZ3V4E6N7R8S9T",
        "task": name,
        "group": ODD,
        **(ids.as_dict() if ids else {}),
        "attempt": 1,
    }
    line = line_maker("task.started")("now", head_of(RUN), task_of(name=name), ids)
    assert line == json.dumps(expected) + "\n"


@pytest.mark.parametrize("duration", [0.0, 1e-7, 0.25, 1e22, 3, None])
def test_completed(duration: float | None) -> None:
    """`task.completed` has the number of its last attempt and its duration as well."""
    task = task_of(duration=duration, retry_count=2, task_id=ODD)
    expected = {
        "timestamp": "now",
        "level": "info",
        "event": "task.completed",
        "workflow_id": "w1",
        "workflow": ODD,
        "task_id": ODD,
        "task": "ok",
        "group": ODD,
        **IDS.as_dict(),
        "attempt": 3,
        "duration": duration,
    }
    line = line_maker("task.completed")("now", head_of(RUN), task, IDS)
    assert line == json.dumps(expected) + "\n"


@pytest.mark.parametrize("event", ["task.started", "task.completed"])
def test_both_ways_say_the_same(event: str) -> None:
    """A line made of texts is what the encoder makes of the fields of its event."""
    task = task_of(duration=0.25, retry_count=1)
    facts = {"timestamp": "now", "level": "info", "event": event}
    facts |= fields_of(event, RUN, task, IDS)
    assert line_maker(event)("now", head_of(RUN), task, IDS) == json.dumps(facts) + "\n"


def lines(**bound: str) -> list[dict[str, Any]]:
    """Run a task with names bound in structlog's context; give its lines without the times."""
    stream = io.StringIO()
    flow = DotFlow(config=Config(log=LogStructlog(stream=stream)), name=ODD, workflow_id="w1")
    flow.task.add(ok, name=ODD)
    with structlog.contextvars.bound_contextvars(**bound):
        flow.start()
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in told:
        assert line.pop("timestamp").endswith("Z")
        line.pop("duration", None)
    return told


def test_what_is_bound_comes_last() -> None:
    """What the application has bound in structlog's context is in the lines as well."""
    bound = lines(request="r1", level="kept")
    assert [list(line.items())[-1] for line in bound] == [("request", "r1")] * 4
    for line in bound:
        del line["request"]
    assert bound == lines()
    assert [list(line) for line in bound] == [list(line) for line in lines()]


def test_not_on_a_terminal() -> None:
    """A person who looks on gets no JSON, unless they ask for it."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for format_, is_json in ((None, False), ("simple", False), ("json", True)):
        stream = Terminal()
        flow = DotFlow(config=Config(log=LogStructlog(stream=stream, format=format_)))
        flow.task.add(ok)
        flow.start()
        starts = {line.startswith("{") for line in stream.getvalue().splitlines()}
        assert starts == {is_json}
