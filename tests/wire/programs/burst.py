"""A user's program: a step that opens spans and logs. Takes the mode, how many, and the seconds."""

from __future__ import annotations

import logging
import sys
from time import monotonic, sleep

from opentelemetry import trace

from dotflow import DotFlow, action
from dotflow_otel import observe

logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
config = observe("burst", timeout=30)
mode, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


@action
def step() -> None:
    """Open a span and log a line, so many times, evenly."""
    tracer, logger = trace.get_tracer("app"), logging.getLogger("app")
    begun = monotonic()
    for number in range(count):
        with tracer.start_as_current_span(f"query {number}"):
            logger.info("row %d", number)
        if seconds:
            sleep(max(0.0, begun + seconds * number / count - monotonic()))


flow = DotFlow(config=config, name="burst")
flow.task.add([step])
manager = flow.start(mode=mode)
if mode == "background":
    manager.thread.join()
assert [task.status for task in flow.result_task()] == ["Completed"]
