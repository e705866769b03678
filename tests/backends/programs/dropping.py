"""A user's service whose collector is down. Speaks as `service.py` does."""

from __future__ import annotations

import json
import sys

from dotflow import DotFlow, action
from dotflow_otel import observe, serve_metrics


@action
def ok() -> int:
    """Succeed."""
    return 1


flow = DotFlow(config=observe(service_name="shop", level="ERROR", timeout=0.5), name="orders")
flow.task.add(ok)
flow.start()

server = serve_metrics(0)
print(json.dumps({"url": server.url}), flush=True)
sys.stdin.read()
