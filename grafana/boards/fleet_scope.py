"""What the parts of the board *Fleet* share."""

from __future__ import annotations

from typing import Final

from boards import links, variables
from boards.queries import INSTANCE, JOB, Queries, portion
from dotflow_otel import conventions as names

SOURCES: Final = (variables.METRICS,)
PROCESS: Final = (JOB, INSTANCE)
queries: Final = Queries(PROCESS)
FROM_SERIES: Final = links.to_overview({JOB: links.label(JOB)}, SOURCES)
FROM_ROW: Final = links.to_overview({JOB: links.field("Service")}, SOURCES)


def saturation(*by: str) -> str:
    """Return the share of live workers that are busy."""
    return portion(queries.total(names.WORKERS_BUSY, *by), queries.total(names.WORKERS, *by))
