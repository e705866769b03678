"""The JSON that pages are made of, whatever a history has, and the sentences on top."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from made_history import MadeHistory, MadeTask, at

from dotflow.core.exception import InvalidOption
from dotflow_otel.history.reader import History
from dotflow_otel.history.segments import Event, Link, LogLine, Scope, Span
from dotflow_otel.pages.report import (
    addresses,
    part_of,
    policy,
    report,
    run_document,
    script,
    shell,
    to_json,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dotflow_otel.history.reader import RunInfo


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a history."""
    return tmp_path / "history.db"


def made(path: Path, *tasks: MadeTask, **options: Any) -> tuple[History, RunInfo]:
    """Return a history of one run, and that."""
    with MadeHistory(path) as history:
        history.add("billing", *tasks, **options)
    found = History(path)
    return found, found.run("latest")


def test_json_stays_in_its_element() -> None:
    """Nothing in a value ends the element that it is in, or is outside of ASCII."""
    value = {"a": "</script><script>x</script><!--", "b": "\u2028\ud800\N{SNOWMAN}&"}
    text = to_json(value)
    assert text.isascii()
    assert not set(text) & set("<>&")
    assert json.loads(text) == value


def test_values(path: Path) -> None:
    """Numbers that JavaScript would change, and values that are not JSON, are told as text."""
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    attributes = {
        "large": 2**60,
        "exact": 2**52,
        "not a number": float("nan"),
        "endless": float("-inf"),
        "list": (1, 2.5, "x", None, True),
        "deep": deep,
        "bytes": b"\x00",
    }
    history, run = made(path)
    with history:
        span = Span("own", 2, run.span_id, at(1), at(2), 1, attributes, scope=Scope("shop", "2.0"))
        line = LogLine(at(1), logging.INFO, "said", {"map": {"k": float("inf")}}, 2)
        part = json.loads(to_json(part_of(run, [span], [line])))
    found = part["spans"][0]["attributes"]
    assert found.pop("deep").count("[") if isinstance(found["deep"], str) else True
    found.pop("deep", None)
    assert found == {
        "large": str(2**60),
        "exact": 2**52,
        "not a number": "nan",
        "endless": "-inf",
        "list": [1, 2.5, "x", None, True],
        "bytes": r"b'\x00'",
    }
    assert part["lines"][0]["fields"] == {"map": {"k": "inf"}}
    assert (part["spans"][0]["kind"], part["spans"][0]["scope"]) == ("span", "shop 2.0")


def test_events_and_links(path: Path) -> None:
    """Events and links come with their span, and stack traces that are the same are there once."""
    raised = {"exception.type": "E", "exception.stacktrace": "Traceback\n"}
    events = (Event("exception", at(1), raised), Event("read", at(1), {"rows": 7}))
    history, run = made(path)
    with history:
        span = Span(
            "s", 2, run.span_id, at(0), None, 1, {}, 0, (2, None), events, [Link("a", 1, {})]
        )
        lines = [
            LogLine(at(1), logging.ERROR, "task.failed", {"exception": "Traceback\n"}, 2),
            LogLine(at(1), 30, "task.skipped", {"task": "pay", "task_id": "T1", "group": "g"}, 2),
        ]
        part = part_of(run, [span], lines)
    assert part["texts"] == ["Traceback\n"]
    (found,) = part["spans"]
    assert (found["start"], found["end"], found["error"]) == (0, None, "")
    assert [event.get("stack") for event in found["events"]] == [0, None]
    assert found["events"][1] == {"name": "read", "time": 10**9, "attributes": {"rows": 7}}
    assert found["links"] == [{"trace": "a", "span": f"{1:016x}"}]
    failed, skipped = part["lines"]
    assert failed["stack"] == 0
    assert (skipped["skipped"], skipped["task"], skipped["fields"]) == ("skipped T1", "pay", {})


def test_report_has_its_parts_in_place(path: Path) -> None:
    """Every place of the page is filled, once, whatever the document says."""
    history, run = made(path, run_id="<!-- script -->")
    with history:
        page = report(run_document(history, run, {}))
    assert page.count("<!-- script -->") == page.count("<!-- document -->") == 0
    assert page.count(script()) == 1
    assert page.count("</script>") == 2
    assert "<!--" not in shell({})
    assert "default-src 'none'" in policy(script="'self'", style="'self'", connect="'none'")


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options stand over variables; an empty one is none."""
    monkeypatch.setenv("DOTFLOW_JAEGER_URL", "http://one:16686/")
    monkeypatch.setenv("DOTFLOW_GRAFANA_URL", " ")
    assert addresses() == {"jaeger": "http://one:16686"}
    assert addresses("https://two/jaeger/") == {"jaeger": "https://two/jaeger"}
    assert addresses("", "http://[::1]:3000") == {"grafana": "http://[::1]:3000"}


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "localhost:1", "http://", "http://a b", "http://a:x", "//a"]
)
def test_no_address(address: str) -> None:
    """What no page can be at is refused, with the option that it was given by."""
    with pytest.raises(InvalidOption, match="--jaeger"):
        addresses(address)


def test_facts_name_their_spans(path: Path) -> None:
    """What is told of a task or a span leads to it."""
    error = "ValueError: 7"
    tasks = [MadeTask("a", 0, 1, error=error), MadeTask("b", 1, 2, error=error)]
    history, run = made(path, *tasks, ended=2.0)
    with history:
        document = run_document(history, run, {})
    by_label = {span["label"]: span["id"] for span in document["part"]["spans"]}
    failed, time = document["analysis"]["why"]
    assert failed["title"] == "What failed first"
    assert [(line["text"], line["span"]) for line in failed["lines"]] == [
        ("a failed after 1.00 s: ValueError: 7", by_label["a"]),
        ("then b failed after 2.00 s: ValueError: 7", by_label["b"]),
    ]
    assert time["title"] == "Where the time went: 2.00 s"
    assert document["analysis"]["path"] == sorted((by_label["a"], by_label["b"]))
