"""A user's program: three tasks. Takes the bound of its exit; prints how long the run took.

Both are in seconds.
"""

from __future__ import annotations

import sys
from time import monotonic

from dotflow import DotFlow, action
from dotflow_otel import observe


@action
def step() -> None:
    """Succeed."""


config = observe(level="ERROR", timeout=float(sys.argv[1]))
flow = DotFlow(config=config, name="few")
for name in ("first", "second", "third"):
    flow.task.add(step, name=name)
began = monotonic()
flow.start()
print(monotonic() - began)
