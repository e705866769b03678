"""Spans as text: an outline to compare with, and a waterfall to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dotflow_otel.testing.spans import RecordedSpan

_DEFAULT_GROUP: Final = "default"
_LEAST_BAR: Final = 10
_LONG: Final = 10  # seconds, from which on durations are told in seconds


class _Signs(NamedTuple):
    done: str
    failed: str
    restored: str
    bar: str
    cut: str


_SIGNS: Final = _Signs("✓", "✗", "↺", "━", "…")
_ASCII_SIGNS: Final = _Signs("+", "x", "r", "=", "~")


def label_of(span: RecordedSpan) -> str:
    """Tell what a span is, in the words that do not change from run to run."""
    attributes = span.attributes
    parts = [span.name]
    if names.ATTEMPT_NUMBER in attributes:
        parts.append(f"#{attributes[names.ATTEMPT_NUMBER]}")
    group = attributes.get(names.TASK_GROUP, _DEFAULT_GROUP)
    if group != _DEFAULT_GROUP:
        parts.append(f"[{group}]")
    if attributes.get(names.TASK_RESTORED):
        parts.append("(restored)")
    if span.failed:
        parts.append(span.error_type or "error")
    return " ".join(parts)


def outline_of(roots: Sequence[RecordedSpan]) -> str:
    """Give a line for each span, indented by two below its parent. No times, no ids."""
    return "\n".join(f"{'  ' * depth}{label_of(span)}" for span, depth in _rows(roots))


def waterfall_of(roots: Sequence[RecordedSpan], width: int, *, ascii_only: bool) -> str:
    """Give a line for each span: state, label, duration, and a bar for when it went on.

    Args:
        roots: The spans to begin with; each has the full width for its time.
        width: How many characters a line has, unless that leaves no room for a bar.
        ascii_only: Whether to do without other characters.
    """
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    rows = [(span, f"{'  ' * depth}{label_of(span)}") for span, depth in _rows(roots)]
    room = min(max((len(label) for _, label in rows), default=0), width // 2)
    bars = max(width - room - 14, _LEAST_BAR)
    spans_of_time = {span: _time_of(root) for root in roots for span in root.walk()}
    return "\n".join(
        f"{_sign(span, signs)} {_fit(label, room, signs)} {_duration(span)} "
        f"{_bar(span, spans_of_time[span], bars, signs)}"
        for span, label in rows
    )


def _rows(spans: Sequence[RecordedSpan], depth: int = 0) -> Iterator[tuple[RecordedSpan, int]]:
    for span in spans:
        yield span, depth
        yield from _rows(span.children, depth + 1)


def _time_of(root: RecordedSpan) -> tuple[int, int]:
    begin = min(span.start_ns for span in root.walk())
    return begin, max(max(span.end_ns for span in root.walk()) - begin, 1)


def _sign(span: RecordedSpan, signs: _Signs) -> str:
    if span.failed:
        return signs.failed
    return signs.restored if span.attributes.get(names.TASK_RESTORED) else signs.done


def _fit(label: str, room: int, signs: _Signs) -> str:
    return f"{label:<{room}}" if len(label) <= room else label[: room - 1] + signs.cut


def _duration(span: RecordedSpan) -> str:
    seconds = span.duration
    return f"{seconds:7.1f} s " if seconds >= _LONG else f"{seconds * 1000:7.1f} ms"


def _bar(span: RecordedSpan, time: tuple[int, int], width: int, signs: _Signs) -> str:
    begin, total = time
    first = min((span.start_ns - begin) * width // total, width - 1)
    length = max(round((span.end_ns - span.start_ns) * width / total), 1)
    return " " * first + signs.bar * min(length, width - first)
