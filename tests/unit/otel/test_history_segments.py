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
    own = HIGH - number, HIGH, NOW + number, 5, 1
    return (attributes, "task load", 1, *own)


def add(builder: SegmentBuilder, span: tuple[Any, ...]) -> None:
    """Add a span that has ended."""
    builder.like(span).append(span)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_plain_spans(count: int) -> None:
    """Spans that are alike come back each with its own values, in their order."""
    builder = SegmentBuilder()
    for number in range(count):
        add(builder, plain(number, same="text", index=number, share=0.5))
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
        add(builder, plain(number, value=value))
    found = [span.attributes["value"] for span in unpacked(builder.packed()) if type(span) is Span]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


@pytest.mark.parametrize(
    "attributes",
    [({"a": 1, "b": 2}, {"a": 3}), ({"a": 1, "b": 2}, {"b": 4, "c": 5}), ({}, {"a": 1})],
    ids=["fewer", "others", "none"],
)
def test_other_attributes(attributes: tuple[dict[str, Any], ...]) -> None:
    """Spans of one name that have other attributes come back each with its own."""
    builder = SegmentBuilder()
    for number, each in enumerate([*attributes, *attributes]):
        add(builder, plain(number, **each))
    found = {span.span_id: span for span in unpacked(builder.packed()) if type(span) is Span}
    assert [found[HIGH - number].attributes for number in range(4)] == [*attributes, *attributes]


def test_a_clock_that_was_set_back() -> None:
    """Durations below zero come back as they were."""
    builder = SegmentBuilder()
    for number, took in enumerate((5, -7)):
        add(builder, ({}, "task load", 1, number, HIGH, NOW, took, 1))
    assert [span.duration for span in unpacked(builder.packed()) if type(span) is Span] == [
        5e-9,
        -7e-9,
    ]


def test_columns_are_counted() -> None:
    """Spans are counted by their parents and attributes, whether these are all alike or not."""
    builder = SegmentBuilder()
    for number in range(4):
        add(builder, plain(number, status="completed", attempts=1))
    (alike,) = builder.plain_columns()
    assert dict(alike.counts("status", "attempts")) == {(HIGH, "completed", 1): 4}
    other = SegmentBuilder()
    for parent, attempts in ((7, 1), (8, 1), (7, 2), (7, 1)):
        add(other, ({"attempts": attempts}, "task load", 1, attempts, parent, NOW, 5, 1))
    (mixed,) = other.plain_columns()
    assert dict(mixed.counts("attempts")) == {(7, 1): 2, (8, 1): 1, (7, 2): 1}


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
