"""The part of a recording that is about log events."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from logging import getLevelName
from typing import TYPE_CHECKING, Any, Final

import structlog

from dotflow.core.arguments import check_text
from dotflow_otel.conventions import TASK_EVENTS, WORKFLOW_EVENTS
from dotflow_otel.logs.log import LogStructlog
from dotflow_otel.testing.failures import block, facts, near, or_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow_otel.span_ids import SpanIds

_IN_LISTS: Final = ("workflow", "task", "group", "attempt", "error_type")


@dataclass(frozen=True)
class LogEvent:
    """One event of the log. `event["task"]` gives one of its fields.

    Attributes:
        event: As `task.failed`.
        level: `debug`, `info`, `warning` or `error`.
        timestamp: UTC, ISO 8601.
        fields: The others, as they stand in the log's line.
    """

    event: str
    level: str
    timestamp: str
    fields: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or the default where there is none."""
        return self.fields.get(name, default)

    def __str__(self) -> str:
        listed = {name: self.fields[name] for name in _IN_LISTS if name in self.fields}
        return f"{self.event} {facts(listed)}".rstrip()


class LogSink(io.TextIOBase):
    """Keeps the lines that a log writes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        """Keep a line."""
        self.lines.append(text)
        return len(text)


class LogRecorder(LogStructlog):
    """Writes its lines to a sink, and as well where the application's structlog writes.

    Args:
        sink: Takes the lines.
        level: The lowest level that is written.
    """

    def __init__(self, sink: LogSink, level: str | int = "INFO") -> None:
        super().__init__(level, format="json", stream=sink)  # type: ignore[arg-type]

    def _emit(
        self, level: int, event: str, fields: dict[str, Any], ids: SpanIds | None = None
    ) -> None:
        self._output.write(getLevelName(level).lower(), event, fields)
        if structlog.is_configured():
            super()._emit(level, event, fields, ids)


class EventReader:
    """Reads the log's events back."""

    def __init__(self) -> None:
        self._sink = LogSink()

    @property
    def events(self) -> list[LogEvent]:
        """The events, in the order in which they were logged."""
        return [_event(json.loads(line)) for line in tuple(self._sink.lines)]

    def find_events(self, event: str | None = None, /, **fields: Any) -> list[LogEvent]:
        """Return the events that fit, in order; maybe none.

        Args:
            event: Which; None: any.
            **fields: What they have among their fields, or as their level.

        Raises:
            InvalidOption: `event` is no text.
        """
        check_text("event", event, optional=True)
        return [one for one in self.events if event in {None, one.event} and _has(one, fields)]

    def event(self, event: str, /, **fields: Any) -> LogEvent:
        """Return the only event that fits. Arguments as in `find_events`.

        Raises:
            AssertionError: There is none, or more than one; it tells what there is.
            InvalidOption: `event` is no text.
        """
        __tracebackhide__ = True
        check_text("event", event)
        found = self.find_events(event, **fields)
        if len(found) != 1:
            raise AssertionError(_wrong_number(event, fields, found, self.events))
        return found[0]


def _event(line: dict[str, Any]) -> LogEvent:
    return LogEvent(line.pop("event"), line.pop("level"), line.pop("timestamp"), line)


def _has(event: LogEvent, fields: Mapping[str, Any]) -> bool:
    return fields.items() <= {**event.fields, "level": event.level}.items()


def _wrong_number(
    event: str, fields: Mapping[str, Any], found: Sequence[LogEvent], events: Sequence[LogEvent]
) -> str:
    asked = f"{event!r} with {facts(fields)}" if fields else repr(event)
    if found:
        first = f"{len(found)} events {asked} were logged, not one; say which by its fields"
        return block(first, _listed(found))
    of_name = [one for one in events if one.event == event]
    first = f"no event {asked} was logged"
    if not of_name:
        close = near(event, {*WORKFLOW_EVENTS, *TASK_EVENTS, *(one.event for one in events)})
        first += f"; did you mean {or_list(close)}?" if close and event not in close else ""
    if not events:
        return f"{first}\nnothing was logged: is `telemetry.config` the workflow's config?"
    return block(f"{first}\nlogged:", _listed(of_name or events))


def _listed(events: Sequence[LogEvent]) -> str:
    return "\n".join(map(str, events))
