"""Programs that say nothing of telemetry, under OpenTelemetry's own command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from wire.points import latest
from wire.records import entries_of
from wire.spans import Node, roots, string

if TYPE_CHECKING:
    from wire.sender import Done, Wire

INSTRUMENT = (str(Path(sys.executable).with_name("opentelemetry-instrument")),)


def run(wire: Wire, mode: str, **variables: str) -> Done:
    """Run the service under the command."""
    exported = dict.fromkeys(
        ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "otlp"
    )
    return wire.run(
        "says_nothing.py", mode, by=INSTRUMENT, OTEL_SERVICE_NAME="shop", **exported, **variables
    )


def chain(node: Node) -> list[str]:
    """Return the names of a span and of those below it, without those of single messages."""
    below = [child for child in node.children if not child.name.endswith((" send", " receive"))]
    assert len(below) <= 1
    return [node.name, *(chain(below[0]) if below else ())]


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_service(own: Wire, mode: str) -> None:
    """A request, its workflow and the call that a step makes are one trace; events are in it."""
    done = run(own, mode)
    assert json.loads(done.printed) == {"left": 3}
    (root,) = roots(done.sent.traces)
    task = ["task fetch", "attempt"] if mode == "parallel" else ["task fetch"]
    assert chain(root) == ["GET", "GET /orders", "workflow orders", *task, "GET", "GET /stock"]
    workflow = root.only("workflow orders")
    assert workflow.resource["service.name"] == string("shop")
    assert workflow.scope[0] == "dotflow_otel"
    events = [entry for entry in entries_of(done.sent.logs) if entry.event]
    assert [entry.event for entry in events] == [
        "workflow.started",
        "task.started",
        "task.completed",
        "workflow.completed",
    ]
    ids = {node.span.span_id: node.name for node in root.walk()}
    assert [ids[entry.record.span_id] for entry in events] == [
        "workflow orders",
        "task fetch",
        "task fetch",
        "workflow orders",
    ]


def test_its_metrics(own: Wire) -> None:
    """The application's meter provider has the metrics, once."""
    done = run(own, "sequential")
    families = latest(done.sent.metrics)
    assert families["dotflow.task.completed"].value(workflow="orders", task="fetch") == 1


def test_switched_off(own: Wire) -> None:
    """The variable that switches an instrumentation off does so."""
    done = run(own, "sequential", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="dotflow")
    assert "workflow orders" not in {n.name for r in roots(done.sent.traces) for n in r.walk()}
    assert "Completed - fetch" in done.errors
