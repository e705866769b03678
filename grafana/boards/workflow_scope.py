"""What the parts of the board *Workflow* share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from boards import links
from boards.queries import JOB, Queries
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import DashboardLink

# The labels of which one value is picked.
ONE: Final = (JOB, "workflow")
queries: Final = Queries(("task", "mode"), ONE)


def task_traces(task: str) -> DashboardLink:
    """Link to traces with a task, whose name may be a placeholder of Grafana."""
    return links.to_traces(
        "Traces with this task", "${job:percentencode}", names.TASK_SPAN.format(task)
    )
