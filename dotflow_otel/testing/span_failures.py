"""What a failed assertion about spans says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED

from dotflow_otel.testing.failures import block, difference, near, or_list
from dotflow_otel.testing.outline import label_of, outline_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow_otel.testing.spans import RecordedSpan


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
    """Say that no span fits, and what there is."""
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
    """Say that more than one span fits."""
    first = (
        f"{len(found)} spans {name!r} were recorded, not one; "
        "say which by attributes=, below= or error_type=, or take them all from find()"
    )
    return "\n".join([first, *_recorded(roots)])


def wrong_tree(expected: str, found: str, still_open: Sequence[str]) -> str:
    """Say where two outlines differ."""
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
