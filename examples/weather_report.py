"""Shows spans, metrics and log lines in a terminal, for weather.py."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, Request, build_opener

from rich.console import Console
from rich.markup import escape
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SHOWN_METRICS = (
    "dotflow_workflow_completed_total",
    "dotflow_workflow_failed_total",
    "dotflow_workflow_duration_seconds_sum",
    "dotflow_task_completed_total",
    "dotflow_task_failed_total",
    "dotflow_task_retried_total",
)
SHOWN_EVENTS = (
    {"event": "task.completed", "task": "by_month"},
    {"event": "task.retried", "task": "publish"},
    {"event": "workflow.completed", "workflow": "weather"},
)
HIDDEN_FIELDS = {"event", "timestamp", "level", "exception"}

if hasattr(sys.stdout, "reconfigure"):  # not every stand-in for it has that
    sys.stdout.reconfigure(errors="replace")
console = Console(highlight=False)


def heading(title: str, about: str) -> None:
    """Print a title in bold and what it is about."""
    console.print(f"\n[bold]{escape(title)}[/]  [dim]{escape(about)}[/]")


# --- the trace --------------------------------------------------------------------------


def show_waterfall(spans: Sequence[ReadableSpan]) -> None:
    """Print spans as a tree, each with a bar for when it began and how long it took."""
    if not spans:
        heading("Trace", "no span was recorded: OTEL_* variables say so")
        return
    rows = list(_tree(spans))
    begin = min(span.start_time for span in spans)
    total = max(max(span.end_time for span in spans) - begin, 1)
    heading("Trace", f"{_trace_id(spans[0])}, {total / 1e6:.0f} ms")
    labels = [f"{'  ' * depth}{_label(span)}" for depth, span in rows]
    room = min(max(map(len, labels)), console.width // 2)
    for label, (_, span) in zip(labels, rows, strict=True):
        took = (span.end_time - span.start_time) / 1e6
        line = Text(f"{label[:room]:<{room}} {took:6.1f} ms ")
        width = max(console.width - len(line) - 1, 10)
        line.append(_bar(span, begin, total, width), style=_style(span))
        console.print(line, no_wrap=True, overflow="crop")


def _tree(spans: Sequence[ReadableSpan]) -> Iterator[tuple[int, ReadableSpan]]:
    known = {span.context.span_id for span in spans}
    children = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_time):
        parent = span.parent.span_id if span.parent else None
        children[parent if parent in known else None].append(span)

    def below(parent: int | None, depth: int) -> Iterator[tuple[int, ReadableSpan]]:
        for span in children[parent]:
            yield depth, span
            yield from below(span.context.span_id, depth + 1)

    return below(None, 0)


def _label(span: ReadableSpan) -> str:
    group = span.attributes.get("dotflow.task.group", "default")
    number = span.attributes.get("dotflow.attempt.number", "")
    parts = [span.name, str(number), "" if group == "default" else f"[{group}]"]
    parts.append("" if span.status.is_ok or span.status.is_unset else "failed")
    return " ".join(part for part in parts if part)


def _bar(span: ReadableSpan, begin: int, total: int, width: int) -> str:
    block = "━" if console.encoding.lower().startswith("utf") else "="
    first = min(int((span.start_time - begin) * width / total), width - 1)
    length = max(1, round((span.end_time - span.start_time) * width / total))
    return " " * first + block * min(length, width - first)


def _style(span: ReadableSpan) -> str:
    if not (span.status.is_ok or span.status.is_unset):
        return "red"
    kinds = {"workflow": "cyan", "task": "green"}
    return kinds.get(span.name.partition(" ")[0], "blue")


def _trace_id(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


# --- the metrics ------------------------------------------------------------------------


def show_metrics(url: str) -> None:
    """Fetch metrics as Prometheus does, and print some of the lines."""
    lines = [line for line in _scrape(url).splitlines() if line and not line.startswith("#")]
    shown = [line for line in lines if line.split("{")[0] in SHOWN_METRICS]
    heading("Metrics", f"GET {url}: {len(shown)} of {len(lines)} lines")
    for line in shown:
        name, brace, rest = line.partition("{")
        if len(line) < console.width:
            _print(line)
        else:
            value, _, exemplar = rest.partition(" # ")
            _print(name)
            _print_wrapped(brace + value)
            _print_wrapped(exemplar and f"# {exemplar}")


def _scrape(url: str) -> str:
    # OpenMetrics has the exemplars; an HTTP proxy of the environment is not for loopback.
    request = Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})  # noqa: S310
    with build_opener(ProxyHandler({})).open(request, timeout=5) as response:
        return response.read().decode("utf-8")


# --- the logs ---------------------------------------------------------------------------


def show_logs(path: Path) -> None:
    """Print one log line for each of the chosen events, without tracebacks."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    chosen = [found for wanted in SHOWN_EVENTS for found in _first(records, wanted)]
    heading("Logs", f"{len(chosen)} of {len(records)} lines of {path.name}")
    for record in chosen:
        _print(f"{record['timestamp']} {record['level']} {record['event']}")
        fields = {name: value for name, value in record.items() if name not in HIDDEN_FIELDS}
        _print_wrapped(" ".join(f"{name}={json.dumps(value)}" for name, value in fields.items()))


def _first(records: list[dict[str, object]], wanted: dict[str, str]) -> list[dict[str, object]]:
    return [record for record in records if wanted.items() <= record.items()][:1]


# --- and on -----------------------------------------------------------------------------


def show_way_to_jaeger() -> None:
    """Say how the same trace gets to Jaeger, or where it goes already."""
    endpoint = os.environ.get(ENDPOINT)
    if endpoint:
        heading("Jaeger", "look for the service 'weather', or for the trace by its id")
        _print(f"The trace is sent to {endpoint}.")
    else:
        heading("Jaeger", "to see this trace there, with Jaeger on this machine:")
        _print(f"{ENDPOINT}=http://localhost:4318 make demo")


def _print(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _print_wrapped(text: str) -> None:
    wrapped = textwrap.wrap(
        text,
        max(console.width - 1, 20),
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
    for line in wrapped:
        _print(line)
