"""The page as one file that needs nothing else: no network, no server."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import time
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from dotflow import __version__
from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names
from dotflow_otel.analysis.sentences import sections
from dotflow_otel.analysis.tree import view_of
from dotflow_otel.analysis.why import why

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dotflow_otel.analysis.sentences import Fact
    from dotflow_otel.analysis.timing import Comparison, TimeSpent
    from dotflow_otel.analysis.why import Why
    from dotflow_otel.history.reader import History, RunInfo
    from dotflow_otel.history.segments import Event, LogLine, Span


# The page refuses documents of another form.
FORMAT: Final = 1

# JavaScript's numbers are exact up to here.
_EXACT: Final = 2**53
# Deeper values are replaced by their text.
_DEPTH: Final = 20

# What a page shows of a task, or a line, in other places.
_SHOWN_OF_TASK: Final = frozenset({names.WORKFLOW_ID, names.WORKFLOW_NAME})
_SHOWN_OF_LINE: Final = frozenset({"workflow_id", "workflow", "task_id", "task", "group"})
_STACK: Final = "exception"
_SKIPPED: Final = "task.skipped"

Document = dict[str, Any]


def to_json(value: Any) -> str:
    """Return JSON in ASCII that may stand inside an element `script` of a page."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def run_document(
    history: History,
    run: RunInfo,
    links: Mapping[str, str],
    *,
    analysed: bool = True,
    lines: Sequence[LogLine] | None = None,
) -> Document:
    """Return all that a page shows of a run.

    Args:
        history: Where the run is recorded.
        run: The run.
        links: The addresses of Jaeger and Grafana, as `links_of` takes them.
        analysed: Whether with what is reckoned from its spans, for which the runs before it are
            read as well.
        lines: Its lines, where they were read already.
    """
    spans = history.spans(run, nested=True)
    lines = history.logs(run) if lines is None else lines
    document = {
        "format": FORMAT,
        "dotflow": __version__,
        "made": time.time() * 1e3,
        "run": facts_of(run),
        "links": links_of(run, links),
        "part": part_of(run, spans, lines),
    }
    if analysed:
        document["analysis"] = analysis_of(why(history, view_of(run, spans), lines))
    return document


def run_analysis(history: History, run: RunInfo) -> Document:
    """Return what is reckoned from a run's spans, alone."""
    return analysis_of(
        why(history, view_of(run, history.spans(run, nested=True)), history.logs(run))
    )


def analysis_of(found: Why) -> Document:
    """Return what is reckoned from a run's spans: what to know of it, and each task's figures.

    Of a task these are its seconds since its first attempt began, those that it waited for workers,
    and where there were runs before, their median, spread and number, and whether it is unusual.
    """
    view, before = found.view, found.beside.tasks
    tasks: Document = {}
    for task in view.tasks:
        took = task.duration(view.end) if task.attempts else None
        figures: Document = {"seconds": took, "queue": task.queue}
        baseline = before.get((task.name, task.group))
        if baseline is not None and took is not None:
            unusual = task.ended is not None and baseline.is_outside(took)
            figures["past"] = {**baseline._asdict(), "unusual": unusual}
        tasks[f"{task.span_id:016x}"] = figures
    on_path = {f"{each.task.span_id:016x}" for each in found.path if each.task is not None}
    for task in view.tasks:
        if f"{task.span_id:016x}" in on_path:
            on_path.update(f"{attempt.span_id:016x}" for attempt in task.attempts)
    reasons = [
        {"title": section.title, "lines": [_fact(fact) for fact in section.facts]}
        for section in sections(found)
    ]
    return {"why": reasons, "path": sorted(on_path), "tasks": tasks}


def _fact(fact: Fact) -> Document:
    line: Document = {"text": fact.text, "depth": fact.depth}
    if fact.span_id is not None:
        line["span"] = f"{fact.span_id:016x}"
    return line


def comparison_document(found: Comparison) -> Document:
    """Return what a page shows of two runs side by side; durations are in nanoseconds."""
    return {
        "format": FORMAT,
        "before": facts_of(found.before.run),
        "after": facts_of(found.after.run),
        "spent": [_spent(found.time_before), _spent(found.time_after)],
        "tasks": [
            {
                "id": f"{task.group} {task.name}",
                "name": task.name,
                "group": task.group,
                "before": None if task.before is None else round(task.before * 1e9),
                "after": None if task.after is None else round(task.after * 1e9),
                "counts": [task.count_before, task.count_after],
                "statuses": [task.status_before, task.status_after],
            }
            for task in found.tasks
        ],
    }


