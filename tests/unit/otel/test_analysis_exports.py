"""Traces as files that other programs read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from made_history import MadeAttempt, MadeHistory, MadeSpan, MadeTask, at
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dotflow_otel.analysis import chrome_trace, otlp_json, view_of
from dotflow_otel.history.reader import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeHistory]:
    """Return a history to be made."""
    with MadeHistory(tmp_path / "history.db") as found:
        yield found


def otlp(made: MadeHistory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the latest run's resource and spans, as a program that reads JSON has them."""
    with History(made.path) as history:
        run = history.run("latest")
        request = otlp_json(run, history.spans(run), history.resource(run))
    # It is what the protocol says, apart from its ids.
    parsed = ParseDict(request, ExportTraceServiceRequest())
    (found,) = json.loads(json.dumps(request))["resourceSpans"]
    (scope,) = found["scopeSpans"]
    assert scope["scope"]["name"] == "dotflow_otel"
    assert len(parsed.resource_spans[0].scope_spans[0].spans) == len(scope["spans"])
    return found["resource"], scope["spans"]


def test_otlp(made: MadeHistory) -> None:
    """Ids are in hex, times texts of nanoseconds, values typed, errors with their event."""
    made.add("billing", MadeTask("load", 1, 2, error="OSError: down"))
    resource, (run, load) = otlp(made)
    assert resource == {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    with History(made.path) as history:
        trace_id = history.run("latest").trace_id
    assert (run["traceId"], load["traceId"]) == (trace_id, trace_id)
    assert len(load["spanId"]) == 16
    assert load["parentSpanId"] == run["spanId"]
    assert "parentSpanId" not in run
    assert (load["kind"], load["flags"]) == (1, 0x101)
    assert (load["startTimeUnixNano"], load["endTimeUnixNano"]) == (str(at(1)), str(at(2)))
    assert {"key": "dotflow.task.index", "value": {"intValue": "0"}} in load["attributes"]
    assert load["status"] == {"code": 2, "message": "OSError: down"}
    (event,) = load["events"]
    assert (event["name"], event["timeUnixNano"]) == ("exception", str(at(2)))
    assert event["attributes"][1] == {
        "key": "exception.message",
        "value": {"stringValue": "down"},
    }


def test_otlp_of_a_lost_run(made: MadeHistory) -> None:
    """What was in flight ends with the last heartbeat, and the error that tells of it."""
    process = made.process(beat=9)
    made.add("billing", MadeTask("load", 1, None), ended=None, process=process)
    _, spans = otlp(made)
    assert [span["endTimeUnixNano"] for span in spans] == [str(at(9))] * 2
    assert [span["status"]["code"] for span in spans] == [2, 2]
    lost = {"key": "error.type", "value": {"stringValue": "run_lost"}}
    assert all(lost in span["attributes"] for span in spans)


def test_chrome(made: MadeHistory) -> None:
    """Each process has a track of its own, and another for what it ran at the same time."""

    def attempt(started: float, ended: float, pid: int) -> list[MadeAttempt]:
        span = MadeSpan("GET /", started, ended)
        return [MadeAttempt(started, ended, pid=pid, queue=0, spans=[span])]

    made.add(
        "nightly",
        MadeTask("a", 0, 2, "a", attempts=attempt(0, 2, 11)),
        MadeTask("b", 0, 3, "b", attempts=attempt(1, 3, 11)),
        MadeTask("c", 0, 4, "c", error="OSError: x", attempts=attempt(3, 4, 11)),
        MadeTask("d", 0, 1, "d", attempts=attempt(0, 1, 12)),
        mode="parallel",
    )
    with History(made.path) as history:
        run = history.run("latest")
        trace = json.loads(json.dumps(chrome_trace(view_of(run, history.spans(run)))))
    events = trace["traceEvents"]
    named = [each["args"]["name"] for each in events if each["name"] == "process_name"]
    assert named == [f"run {run.id} of nightly", "worker 11 on here", "worker 12 on here"]
    spans = [each for each in events if each["ph"] == "X"]
    tracks = {each["name"]: (each["pid"], each["tid"]) for each in spans if each["cat"] == "task"}
    assert tracks == {"a": (2, 1), "b": (2, 2), "c": (2, 1), "d": (3, 1)}
    first = spans[0]
    assert (first["name"], first["ts"], first["dur"]) == ("nightly", at(0) / 1e3, 1e7)
    assert sum(each["name"] == "GET /" for each in spans) == 4


def test_chrome_of_spans_at_the_same_time(made: MadeHistory) -> None:
    """A span lies on a track in what is above it, or has one of its own: none cuts another."""
    spans = [
        MadeSpan("a", 1, 5, below=[MadeSpan("in a", 1, 2)]),
        MadeSpan("b", 2, 6),
        MadeSpan("late", 5, 12),
    ]
    made.add("one", MadeTask("load", 0, 10, spans=spans))
    with History(made.path) as history:
        run = history.run("latest")
        trace = chrome_trace(view_of(run, history.spans(run)))
    spans_of = {each["name"]: each for each in trace["traceEvents"] if each["ph"] == "X"}
    tracks = {name: each["tid"] for name, each in spans_of.items() if each["pid"] == 2}
    assert tracks == {"load": 1, "a": 1, "in a": 1, "b": 2, "late": 3}
