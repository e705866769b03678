"""Recorded spans: their records, their tree, and what a failed assertion says."""

from __future__ import annotations

import dataclasses
import io
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, set_span_in_context

from dotflow import DotFlow, action
from dotflow.providers import StorageFile
from dotflow_otel import RecordedTelemetry, SpanEvent, record_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.trace import Span


@pytest.fixture
def telemetry() -> Iterator[RecordedTelemetry]:
    """Return a recording that leaves the global tracer provider alone."""
    with record_telemetry(global_tracer=False) as recorded:
        yield recorded


@action
def load() -> int:
    """Succeed."""
    return 1


@action
def save() -> None:
    """Fail."""
    raise ValueError("disk full")


def flaky(failures: int) -> Any:
    """Make a step that fails some times before it succeeds."""
    left = [failures]

    @action(retry=3, retry_delay=0)
    def fetch() -> None:
        if left[0]:
            left[0] -= 1
            raise KeyError("k")

    return fetch


def run(telemetry: RecordedTelemetry, *steps: Any, **options: Any) -> None:
    """Run steps as the workflow `billing`."""
    flow = DotFlow(config=telemetry.config, name="billing")
    for step in steps:
        flow.task.add(**step) if isinstance(step, dict) else flow.task.add(step)
    flow.start(**options)


def span(
    telemetry: RecordedTelemetry,
    name: str,
    begin: float,
    end: float,
    parent: Span | None = None,
    **attributes: Any,
) -> Span:
    """Record a span that went on between two times, in milliseconds; `_` in names stands for `.`.

    One with an `error_type` failed.
    """
    made = telemetry.provider.get_tracer("test").start_span(
        name,
        None if parent is None else set_span_in_context(parent),
        attributes={key.replace("_", "."): value for key, value in attributes.items()},
        start_time=int(begin * 1e6),
    )
    if "error_type" in attributes:
        made.set_status(Status(StatusCode.ERROR))
    made.end(int(end * 1e6))
    return made


