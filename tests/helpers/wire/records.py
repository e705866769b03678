"""Reads log records as they came over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wire.spans import Value, attributes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest


class Entry:
    """One log record with what it came with."""

    def __init__(self, record: Any, scope: str, resource: dict[str, Value]) -> None:
        self.record = record
        self.scope = scope
        self.resource = resource
        self.attributes = attributes_of(record.attributes)

    @property
    def event(self) -> str | None:
        """The event's name: in its own field, or where the SDK is too old for that, beside it."""
        field = getattr(self.record, "event_name", "")
        return field or self.attributes.get("event.name", Value("", None)).value

    @property
    def task(self) -> str | None:
        """The name of the task."""
        return self.attributes.get("task", Value("", None)).value


def entries_of(requests: Iterable[ExportLogsServiceRequest]) -> Iterator[Entry]:
    """Return the records of all requests, in the order of their coming."""
    for request in requests:
        for of_resource in request.resource_logs:
            resource = attributes_of(of_resource.resource.attributes)
            for of_scope in of_resource.scope_logs:
                for record in of_scope.log_records:
                    yield Entry(record, of_scope.scope.name, resource)
