"""Links: from board to board, from a series to its board, from a task to its traces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from boards.variables import LOGS, METRICS, TRACES

if TYPE_CHECKING:
    from collections.abc import Mapping

OVERVIEW: Final = "dotflow-overview"
WORKFLOW: Final = "dotflow-workflow"
FLEET: Final = "dotflow-fleet"

TITLES: Final = {OVERVIEW: "Overview", WORKFLOW: "Workflow", FLEET: "Fleet"}
_TIPS: Final = {
    OVERVIEW: "All workflows: does everything run, and well?",
    WORKFLOW: "One workflow: what is slow, what fails, since when?",
    FLEET: "All services: enough workers, and enough error budget?",
}
_SOURCES: Final = (METRICS, TRACES, LOGS)


def to_board(uid: str) -> build.DashboardLink:
    """Link to another board, with the time and what variables both have."""
    return (
        build.DashboardLink(TITLES[uid])
        .type(DashboardLinkType.LINK)
        .icon("dashboard")
        .tooltip(_TIPS[uid])
        .url(f"/d/{uid}")
        .keep_time(True)
        .include_vars(True)
    )


def to_workflow(values: Mapping[str, str], sources: tuple[str, ...]) -> build.DashboardLink:
    """Link from a series or a row to the board of its workflow.

    Args:
        values: Variables, and what they become: a placeholder of Grafana.
        sources: The variables of data sources that this board has.
    """
    return _drill("Open the workflow", WORKFLOW, values, sources)


def to_overview(values: Mapping[str, str], sources: tuple[str, ...]) -> build.DashboardLink:
    """Link from a series or a row to the overview; arguments as of `to_workflow`."""
    return _drill("Open the overview", OVERVIEW, values, sources)


def to_traces(title: str, service: str, operation: str) -> build.DashboardLink:
    """Link to a search for traces in Explore.

    Args:
        title: What the link says.
        service: Whose traces; may be a placeholder of Grafana.
        operation: The name of a span in them; likewise.
    """
    asked = {"queryType": "search", "service": service, "operation": operation, "limit": 20}
    return _explore(title, asked)


def to_trace(trace_id: str) -> build.DashboardLink:
    """Link to one trace in Explore."""
    return _explore("Open the trace", {"query": trace_id})


def field(name: str) -> str:
    """Return the placeholder of a column, of one word, of the row that was clicked."""
    return f"${{__data.fields.{name}:percentencode}}"


def label(name: str) -> str:
    """Return the placeholder of a label of the series that was clicked."""
    return f"${{__field.labels.{name}:percentencode}}"


def _drill(
    title: str, uid: str, values: Mapping[str, str], sources: tuple[str, ...]
) -> build.DashboardLink:
    picked = [f"${{{source}:queryparam}}" for source in _SOURCES if source in sources]
    wanted = [f"var-{variable}={placeholder}" for variable, placeholder in values.items()]
    query = "&".join([*picked, *wanted, "${__url_time_range}"])
    return build.DashboardLink(title).url(f"/d/{uid}?{query}")


def _explore(title: str, asked: Mapping[str, object]) -> build.DashboardLink:
    source = f"${{{TRACES}}}"
    query = {"refId": "A", "datasource": {"type": "jaeger", "uid": source}, **asked}
    span = {"from": "${__from}", "to": "${__to}"}
    panes = {"traces": {"datasource": source, "queries": [query], "range": span}}
    # Placeholders stay as they are: Grafana looks for `${`, not for its escape.
    encoded = quote(json.dumps(panes, separators=(",", ":")), safe="${}.[]:,")
    return build.DashboardLink(title).url(f"/explore?schemaVersion=1&panes={encoded}")
