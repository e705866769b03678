"""A user's service whose collector is down: runs again and again. Speaks as `service.py` does."""

from __future__ import annotations

import json
import sys
from threading import Event, Thread

from dotflow import DotFlow, action
from dotflow_otel import observe, serve_metrics


@action
def ok() -> int:
    """Succeed."""
    return 1


closed = Event()
config = observe(service_name="shop", level="ERROR", timeout=0.5)


def wait_for_end() -> None:
    """Wait until the input is closed."""
    sys.stdin.read()
    closed.set()


server = serve_metrics(0)
print(json.dumps({"url": server.url}), flush=True)
Thread(target=wait_for_end, daemon=True).start()

# What was dropped is counted when a run ends.
while not closed.wait(0.1):
    flow = DotFlow(config=config, name="orders")
    flow.task.add(ok)
    flow.start()