def _spent(spent: TimeSpent) -> Document:
    return {name: round(value * 1e9) for name, value in spent._asdict().items()}


def facts_of(run: RunInfo) -> Document:
    """Return a run's own facts, as one row of the list shows them."""
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "workflow": run.workflow,
        "mode": run.mode,
        "status": run.status,
        "started": run.started / 1e6,
        "duration": run.duration,
        "last": (run.ended or run.beat) - run.started,
        "age": max(time.time_ns() - run.started, 0),
        "ended": None if run.ended is None else run.ended - run.started,
        "tasks": run.tasks,
        "begun": run.begun,
        "completed": run.completed,
        "failed": run.failed,
        "restored": run.restored,
        "skipped": run.skipped,
        "retried": run.retried,
        "in_flight": run.in_flight,
        "error_type": run.error_type,
        "error": run.error,
        "trace": run.trace_id,
        "span": f"{run.span_id:016x}",
        "sampled": run.is_sampled,
        "host": run.host,
        "pid": run.pid,
    }


def links_of(run: RunInfo, links: Mapping[str, str]) -> Document:
    """Return where else a run can be looked at.

    Args:
        run: The run.
        links: The addresses that are known of `jaeger` and `grafana`.
    """
    found: Document = {}
    if "jaeger" in links and run.is_sampled:
        found["Jaeger"] = f"{links['jaeger']}/trace/{run.trace_id}"
    if "grafana" in links:
        # A minute on both sides, so that scrapes before and after are seen.
        begin, end = run.started // 10**6 - 60_000, (run.ended or run.beat) // 10**6 + 60_000
        query = urlencode({"var-workflow": run.workflow, "from": begin, "to": end})
        found["Grafana"] = f"{links['grafana']}/d/dotflow-workflow/?{query}"
    return found


def part_of(run: RunInfo, spans: Iterable[Span], lines: Iterable[LogLine]) -> Document:
    """Return spans and lines of a run; texts that many of them share are there once."""
    texts: dict[str, int] = {}
    return {
        "spans": [_span(run, span, texts) for span in spans],
        "lines": [_line(run, line, texts) for line in lines],
        "texts": [*texts],
    }


def _span(run: RunInfo, span: Span, texts: dict[str, int]) -> Document:
    kind, label = _kind_of(run, span)
    hidden = _SHOWN_OF_TASK if kind == "task" else ()
    document: Document = {
        "id": f"{span.span_id:016x}",
        "parent": f"{span.parent_id:016x}",
        "kind": kind,
        "label": label,
        "start": span.started - run.started,
        "end": None if span.ended is None else span.ended - run.started,
        "attributes": {k: _plain(v) for k, v in span.attributes.items() if k not in hidden},
    }
    if span.has_failed:
        document["error"] = span.status[1] or ""
    if span.scope is not None:
        document["scope"] = " ".join(filter(None, span.scope[:2]))
    if span.events:
        document["events"] = [_event(run, event, texts) for event in span.events]
    if span.links:
        document["links"] = [
            {"trace": link.trace_id, "span": f"{link.span_id:016x}"} for link in span.links
        ]
    return document


def _kind_of(run: RunInfo, span: Span) -> tuple[str, str]:
    attributes = span.attributes
    if span.span_id == run.span_id:
        return "workflow", run.workflow
    if span.scope is not None:
        return "span", span.name
    if names.TASK_ID in attributes:
        return "task", str(attributes.get(names.TASK_NAME, span.name))
    if names.WORKFLOW_MODE in attributes:
        return "workflow", str(attributes.get(names.WORKFLOW_NAME, span.name))
    if names.ATTEMPT_NUMBER in attributes:
        return "attempt", f"{span.name} {attributes[names.ATTEMPT_NUMBER]}"
    return ("method" if span.name.startswith(names.METHOD_SPAN.format("")) else "span"), span.name


def _event(run: RunInfo, event: Event, texts: dict[str, int]) -> Document:
    attributes = dict(event.attributes)
    stack = attributes.pop(names.EXCEPTION_STACKTRACE, None)
    document: Document = {
        "name": event.name,
        "time": event.time - run.started,
        "attributes": {k: _plain(v) for k, v in attributes.items()},
    }
    if stack:
        document["stack"] = _shared(stack, texts)
    return document


