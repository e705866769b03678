"""What a failed assertion says, and spans as text: an outline to compare with, a waterfall.

The assertions themselves set `__tracebackhide__`: pytest then shows the line of the test that
failed, and not those in here.
"""

from __future__ import annotations

import os
from difflib import get_close_matches, ndiff
from textwrap import indent
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dotflow_otel.testing.spans import RecordedSpan


_DEFAULT_GROUP: Final = "default"
_LEAST_BAR: Final = 10
_LONG: Final = 10  # seconds, from which on durations are written in seconds


class _Signs(NamedTuple):
    done: str
    failed: str
    restored: str
    bar: str
    cut: str


_SIGNS: Final = _Signs("✓", "✗", "↺", "━", "…")
_ASCII_SIGNS: Final = _Signs("+", "x", "r", "=", "~")


def label_of(span: RecordedSpan) -> str:
    """Return what a span is, in the words that do not change from run to run."""
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
    """Return a line for each span, indented by two below its parent. No times, no ids."""
    return "\n".join(f"{'  ' * depth}{label_of(span)}" for span, depth in _rows(roots))


def waterfall_of(roots: Sequence[RecordedSpan], width: int, *, ascii_only: bool) -> str:
    """Return a line for each span: state, label, duration, and a bar for when it went on.

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


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that one may have been meant, the likeliest first."""
    return get_close_matches(name, sorted(set(known)), n=3)


def or_list(found: Iterable[str]) -> str:
    """Return names in quotes, with `or` before the last."""
    *first, last = map(repr, found)
    return f"{', '.join(first)} or {last}" if first else last


def facts(values: Mapping[str, Any]) -> str:
    """Return names and values as they are written in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def block(title: str, text: str) -> str:
    """Return a text below its title, indented."""
    return f"{title}\n{indent(text, '  ')}"


def difference(expected: str, found: str) -> str:
    """Return two texts as one, its lines marked: `-` expected only, `+` found only."""
    lines = ndiff(expected.splitlines(), found.splitlines())
    return "\n".join(line.rstrip() for line in lines if not line.startswith("?"))


class Wanted(NamedTuple):
    """What a span was asked for by: see `SpanReader.find`."""

    name: str
    attributes: Mapping[str, Any]
    below: RecordedSpan | None
    error_type: str | None


def missing_span(
    wanted: Wanted,
    spans: Sequence[RecordedSpan],
    roots: Sequence[RecordedSpan],
    still_open: Sequence[str],
) -> str:
    """Return a message that no span fits, and what there is."""
    name = wanted.name
    named = [span for span in spans if span.name == name]
    if named:
        lines = [f"no span {name!r} fits what was asked for; found was:"]
        lines += [f"  {_otherwise(span, wanted)}" for span in named]
    else:
        close = near(name, (span.name for span in spans))
        hint = f"; did you mean {or_list(close)}?" if close else ""
        lines = [f"no span {name!r} was recorded{hint}"]
    return "\n".join([*lines, *_recorded(roots), *_unfinished(still_open)])


def too_many_spans(name: str, found: Sequence[RecordedSpan], roots: Sequence[RecordedSpan]) -> str:
    """Return a message that more than one span fits."""
    first = (
        f"{len(found)} spans {name!r} were recorded, not one; "
        "say which by attributes=, below= or error_type=, or take them all from find()"
    )
    return "\n".join([first, *_recorded(roots)])


def wrong_tree(expected: str, found: str, still_open: Sequence[str]) -> str:
    """Return a message of where two outlines differ."""
    first = block(
        "the spans are not as expected (- expected only, + recorded only):",
        difference(expected, found),
    )
    return "\n".join([first, *_unfinished(still_open)])


def _otherwise(span: RecordedSpan, wanted: Wanted) -> str:
    found = span.attributes
    other = [
        f"{name}={found[name]!r}, not {value!r}" if name in found else f"no {name}, not {value!r}"
        for name, value in wanted.attributes.items()
        if name not in found or found[name] != value
    ]
    if wanted.error_type not in {None, span.error_type}:
        other.append(f"error_type={span.error_type!r}, not {wanted.error_type!r}")
    if not other and wanted.below is not None:
        above = "no span" if span.parent is None else repr(label_of(span.parent))
        other.append(f"below {above}, not {label_of(wanted.below)!r}")
    return "; ".join(other)


def _recorded(roots: Sequence[RecordedSpan]) -> list[str]:
    if roots:
        return [block("recorded:", outline_of(roots))]
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return [f"nothing was recorded: {OTEL_SDK_DISABLED}=true turns the SDK off; unset it"]
    return ["nothing was recorded: is `telemetry.config` the workflow's config?"]


def _unfinished(still_open: Sequence[str]) -> list[str]:
    if not still_open:
        return []
    listed = ", ".join(map(repr, still_open))
    return [f"not ended yet: {listed}; wait for a run in the background by `manager.thread.join()`"]
