"""Reads metrics as they came over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from wire.spans import Value, attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

# The labels of a series, by name and in their order.
Labels = tuple[tuple[str, str], ...]


class Family(NamedTuple):
    """One metric of one request, with what it came with."""

    metric: Metric
    scope: tuple[str, str]
    resource: dict[str, Value]

    @property
    def kind(self) -> str:
        """What it is: `sum`, `gauge` or `histogram`."""
        return str(self.metric.WhichOneof("data"))

    @property
    def points(self) -> dict[Labels, Any]:
        """The points by their labels; no two have the same."""
        points = getattr(self.metric, self.kind).data_points
        found = {_labels(point): point for point in points}
        assert len(found) == len(points)
        return found

    def value(self, **labels: str) -> float:
        """Return the value of one series; 0 where there is none."""
        point = self.points.get(tuple(sorted(labels.items())))
        return 0 if point is None else float(getattr(point, point.WhichOneof("value")))


def _labels(point: Any) -> Labels:
    attributes = attributes_of(point.attributes)
    assert {value.kind for value in attributes.values()} <= {"string"}
    return tuple(sorted((name, value.value) for name, value in attributes.items()))


def latest(requests: Sequence[ExportMetricsServiceRequest]) -> dict[str, Family]:
    """Return each metric as it was sent last, by its name.

    Older SDKs send a gauge when it was set since the last time, and not again.
    """
    found: dict[str, Family] = {}
    for request in requests:
        families = list(families_of([request]))
        now = {family.metric.name: family for family in families}
        assert len(now) == len(families)
        found.update(now)
    return found


def families_of(requests: Iterable[ExportMetricsServiceRequest]) -> Iterator[Family]:
    """Return the metrics of all requests, in the order of their coming."""
    for request in requests:
        for of_resource in request.resource_metrics:
            resource = attributes_of(of_resource.resource.attributes)
            for of_scope in of_resource.scope_metrics:
                scope = of_scope.scope.name, of_scope.scope.version
                for metric in of_scope.metrics:
                    yield Family(metric, scope, resource)