def _line(run: RunInfo, line: LogLine, texts: dict[str, int]) -> Document:
    fields = dict(line.fields)
    stack = fields.pop(_STACK, None)
    document: Document = {
        "time": line.time - run.started,
        "level": line.level,
        "event": line.event,
        "span": f"{line.span_id:016x}",
        "fields": {k: _plain(v) for k, v in fields.items() if k not in _SHOWN_OF_LINE},
    }
    if isinstance(stack, str) and stack:
        document["stack"] = _shared(stack, texts)
    if "task" in fields:
        document["task"] = str(fields["task"])
    if line.event == _SKIPPED and "task_id" in fields:
        # It has no span: the page shows the task by this id.
        document["skipped"] = f"skipped {fields['task_id']}"
    return document


def _shared(text: object, texts: dict[str, int]) -> int:
    return texts.setdefault(str(text), len(texts))


def _plain(value: Any, depth: int = _DEPTH) -> Any:
    if isinstance(value, dict) and depth:
        return {str(key): _plain(each, depth - 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and depth:
        return [_plain(each, depth - 1) for each in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value if abs(value) < _EXACT else str(value)
    return str(value)


JAEGER: Final = "DOTFLOW_JAEGER_URL"
GRAFANA: Final = "DOTFLOW_GRAFANA_URL"


def addresses(jaeger: str | None = None, grafana: str | None = None) -> dict[str, str]:
    """Return the addresses that are known.

    Args:
        jaeger: Where Jaeger's page is; None: as `DOTFLOW_JAEGER_URL` says, if it does.
        grafana: Where Grafana is; None: as `DOTFLOW_GRAFANA_URL` says, if it does.

    Raises:
        InvalidOption: One is no address of a web page.
    """
    found = {}
    for name, variable, given in (("jaeger", JAEGER, jaeger), ("grafana", GRAFANA, grafana)):
        address = os.environ.get(variable, "") if given is None else given
        if address.strip():
            found[name] = _checked(variable if given is None else f"--{name}", address.strip())
    return found


def _checked(option: str, address: str) -> str:
    try:
        parts = urlsplit(address)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_web = False
    if not is_web or parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise InvalidOption(option, address, "give an address such as http://localhost:16686")
    return address.rstrip("/")


# In the order in which each needs those before it.
_SCRIPTS: Final = (
    "base",
    "model",
    "lists",
    "timeline",
    "waterfall",
    "workers",
    "tables",
    "details",
    "run",
    "runs",
    "page",
)

_PLACE: Final = re.compile(r"<!-- (\w+) -->\n")
_DATA: Final = '<script type="application/json" id="document">'

# What a browser enforces: nothing but this page's own script and style runs, nothing is loaded
# from anywhere, and no text becomes markup, whatever a run is named.
_POLICY: Final = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src data:; "
    "connect-src {connect}; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def script() -> str:
    """Return the program of the page."""
    parts = "\n".join(_text(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def style() -> str:
    """Return the style sheet of the page."""
    return _text("page.css")


def policy(*, script: str, style: str, connect: str) -> str:
    """Return the content security policy of the page.

    Args:
        script: Where its script may come from.
        style: Likewise its style sheet.
        connect: Likewise what it fetches.
    """
    return _POLICY.format(script=script, style=style, connect=connect)


def report(document: Mapping[str, Any]) -> str:
    """Return the page of a run, as one file.

    Args:
        document: As `run_document` makes it.
    """
    code, looks = script(), style()
    allowed = policy(script=_hash(code), style=_hash(looks), connect="'none'")
    return shell(
        {
            "policy": f'<meta http-equiv="Content-Security-Policy" content="{allowed}">',
            "style": f"<style>{looks}</style>",
            "document": f"{_DATA}{to_json(document)}</script>",
            "script": f"<script>{code}</script>",
        }
    )


def shell(parts: Mapping[str, str]) -> str:
    """Return the page, with what is given for each of its places; the others are left out."""
    # By one search, as what is given may itself have the form of a place.
    return _PLACE.sub(
        lambda place: f"{parts[place[1]]}\n" if place[1] in parts else "", _text("page.html")
    )


def _text(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
