"""A trace as files that other programs read: Jaeger's page, and Perfetto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dotflow import __version__
from dotflow_otel import conventions as names
from dotflow_otel.analysis.timing import lanes
from dotflow_otel.history.segments import PARENT_IS_REMOTE, SAMPLED
from dotflow_otel.history.store import LOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dotflow_otel.analysis.tree import Attempt, OwnSpan, RunView, TaskView
    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.segments import Scope, Span

# The flags of a span in OTLP: whether its parent is remote is known, and is so.
_HAS_IS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200

_ERROR: Final = 2
_SERVICE: Final = "service.name"


def otlp_json(run: RunInfo, spans: Sequence[Span], resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return spans as an `ExportTraceServiceRequest` in OTLP's JSON.

    Ids are in hex, times are texts of nanoseconds. A span that has no end is given the one until
    which it is known, and where its run was lost the error `run_lost`.

    Args:
        run: The run.
        spans: Its spans.
        resource: What describes its process.
    """
    end = run.ended or max(run.beat, *(max(span.started, span.ended or 0) for span in spans))
    scopes: dict[tuple[str, str], tuple[Scope | None, list[dict[str, Any]]]] = {}
    for span in spans:
        scope = span.scope
        key = (names.SCOPE, __version__) if scope is None else (scope.name, scope.version or "")
        scopes.setdefault(key, (scope, []))[1].append(_otlp_span(run, span, end))
    about = {_SERVICE: "dotflow", **resource}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _otlp_attributes(about)},
                "scopeSpans": [
                    {"scope": _otlp_scope(key, scope), "spans": each}
                    for key, (scope, each) in scopes.items()
                ],
            }
        ]
    }


def _otlp_scope(key: tuple[str, str], scope: Scope | None) -> dict[str, Any]:
    name, version = key
    attributes = {} if scope is None else scope.attributes or {}
    made: dict[str, Any] = {"name": name}
    if version:
        made["version"] = version
    if attributes:
        made["attributes"] = _otlp_attributes(attributes)
    return made


def _otlp_span(run: RunInfo, span: Span, end: int) -> dict[str, Any]:
    attributes, (code, text), ended = dict(span.attributes), span.status, span.ended
    if ended is None:
        ended = max(end, span.started)
        if run.status == LOST:
            attributes[names.ERROR_TYPE] = names.RUN_LOST
            code, text = _ERROR, "The process of the run was killed."
    flags = span.flags & SAMPLED
    if span.parent_id:
        flags |= _HAS_IS_REMOTE | (_IS_REMOTE if span.flags & PARENT_IS_REMOTE else 0)
    made: dict[str, Any] = {
        "traceId": run.trace_id,
        "spanId": f"{span.span_id:016x}",
        "parentSpanId": f"{span.parent_id:016x}" if span.parent_id else "",
        "traceState": span.state,
        "flags": flags,
        "name": span.name,
        # SpanKind of the API begins at 0, that of OTLP at 1.
        "kind": span.kind + 1,
        "startTimeUnixNano": str(span.started),
        "endTimeUnixNano": str(ended),
        "attributes": _otlp_attributes(attributes),
        "events": [
            {
                "timeUnixNano": str(event.time),
                "name": event.name,
                "attributes": _otlp_attributes(event.attributes),
            }
            for event in span.events
        ],
        "links": [
            {
                "traceId": link.trace_id,
                "spanId": f"{link.span_id:016x}",
                "attributes": _otlp_attributes(link.attributes),
            }
            for link in span.links
        ],
        "status": {"code": code, **({"message": text} if text else {})},
    }
    return {name: value for name, value in made.items() if value not in ("", [])}


def _otlp_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _otlp_value(value)} for key, value in attributes.items()]


def _otlp_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [_otlp_value(each) for each in value]}}
    return {"stringValue": str(value)}


# --- chrome -------------------------------------------------------------------------------


def chrome_trace(view: RunView) -> dict[str, Any]:
    """Return a run in the Trace Event Format, which Perfetto and `chrome://tracing` read.

    The run and each process that ran its attempts has tracks of its own. Attempts at the same
    time in one process, as in a pool of threads, are on tracks beside each other.
    """
    events = [*_chrome_run(view)]
    for number, lane in enumerate(lanes(view), 2):
        pid = "" if lane.pid is None else f" {lane.pid}"
        events.append(_chrome_name("process_name", number, 0, f"worker{pid} on {lane.host}"))
        events.append(_chrome_sort(number))
        used: list[int] = []
        for task, attempt in lane.attempts:
            track = _free_track(used, attempt, view.end)
            events += _chrome_attempt(view, task, attempt, number, track)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "workflow": view.run.workflow,
            "run": view.run.id,
            "trace": view.run.trace_id,
            "status": view.run.status,
        },
    }


def _free_track(used: list[int], attempt: Attempt, end: int) -> int:
    """Return the first track that is free when an attempt begins, and take it until its end."""
    ended = attempt.ended or end
    for track, until in enumerate(used):
        if until <= attempt.started:
            used[track] = ended
            return track + 1
    used.append(ended)
    return len(used)


def _chrome_run(view: RunView) -> Iterator[dict[str, Any]]:
    run = view.run
    yield _chrome_name("process_name", 1, 0, f"run {run.id} of {run.workflow}")
    yield _chrome_sort(1)
    yield _chrome_name("thread_name", 1, 1, "run")
    about = {"status": run.status, "mode": run.mode, "tasks": run.tasks}
    yield _chrome_span(run.workflow, "run", view.run.started, view.end, (1, 1), about)
    yield from _chrome_opened(view.spans, view.end, (1, 1))


def _chrome_attempt(
    view: RunView, task: TaskView, attempt: Attempt, process: int, track: int
) -> Iterator[dict[str, Any]]:
    about: dict[str, Any] = {
        "task": task.id,
        "group": task.group,
        "status": task.status,
        "attempt": attempt.number,
        "queue_seconds": attempt.queue,
    }
    if attempt.error is not None:
        about["error"] = str(attempt.error)
    name = task.name if task.tries <= 1 else f"{task.name} (attempt {attempt.number})"
    ended = attempt.ended or view.end
    yield _chrome_span(name, "task", attempt.started, ended, (process, track), about)
    yield from _chrome_opened(attempt.spans, ended, (process, track))


def _chrome_opened(
    spans: Iterable[OwnSpan], end: int, track: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    for own in spans:
        span = own.span
        about = dict(span.attributes)
        if own.error is not None:
            about["error"] = str(own.error)
        yield _chrome_span(span.name, "span", span.started, span.ended or end, track, about)


def _chrome_span(
    name: str, kind: str, started: int, ended: int, track: tuple[int, int], about: Mapping[str, Any]
) -> dict[str, Any]:
    # Microseconds; the format has no smaller unit, but takes fractions.
    return {
        "ph": "X",
        "name": name,
        "cat": kind,
        "ts": started / 1e3,
        "dur": max(ended - started, 0) / 1e3,
        "pid": track[0],
        "tid": track[1],
        "args": about,
    }


def _chrome_name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _chrome_sort(process: int) -> dict[str, Any]:
    about = {"sort_index": process}
    return {"ph": "M", "name": "process_sort_index", "pid": process, "tid": 0, "args": about}