def message(function: Any, *args: Any, **kwargs: Any) -> str:
    """Return the text of the AssertionError that a call raises."""
    with pytest.raises(AssertionError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# --- records ----------------------------------------------------------------------------


def test_a_record_tells_all_of_a_span(telemetry: RecordedTelemetry) -> None:
    """Name, kind, status, attributes, events, links, times and scope are plain values."""
    tracer = telemetry.provider.get_tracer("billing.db")
    other = span(telemetry, "other", 0, 1)
    made = tracer.start_span(
        "select",
        kind=SpanKind.CLIENT,
        attributes={"rows": 3, "names": ["a", "b"]},
        links=[Link(other.get_span_context(), {"why": "resumed"})],
        start_time=2_000_000_000,
    )
    made.add_event("locked", {"table": "t"}, timestamp=2_500_000_000)
    made.set_status(Status(StatusCode.ERROR, "deadlock"))
    made.end(4_000_000_000)

    found = telemetry.span("select")
    context = made.get_span_context()
    assert (found.trace_id, found.span_id) == (
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
    )
    assert (found.kind, found.scope, found.parent_id) == ("client", "billing.db", None)
    assert (found.status, found.description, found.failed) == ("error", "deadlock", True)
    assert found.attributes == {"rows": 3, "names": ("a", "b")}
    assert found.events == (SpanEvent("locked", {"table": "t"}, 2.5),)
    assert [link.span_id for link in found.links] == [f"{other.get_span_context().span_id:016x}"]
    assert found.links[0].attributes == {"why": "resumed"}
    assert (found.start, found.end, found.duration) == (2.0, 4.0, 2.0)
    assert found.error_type is None


def test_a_record_is_frozen(telemetry: RecordedTelemetry) -> None:
    """A record cannot be changed; records of the same span are equal, of others not."""
    span(telemetry, "a", 0, 1)
    span(telemetry, "b", 0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        telemetry.span("a").name = "c"  # type: ignore[misc]
    assert telemetry.span("a") == telemetry.span("a")
    assert telemetry.span("a") != telemetry.span("b")
    assert telemetry.span("a") != "a"
    assert len({telemetry.span("a"), telemetry.span("a")}) == 1


def test_parents_and_children(telemetry: RecordedTelemetry) -> None:
    """Each record knows the one above and those below it, at any depth."""
    run(telemetry, load, flaky(1))
    workflow, task = telemetry.span("workflow billing"), telemetry.span("task fetch")
    assert workflow.parent is None
    assert task.parent == workflow
    assert task.parent_id == workflow.span_id
    assert [child.name for child in workflow.children] == ["task load", "task fetch"]
    assert [found.attributes["dotflow.attempt.number"] for found in task.children] == [1, 2]
    names = ["workflow billing", "task load", "task fetch", "attempt", "attempt"]
    assert [found.name for found in workflow.walk()] == names
    assert [found.name for found in telemetry.spans] == names
    assert telemetry.roots == (workflow,)


def test_error_type_of_a_span_of_others(telemetry: RecordedTelemetry) -> None:
    """Without the attribute the type of the recorded exception tells it."""
    tracer = telemetry.provider.get_tracer("test")
    with pytest.raises(KeyError), tracer.start_as_current_span("select"):
        raise KeyError("k")
    assert telemetry.span("select").error_type == "KeyError"
    assert telemetry.outline() == "select KeyError"


def test_tasks_stand_in_their_workflows_order(telemetry: RecordedTelemetry) -> None:
    """Tasks that ran at the same time stand by their index; others as they began."""
    top = telemetry.provider.get_tracer("test").start_span("workflow w", start_time=0)
    span(telemetry, "task c", 1, 9, top, dotflow_task_index=2)
    span(telemetry, "connect", 2, 3, top)
    span(telemetry, "task a", 3, 9, top, dotflow_task_index=0)
    span(telemetry, "task b", 4, 9, top, dotflow_task_index=1)
    top.end(10_000_000)
    telemetry.assert_tree("""
        workflow w
          task a
          connect
          task b
          task c
    """)


def test_find(telemetry: RecordedTelemetry) -> None:
    """Spans are found by name, attributes, place and error, together or one by one."""
    run(telemetry, {"step": flaky(1), "name": "one"}, {"step": flaky(1), "name": "two"}, save)
    one = telemetry.span("task one")
    assert len(telemetry.find()) == 8
    assert len(telemetry.find("attempt")) == 4
    assert len(telemetry.find("attempt", below=one)) == 2
    assert len(telemetry.find(below=telemetry.span("workflow billing"))) == 7
    assert len(telemetry.find(error_type="KeyError")) == 2
    assert telemetry.find("attempt", {"dotflow.attempt.number": 2}, below=one)[0].parent == one
    assert telemetry.find("task nine") == ()
    assert telemetry.span("attempt", below=one, error_type="KeyError").failed


def test_clear(telemetry: RecordedTelemetry) -> None:
    """After `clear` only what comes then is there."""
    run(telemetry, load)
    telemetry.clear()
    assert (telemetry.spans, telemetry.events, telemetry.outline()) == ((), [], "")
    run(telemetry, save)
    assert telemetry.outline() == "workflow billing ValueError\n  task save ValueError"
    telemetry.assert_balanced()


# --- as text ----------------------------------------------------------------------------


def test_outline(telemetry: RecordedTelemetry) -> None:
    """The outline tells names, attempts, groups and errors, and nothing that changes."""
    run(
        telemetry,
        {"step": flaky(1), "group_name": "2012"},
        {"step": save, "group_name": "2013"},
    )
    telemetry.assert_tree("""
        workflow billing ValueError
          task fetch [2012]
            attempt #1 KeyError
            attempt #2
          task save [2013] ValueError
    """)


def test_restored_tasks_are_marked(telemetry: RecordedTelemetry, tmp_path: Path) -> None:
    """A task from a checkpoint is marked in the outline and in the waterfall."""
    config = telemetry.observe(storage=StorageFile(path=tmp_path))
    for _ in range(2):
        telemetry.clear()
        flow = DotFlow(config=config, name="billing", workflow_id="nightly")
        flow.task.add([load, save])
        flow.start(resume=True)
    telemetry.assert_tree("""
        workflow billing ValueError
          task load (restored)
          task save ValueError
    """)
    assert [line[0] for line in telemetry.waterfall().splitlines()] == ["✗", "↺", "✗"]
    telemetry.assert_balanced()


def waterfall_of_three(telemetry: RecordedTelemetry) -> None:
    """Record three spans of one trace, and one of another."""
    top = span(telemetry, "workflow billing", 0, 100)
    span(telemetry, "task load", 0, 50, top)
    span(telemetry, "task save", 50, 99.96, top, error_type="OSError")
    span(telemetry, "cleaning up after it all", 60_000, 72_500)


def test_waterfall(telemetry: RecordedTelemetry) -> None:
    """A line tells state, label, duration, and by its bar when the span went on."""
    waterfall_of_three(telemetry)
    assert telemetry.waterfall(width=60).splitlines() == [
        "✓ workflow billing           100.0 ms ━━━━━━━━━━━━━━━━━━━━━━",
        "✓   task load                 50.0 ms ━━━━━━━━━━━",
        "✗   task save OSError         50.0 ms            ━━━━━━━━━━━",
        "✓ cleaning up after it all    12.5 s  ━━━━━━━━━━━━━━━━━━━━━━",
    ]


def test_waterfall_in_little_room(telemetry: RecordedTelemetry) -> None:
    """In a narrow place labels are cut and bars stay; other characters can be left out."""
    waterfall_of_three(telemetry)
    assert telemetry.waterfall(width=30, ascii_only=True).splitlines() == [
        "+ workflow billi~   100.0 ms ==========",
        "+   task load        50.0 ms =====",
        "x   task save OS~    50.0 ms      =====",
        "+ cleaning up af~    12.5 s  ==========",
    ]


def test_waterfall_of_short_spans(telemetry: RecordedTelemetry) -> None:
    """The shortest span has a bar, also at the very end and where it outlives its parent."""
    top = span(telemetry, "top", 0, 10)
    span(telemetry, "instant", 10, 10, top)
    span(telemetry, "late", 10, 20, top)
    assert telemetry.waterfall(width=33).splitlines() == [
        "✓ top          10.0 ms ━━━━━",
        "✓   instant     0.0 ms      ━",
        "✓   late       10.0 ms      ━━━━━",
    ]
    span(telemetry, "moment", 100, 100)
    assert telemetry.waterfall(width=33).splitlines()[-1] == "✓ moment        0.0 ms ━"


def test_tree_prints(telemetry: RecordedTelemetry, capsys: pytest.CaptureFixture[str]) -> None:
    """`tree` prints the waterfall and gives it, in ASCII where the stream knows no other."""
    span(telemetry, "a", 0, 1)
    assert telemetry.tree() == telemetry.waterfall()
    assert capsys.readouterr().out == telemetry.waterfall() + "\n"
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert telemetry.tree(width=40, file=latin) == telemetry.waterfall(40, ascii_only=True)
    text = io.StringIO()
    telemetry.tree(width=40, file=text)
    assert text.getvalue() == telemetry.waterfall(40) + "\n"


# --- failures ---------------------------------------------------------------------------


def test_a_name_that_is_not_there(telemetry: RecordedTelemetry) -> None:
    """The message has names that may be meant, and what was recorded."""
    run(telemetry, load, save)
    assert message(telemetry.span, "task laod") == (
        "no span 'task laod' was recorded; did you mean 'task load' or 'task save'?\n"
        "recorded:\n"
        "  workflow billing ValueError\n"
        "    task load\n"
        "    task save ValueError"
    )
    assert message(telemetry.span, "GET /").startswith("no span 'GET /' was recorded\nrecorded:\n")


def test_a_span_that_does_not_fit(telemetry: RecordedTelemetry) -> None:
    """The message tells of each span of the name what is otherwise."""
    run(telemetry, load, save)
    tree = "recorded:\n  workflow billing ValueError\n    task load\n    task save ValueError"
    wanted = {"dotflow.task.group": "a", "dotflow.task.index": 0, "rows": 3}
    assert message(telemetry.span, "task load", wanted, error_type="KeyError") == (
        "no span 'task load' fits what was asked for; found was:\n"
        "  dotflow.task.group='default', not 'a'; no rows, not 3; error_type=None, not 'KeyError'\n"
        f"{tree}"
    )
    task = telemetry.span("task save")
    assert message(telemetry.span, "task load", below=task) == (
        "no span 'task load' fits what was asked for; found was:\n"
        "  below 'workflow billing ValueError', not 'task save ValueError'\n"
        f"{tree}"
    )
    assert "  below no span, not " in message(telemetry.span, "workflow billing", below=task)


def test_more_than_one(telemetry: RecordedTelemetry) -> None:
    """The message tells how many there are and how to choose."""
    run(telemetry, flaky(1))
    assert message(telemetry.span, "attempt") == (
        "2 spans 'attempt' were recorded, not one; say which by attributes=, below= or "
        "error_type=, or take them all from find()\n"
        "recorded:\n"
        "  workflow billing\n"
        "    task fetch\n"
        "      attempt #1 KeyError\n"
        "      attempt #2"
    )


def test_nothing_recorded(telemetry: RecordedTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any span the message tells what may be the reason."""
    assert message(telemetry.span, "task load") == (
        "no span 'task load' was recorded\n"
        "nothing was recorded: is `telemetry.config` the workflow's config?"
    )
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert message(telemetry.span, "task load") == (
        "no span 'task load' was recorded\n"
        "nothing was recorded: OTEL_SDK_DISABLED=true turns the SDK off; unset it"
    )


def test_spans_that_go_on(telemetry: RecordedTelemetry) -> None:
    """A background run that was not waited for is told of."""
    release, begun = threading.Event(), threading.Event()

    @action
    def wait() -> None:
        begun.set()
        release.wait(20)

    flow = DotFlow(config=telemetry.config, name="billing")
    flow.task.add(wait)
    manager = flow.start(mode="background")
    begun.wait(20)
    text = message(telemetry.span, "task wait")
    release.set()
    manager.thread.join(20)
    assert text.splitlines()[-1] == (
        "not ended yet: 'workflow billing', 'task wait'; "
        "wait for a run in the background by `manager.thread.join()`"
    )
    assert telemetry.span("task wait").status == "unset"


def test_another_tree(telemetry: RecordedTelemetry) -> None:
    """The message shows both trees as one, with what is in one of them only marked."""
    run(telemetry, load, save)
    assert message(telemetry.assert_tree, "workflow billing\n  task load\n  task store\n") == (
        "the spans are not as expected (- expected only, + recorded only):\n"
        "  - workflow billing\n"
        "  + workflow billing ValueError\n"
        "      task load\n"
        "  -   task store\n"
        "  +   task save ValueError"
    )


def test_records_are_told_shortly(telemetry: RecordedTelemetry) -> None:
    """The text of a record, which pytest shows, holds no stack trace and no other span."""
    span(telemetry, "select", 0, 1.5, rows=3)
    assert repr(telemetry.span("select")) == "<span 'select', unset, 1.5 ms, {'rows': 3}>"
