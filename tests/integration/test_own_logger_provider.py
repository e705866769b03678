"""An application with a provider of loggers of its own gets our events there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from opentelemetry import _logs, trace
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

try:
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter as Records
except ImportError:
    from opentelemetry.sdk._logs.export import InMemoryLogExporter as Records
from dotflow import DotFlow, action
from dotflow_otel import observe

spans, records = InMemorySpanExporter(), Records()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
loggers = sdk.LoggerProvider(shutdown_on_exit=False)
loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
_logs.set_logger_provider(loggers)

@action
def step():
    pass

for _ in range(2):  # once more gives nothing twice
    config = observe("app", logs=True)
flow = DotFlow(config=config, name="w")
flow.task.add(step)
manager = flow.start(mode=sys.argv[1])
if sys.argv[1] == "background":
    manager.thread.join()
ids = {span.name: span.context for span in spans.get_finished_spans()}
told = []
for each in records.get_finished_logs():
    record = each.log_record
    (name,) = [name for name, ids_ in ids.items() if ids_.span_id == record.span_id]
    assert ids[name].trace_id == record.trace_id
    told.append((record.body, name))
print(json.dumps(told))
"""


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
def test_events_with_their_spans(mode: str) -> None:
    """Each event of a run is there once, with the ids of its span."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, mode],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [
        ["workflow.started", "workflow w"],
        ["task.started", "task step"],
        ["task.completed", "task step"],
        ["workflow.completed", "workflow w"],
    ]
