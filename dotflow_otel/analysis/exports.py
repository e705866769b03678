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

    The run and each process that ran its attempts has tracks of its own. What goes on at the same
    time in one process, as in a pool of threads, is on tracks beside each other.
    """
    run = view.run
    about = {"status": run.status, "mode": run.mode, "tasks": run.tasks}
    whole = _Slice(run.workflow, "run", run.started, view.end, about)
    events = [*_chrome_process(1, f"run {run.id} of {run.workflow}")]
    events += _chrome_slices(1, [whole, *_opened(view.spans, view.end, (whole,))])
    for number, lane in enumerate(lanes(view), 2):
        pid = "" if lane.pid is None else f" {lane.pid}"
        events += _chrome_process(number, f"worker{pid} on {lane.host}")
        slices: list[_Slice] = []
        for task, attempt in lane.attempts:
            made = _attempt_slice(view, task, attempt)
            slices += [made, *_opened(attempt.spans, made.ended, (made,))]
        events += _chrome_slices(number, slices)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "workflow": run.workflow,
            "run": run.id,
            "trace": run.trace_id,
            "status": run.status,
        },
    }


class _Slice:
    """Something that took some time, below others."""

    __slots__ = ("about", "above", "ended", "kind", "name", "started")

    def __init__(
        self,
        name: str,
        kind: str,
        started: int,
        ended: int,
        about: Mapping[str, Any],
        above: tuple[_Slice, ...] = (),
    ) -> None:
        self.name = name
        self.kind = kind
        self.started = started
        self.ended = max(ended, started)
        self.about = about
        self.above = above


def _attempt_slice(view: RunView, task: TaskView, attempt: Attempt) -> _Slice:
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
    return _Slice(name, "task", attempt.started, attempt.ended or view.end, about)


def _opened(spans: Iterable[OwnSpan], end: int, above: tuple[_Slice, ...]) -> Iterator[_Slice]:
    path = [*above]
    for own in spans:
        span = own.span
        about = dict(span.attributes)
        if own.error is not None:
            about["error"] = str(own.error)
        del path[len(above) + own.depth :]
        made = _Slice(span.name, "span", span.started, span.ended or end, about, tuple(path))
        path.append(made)
        yield made


def _chrome_slices(process: int, slices: Sequence[_Slice]) -> Iterator[dict[str, Any]]:
    """Return slices, each on the first track where it lies in what is above it, or in nothing."""
    tracks: list[list[_Slice]] = []
    for each in sorted(slices, key=lambda one: (one.started, len(one.above))):
        for track, open_ones in enumerate(tracks):  # noqa: B007 - the number is used below
            while open_ones and open_ones[-1].ended <= each.started:
                open_ones.pop()
            last = open_ones[-1] if open_ones else None
            if last is None or (last in each.above and last.ended >= each.ended):
                open_ones.append(each)
                break
        else:
            track = len(tracks)
            tracks.append([each])
        yield {
            "ph": "X",
            "name": each.name,
            "cat": each.kind,
            # Microseconds; the format has no smaller unit, but takes fractions.
            "ts": each.started / 1e3,
            "dur": (each.ended - each.started) / 1e3,
            "pid": process,
            "tid": track + 1,
            "args": each.about,
        }


def _chrome_process(number: int, name: str) -> Iterator[dict[str, Any]]:
    for kind, about in (
        ("process_name", {"name": name}),
        ("process_sort_index", {"sort_index": number}),
    ):
        yield {"ph": "M", "name": kind, "pid": number, "tid": 0, "args": about}
