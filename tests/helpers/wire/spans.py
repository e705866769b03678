"""Reads spans as they came over the wire: typed attributes, and trees by ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


class Value(NamedTuple):
    """A value with the type that it has on the wire, where 10 is not 10.0 and 1 not true."""

    kind: str
    value: Any


def string(value: str) -> Value:
    """Make the value of a text."""
    return Value("string", value)


def integer(value: int) -> Value:
    """Make the value of an integer."""
    return Value("int", value)


def double(value: float) -> Value:
    """Make the value of a floating point number."""
    return Value("double", value)


def boolean(value: bool) -> Value:
    """Make the value of a truth value."""
    return Value("bool", value)


def value_of(value: AnyValue) -> Value:
    """Read a value."""
    field = value.WhichOneof("value") or "no_value"
    kind = field.removesuffix("_value")
    if kind == "array":
        return Value(kind, [value_of(inner) for inner in value.array_value.values])
    return Value(kind, getattr(value, field, None))


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    """Read attributes; each name is there once."""
    pairs = list(pairs)
    found = {pair.key: value_of(pair.value) for pair in pairs}
    assert len(found) == len(pairs), f"a name twice among {sorted(pair.key for pair in pairs)}"
    return found


class Node:
    """A span with what it came with and the spans below it, in the order of their starts."""

    def __init__(self, span: Span, scope: tuple[str, str], resource: Mapping[str, Value]) -> None:
        self.span = span
        self.scope = scope
        self.resource = resource
        self.attributes = attributes_of(span.attributes)
        self.parent: Node | None = None
        self.children: list[Node] = []

    def __repr__(self) -> str:
        return f"<{self.name} {[child.name for child in self.children]}>"

    @property
    def name(self) -> str:
        """The span's name."""
        return str(self.span.name)

    @property
    def status(self) -> tuple[str, str]:
        """The code of the span's status, and the description."""
        name = Status.StatusCode.Name(self.span.status.code)
        return name.removeprefix("STATUS_CODE_").lower(), self.span.status.message

    @property
    def kind(self) -> str:
        """The span's kind."""
        return Span.SpanKind.Name(self.span.kind).removeprefix("SPAN_KIND_").lower()

    def walk(self) -> Iterator[Node]:
        """Return the node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def outline(self) -> Any:
        """Return the names: of a leaf its own, of others also those below it."""
        if not self.children:
            return self.name
        return self.name, [child.outline() for child in self.children]

    def below(self, name: str) -> list[Node]:
        """Return all nodes of a name below this one, at any depth."""
        return [node for node in self.walk() if node is not self and node.name == name]

    def only(self, name: str) -> Node:
        """Return the only node of a name below this one, at any depth."""
        found = self.below(name)
        assert len(found) == 1, f"{len(found)} spans {name!r} in {self.outline()}"
        return found[0]


def roots(requests: Iterable[ExportTraceServiceRequest]) -> list[Node]:
    """Make trees of all spans; give the nodes whose parents did not come.

    No two spans have the same id, so none came twice.
    """
    nodes = sorted(_nodes(requests), key=lambda node: int(node.span.start_time_unix_nano))
    by_id = {(node.span.trace_id, node.span.span_id): node for node in nodes}
    assert len(by_id) == len(nodes), f"a span came twice among {[node.name for node in nodes]}"
    for node in nodes:
        assert (len(node.span.trace_id), len(node.span.span_id)) == (16, 8)
        node.parent = by_id.get((node.span.trace_id, node.span.parent_span_id))
        if node.parent is not None:
            node.parent.children.append(node)
    return [node for node in nodes if node.parent is None]


def _nodes(requests: Iterable[ExportTraceServiceRequest]) -> Iterator[Node]:
    for request in requests:
        for of_resource in request.resource_spans:
            resource = attributes_of(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                scope = of_scope.scope.name, of_scope.scope.version
                for span in of_scope.spans:
                    yield Node(span, scope, resource)
