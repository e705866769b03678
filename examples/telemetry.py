"""Traces, metrics and logs of a run, by one call."""

from urllib.request import urlopen

from opentelemetry import trace

from dotflow import DotFlow, action
from dotflow_otel import observe, serve_metrics

tracer = trace.get_tracer(__name__)


@action
def charge() -> int:
    """Open a span of its own, which becomes a child of the task's."""
    with tracer.start_as_current_span("look up the customer"):
        return 42


flow = DotFlow(config=observe(service_name="billing"), name="billing")
flow.task.add(charge)
flow.start()

with serve_metrics(port=0) as server, urlopen(server.url) as page:  # noqa: S310 - our own
    for line in page.read().decode().splitlines():
        if line.startswith("dotflow_task_completed_total"):
            print(line)
