"""The board *Workflow*: of one workflow, what is slow, what fails, since when?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from boards import links, variables, workflow_numbers, workflow_tasks, workflow_troubles
from boards.board import Board, Section
from boards.look import HALF, TEXT, About
from boards.panels import log_lines
from boards.queries import JOB
from boards.shared import durations, outcomes
from boards.tables import traces
from boards.workflow_scope import ONE, queries
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels

_SOURCES: Final = (variables.METRICS, variables.TRACES, variables.LOGS)
_RUN: Final = names.WORKFLOW_SPAN.format("$workflow")


def board() -> Board:
    """Return the board."""
    return Board(
        links.WORKFLOW,
        "What in one workflow is slow, what fails, since when? Its runs, its tasks, their "
        "failures, retries and waits, its traces and its logs.",
        [
            *(variables.pick_source(source) for source in _SOURCES),
            variables.pick_label(JOB, multi=False),
            variables.pick_label("workflow", single=(JOB,), multi=False),
            variables.pick_label("task", single=ONE),
            variables.pick_label("mode", single=ONE),
        ],
        [
            Section("In this time", [*workflow_numbers.runs(), *workflow_numbers.tasks()]),
            Section(
                "Runs", [*outcomes(queries), *workflow_tasks.in_progress(), *durations(queries)]
            ),
            Section(
                "Tasks",
                [*workflow_tasks.table(), *workflow_tasks.worst(), *workflow_tasks.durations()],
            ),
            Section("What goes wrong", [*workflow_troubles.failures(), *workflow_troubles.waits()]),
            Section("Traces", _traces()),
            Section("Logs (optional: needs a Loki data source)", _logs(), closed=True),
        ],
    )


def _traces() -> Panels:
    newest = About(
        "Newest runs",
        "Click on one for its spans: the workflow, its tasks, their attempts. Empty, though "
        "there are runs: is the service's name in Jaeger the `job` in Prometheus?",
        TEXT,
        HALF,
    )
    failed = About(
        "Newest failed runs",
        "Open one and look for the span with an error: it has the exception.",
        TEXT,
        HALF,
    )
    return [traces(newest, "$job", _RUN), traces(failed, "$job", _RUN, "error=true")]


def _logs() -> Panels:
    description = (
        "Events of dotflow and what steps log, newest first; `trace_id` leads to the trace. "
        "Needs a Loki with the service's JSON lines, or with its logs over OTLP, and the label "
        "`service_name`."
    )
    # What came over OTLP is no JSON, but has the field already.
    parsed = "json | drop __error__, __error_details__"
    query = f'{{service_name="$job"}} | {parsed} | workflow=`$workflow`'
    return [log_lines("Logs", description, query)]
