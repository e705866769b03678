"""A user's program: steps that measure with OpenTelemetry, and run a workflow. Takes the mode.

The instruments are those of the module, as users have them.
"""

from __future__ import annotations

import sys
from inspect import signature
from typing import Any

from opentelemetry import metrics

from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import MetricsOpenTelemetry, observe

config = observe("measures", level="ERROR", timeout=20)
meter = metrics.get_meter("shop", "2.0")
rows = meter.create_counter("shop.rows", "{row}", "Rows that were read.")
queue = meter.create_up_down_counter("shop.queue")
# Older releases take no advice.
takes = signature(meter.create_histogram).parameters
advice: dict[str, Any] = {
    name: [1.0, 10.0] for name in ("explicit_bucket_boundaries_advisory",) if name in takes
}
size = meter.create_histogram("shop.size", "By", "How large.", **advice)


@action
def leaf() -> None:
    """Succeed."""


@action
def step() -> None:
    """Measure, and run a workflow."""
    for number in range(5):
        rows.add(number, {"table": "orders"})
        size.record(3 * number)
    queue.add(3)
    queue.add(-1)
    metrics.get_meter("other").create_counter("other.calls").add(1)
    silent = LogDefault(level="ERROR")
    inner = DotFlow(config=Config(metrics=MetricsOpenTelemetry(), log=silent), name="inner")
    inner.task.add([leaf, leaf])
    inner.start()


flow = DotFlow(config=config, name="outer")
flow.task.add(step, group_name="a")
flow.task.add(step, group_name="b")
manager = flow.start(mode=sys.argv[1])
if sys.argv[1] == "background":
    manager.thread.join()
assert [task.status for task in flow.result_task()] == ["Completed"] * 2
