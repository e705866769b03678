"""Where the events of `LogStructlog` go beside its lines: nowhere, unless `setup` says.

It knows no telemetry library, so that logs need none but structlog.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dotflow_otel.span_ids import SpanIds

    # Is given the level of an event, its name, its fields and the ids of its span.
    Sink = Callable[[int, str, Mapping[str, Any], SpanIds | None], None]

    # Is given the id of the run, the level, the name, the fields or the line of JSON that has
    # them, and the ids of the span.
    Listener = Callable[[str | None, int, str, Mapping[str, Any] | str, SpanIds | None], None]

# What takes the events; as global as the provider of loggers that they go to.
sinks: Final[list[Sink]] = []

# Who is notified of each event as well, also of one whose line is made at less cost.
listeners: Final[list[Listener]] = []

_is_line: Final[ContextVar[bool]] = ContextVar("dotflow_event_is_line", default=False)


@contextmanager
def as_line() -> Iterator[None]:
    """Mark records of the standard library as the lines of an event, which has a way of its own.

    An application can have configured structlog so that events become such records.
    """
    token = _is_line.set(True)
    try:
        yield
    finally:
        _is_line.reset(token)


def is_line() -> bool:
    """Return whether this code writes the line of an event."""
    return _is_line.get()


def export(level: int, event: str, fields: Mapping[str, Any], ids: SpanIds | None) -> None:
    """Hand an event over."""
    for sink in sinks:
        sink(level, event, fields, ids)


def notify(
    run_id: str | None,
    level: int,
    event: str,
    fields: Mapping[str, Any] | str,
    ids: SpanIds | None,
) -> None:
    """Notify the listeners of an event."""
    for listener in listeners:
        listener(run_id, level, event, fields, ids)
