"""Panels and queries about runs that more than one board has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards.look import COUNT, GREEN, HALF, ORANGE, RED, SECONDS, About
from boards.panels import bars, buckets, graph
from boards.queries import RATE, share
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels
    from boards.queries import Queries


def success(queries: Queries, *by: str) -> str:
    """Return the share of completed runs among those that ended in the time shown."""
    completed = queries.counted(names.WORKFLOW_COMPLETED, *by)
    return share(completed, queries.counted(names.WORKFLOW_FAILED, *by))


def failed_share(queries: Queries, *by: str, window: str = RATE) -> str:
    """Return the share of failed runs among those that ended in each window."""
    failed = queries.counted(names.WORKFLOW_FAILED, *by, window=window)
    return share(failed, queries.counted(names.WORKFLOW_COMPLETED, *by, window=window))


def outcomes(queries: Queries) -> Panels:
    """Show how runs ended, over time: one panel."""
    about = About(
        "Runs by outcome",
        "Runs that ended around each moment. A dot at a failure leads to its trace. Lost ones, "
        "whose process was killed, are there when a later process finds them in its history: "
        "look in the kernel's log for the out-of-memory killer.",
        COUNT,
        HALF,
    )
    ended = {
        "completed": queries.counted(names.WORKFLOW_COMPLETED, window=RATE),
        "failed": queries.counted(names.WORKFLOW_FAILED, window=RATE),
        "lost": queries.counted(names.WORKFLOW_LOST, window=RATE),
    }
    colors = {"completed": GREEN, "failed": RED, "lost": ORANGE}
    return [bars(about, ended, colors=colors, exemplars=True)]


def durations(q: Queries) -> Panels:
    """Show how long runs took, over time: two panels."""
    heat = About(
        "Durations of runs",
        "How long runs took: the darker, the more. A dot is one run; click on it for its "
        "trace. A band that splits or climbs: look there what has changed.",
        SECONDS,
        HALF,
    )
    quantiles = About(
        "Quantiles of durations",
        "Half of the runs took at most p50, all but one in a hundred at most p99. If p99 "
        "alone climbs, a few runs are slow: take a dot above it.",
        SECONDS,
        HALF,
    )
    took = names.WORKFLOW_DURATION
    queries = {f"p{of * 100:g}": q.quantile(of, took) for of in (0.5, 0.95, 0.99)}
    return [buckets(heat, q.buckets(took)), graph(quantiles, queries, exemplars=True)]
