"""What a panel asks of its data source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from grafana_foundation_sdk.builders import loki, prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from boards.variables import LOGS, METRICS, TRACES, data_source

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

# How many traces a list shows.
_TRACES: Final = 20


def now(query: str, ref: str = "A", legend: str = "__auto") -> prometheus.Dataquery:
    """Ask for the values at the end of the time that the board shows."""
    return _prometheus(query, ref, legend).instant()


def over_time(
    query: str, ref: str = "A", legend: str = "__auto", *, exemplars: bool = False
) -> prometheus.Dataquery:
    """Ask for values over time, with the exemplars that lead to traces where there are any."""
    return _prometheus(query, ref, legend).range().exemplar(exemplars)


def as_table(query: str, ref: str) -> prometheus.Dataquery:
    """Ask for the values at the end as rows of a table."""
    return now(query, ref).format(PromQueryFormat.TABLE)


def as_heatmap(query: str) -> prometheus.Dataquery:
    """Ask for the buckets of a histogram, with exemplars."""
    asked = over_time(query, legend="{{le}}", exemplars=True)
    return asked.format(PromQueryFormat.HEATMAP)


def lines(query: str) -> loki.Dataquery:
    """Ask for log lines."""
    asked = loki.Dataquery().expr(query).ref_id("A").query_type("range").max_lines(200)
    return asked.datasource(data_source(LOGS))


class TraceQuery(Dataquery):
    """A search for traces in Jaeger, for which the library has no builder.

    Args:
        service: Whose traces.
        operation: The name of a span in them.
        tags: What that span's attributes must be, as `key=value`.
    """

    def __init__(self, service: str, operation: str, tags: str = "") -> None:
        self._fields = {"service": service, "operation": operation, "tags": tags}

    def to_json(self) -> dict[str, Any]:
        """Return what the panel's JSON says of it."""
        source: DataSourceRef = data_source(TRACES)
        asked = {"refId": "A", "datasource": source, "queryType": "search", "limit": _TRACES}
        return asked | {name: value for name, value in self._fields.items() if value}


class Traces(Builder[Dataquery]):
    """Builds a search for traces; arguments as of `TraceQuery`."""

    def __init__(self, service: str, operation: str, tags: str = "") -> None:
        self._query = TraceQuery(service, operation, tags)

    def build(self) -> Dataquery:
        """Return the query."""
        return self._query


def _prometheus(query: str, ref: str, legend: str) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query).ref_id(ref).legend_format(legend)
    return asked.datasource(data_source(METRICS))
