"""A user's short job: one run, pushed to the Pushgateway at its address, and gone.

Takes the address, the name of the job, and whether the run shall end `well` or `badly`.
"""

from __future__ import annotations

import sys

from dotflow import Config, Context, DotFlow, action
from dotflow_otel import LogStructlog, MetricsPrometheus, push_metrics

address, job, end = sys.argv[1:]


@action
def extract() -> int:
    """Succeed."""
    return 1


@action
def load(initial_context: Context) -> None:
    """Succeed or fail."""
    if initial_context.storage == "badly":
        raise ValueError("no such table")


flow = DotFlow(config=Config(metrics=MetricsPrometheus(), log=LogStructlog("ERROR")), name="etl")
flow.task.add([extract, load], initial_context=end)
flow.start()
push_metrics(address, job=job, timeout=2)
