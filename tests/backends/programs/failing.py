"""A user's service with a workflow that fails, every time. Speaks as `service.py` does."""

from __future__ import annotations

import json
import sys

from dotflow import DotFlow, action
from dotflow_otel import observe, serve_metrics


@action
def load() -> None:
    """Fail."""
    raise ValueError("no such table")


config = observe(service_name="shop", level="ERROR")
for _ in range(3):
    flow = DotFlow(config=config, name="billing & tax")
    flow.task.add(load)
    flow.start()

server = serve_metrics(0)
print(json.dumps({"url": server.url}), flush=True)
sys.stdin.read()
