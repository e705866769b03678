"""What steps measure arrives, wherever they ran: added up, in buckets, and with its names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from wire.points import latest
from wire.sender import Wire

from dotflow_otel.metrics.instruments_otel import ADVISES_BUCKETS

if TYPE_CHECKING:
    from wire.receivers import OwnReceiver

MODES = ("sequential", "sequential_group", "background", "parallel")


@pytest.mark.parametrize("mode", MODES)
def test_measurements_of_steps(own_receiver: OwnReceiver, mode: str) -> None:
    """Counters, histograms and a workflow that a step runs have their exact values."""
    wire = Wire(own_receiver, "http/protobuf")
    done = wire.run("measures.py", mode, OTEL_METRICS_EXPORTER="otlp")
    found = latest(done.sent.metrics)
    rows = found["shop.rows"]
    assert (rows.kind, rows.metric.unit, rows.metric.description) == (
        "sum",
        "{row}",
        "Rows that were read.",
    )
    assert rows.scope == ("shop", "2.0")
    assert rows.value(table="orders") == 20
    assert rows.metric.sum.is_monotonic
    assert found["shop.queue"].value() == 4
    assert not found["shop.queue"].metric.sum.is_monotonic
    assert found["other.calls"].value() == 2
    (point,) = found["shop.size"].points.values()
    assert (point.count, point.sum, point.min, point.max) == (10, 60, 0, 12)
    if ADVISES_BUCKETS:
        assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1, 10], [2, 6, 2])
    of_inner = {"workflow": "inner", "mode": "sequential"}
    assert found["dotflow.workflow.completed"].value(**of_inner) == 2
    assert found["dotflow.workflow.in_progress"].value(**of_inner) == 0
    assert found["dotflow.task.completed"].value(workflow="inner", task="leaf") == 4
