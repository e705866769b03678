"""What is written of spans and lines is what is read of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dotflow_otel.history.segments import (
    Event,
    Link,
    LogLine,
    Outcome,
    Scope,
    SegmentBuilder,
    Span,
    unpacked,
)

NOW = 1_795_934_479_145_489_163
HIGH = 2**64 - 1  # the ids of spans have 64 bits


def plain(number: int, **attributes: Any) -> tuple[Any, ...]:
    """Return a span as the run hands it over."""
    return ("task load", 1, HIGH - number, HIGH, NOW + number, 5, 1, attributes)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_plain_spans(count: int) -> None:
    """Spans that are alike come back each with its own values, in their order."""
    builder = SegmentBuilder()
    for number in range(count):
        builder.add_plain(plain(number, same="text", index=number, share=0.5))  # type: ignore[arg-type]
    assert list(unpacked(builder.packed())) == [
        Span(
            "task load",
            HIGH - number,
            HIGH,
            NOW + number,
            NOW + number + 5,
            1,
            {"same": "text", "index": number, "share": 0.5},
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    "values",
    [
        (1, 1.0, True),
        (0, False, 0.0),
        ("", "", ""),
        ("\ud800", "é", "\0"),
        ((1, 2), (1, 2), ("a",)),
    ],
)
def test_values(values: tuple[Any, ...]) -> None:
    """Values keep their types, also where they are equal to those of other spans."""
    builder = SegmentBuilder()
    for number, value in enumerate(values):
        builder.add_plain(plain(number, value=value))  # type: ignore[arg-type]
    found = [span.attributes["value"] for span in unpacked(builder.packed()) if type(span) is Span]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


def test_all_kinds() -> None:
    """A span that began, one with all that a span can tell, an outcome, and lines."""
    whole = Span(
        "select",
        7,
        HIGH,
        NOW,
        NOW + 9,
        3,
        {"table": "orders", "shards": (1, 2)},
        3,
        (2, "ValueError: no"),
        [Event("read", NOW + 1, {"rows": 7})],
        [Link("0" * 31 + "1", HIGH, {"why": "resumed"})],
        Scope("shop", "2.0", None, {}),
        "vendor=1",
    )
    builder = SegmentBuilder()
    assert builder.is_empty
    builder.add_open("task load", 5, 6, NOW, 1, {"dotflow.task.name": "load"})
    builder.add_full(
        whole.name,
        whole.span_id,
        whole.parent_id,
        NOW,
        NOW + 9,
        whole.flags,
        dict(whole.attributes),
        whole.kind,
        whole.status,
        whole.events,
        whole.links,
        whole.scope,
        whole.state,
    )
    builder.add_outcome(5, NOW + 8, {"error.type": "timeout"})
    builder.add_line(NOW, 20, "task.started", {"attempt": 1, "trace_id": "x"}, HIGH)
    builder.add_line(NOW, 20, "task.started", json.dumps({"level": "info", "attempt": 2}), 0)
    assert not builder.is_empty
    found = {type(each): [] for each in (whole, Outcome(0, 0, {}), LogLine(0, 0, "", {}, 0))}
    for each in unpacked(builder.packed()):
        found[type(each)].append(each)
    assert found[Span] == [
        Span("task load", 5, 6, NOW, None, 1, {"dotflow.task.name": "load"}),
        whole,
    ]
    assert found[Outcome] == [Outcome(5, NOW + 8, {"error.type": "timeout"})]
    assert found[LogLine] == [
        LogLine(NOW, 20, "task.started", {"attempt": 1}, HIGH),
        LogLine(NOW, 20, "task.started", {"attempt": 2}, 0),
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"no segment", SegmentBuilder().packed()[:-3] + b"xyz"],
    ids=["empty", "a text", "another end"],
)
def test_a_damaged_segment(body: bytes) -> None:
    """What is no segment is an error."""
    with pytest.raises(ValueError, match=r"damaged|Expecting"):
        list(unpacked(body))
