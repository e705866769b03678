"""Spans of worker processes as they come over the wire, from the run's process."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest
from wire.spans import Node, attributes_of, double, integer, roots, string

import dotflow

if TYPE_CHECKING:
    from pathlib import Path

    from wire.sender import Wire

# How often each task of the first run is tried.
ATTEMPTS = {
    "query": 1,
    "Pipe": 1,
    "fetch": 1,
    "limited": 1,
    "unsteady": 3,
    "late": 2,
    "broken": 1,
    "killed": 1,
    "killed_once": 2,
}
RUNS = {
    "one group": ATTEMPTS,
    "several groups": {"fetch": 2, "query": 2},
    "baggage": {"tenant": 1},
    "one worker": {"first": 1, "second": 1},
}
SECONDS = 1_000_000_000  # in nanoseconds
CLOCKS = 20_000_000


class Story(NamedTuple):
    """What the program and its steps know, and the roots of what it has sent."""

    pid: int
    notes: dict[str, list[tuple[int, str, str]]]
    roots: list[Node]

    def run(self, name: str) -> Node:
        """Return the root of a run."""
        (found,) = (root for root in self.roots if root.name == f"workflow {name}")
        return found

    def task(self, name: str) -> Node:
        """Return the span of a task of the first run."""
        return self.run("one group").only(f"task {name}")

    @property
    def attempts(self) -> list[Node]:
        """The attempts of all runs."""
        return [node for root in self.roots for node in root.below("attempt")]


@pytest.fixture(scope="module")
def story(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run the program once for each receiver and protocol."""
    done = wire.run("workers.py", tmp_path_factory.mktemp("notes"))
    told = json.loads(done.printed)
    return Story(told["pid"], told["notes"], roots(done.sent.traces))


def ids_of(node: Node) -> list[str]:
    """Return the ids of a span as text."""
    return [node.span.trace_id.hex(), node.span.span_id.hex()]


def error_of(node: Node) -> str | None:
    """Return the type of a span's error."""
    found = node.attributes.get("error.type")
    return None if found is None else str(found.value)


@pytest.mark.parametrize("name", RUNS)
def test_every_attempt_is_a_span(story: Story, name: str) -> None:
    """Each run is one tree: tasks below the workflow, below each task its attempts."""
    assert len(story.roots) == len(RUNS)
    root = story.run(name)
    counts = dict.fromkeys(RUNS[name], 0)
    for task in root.children:
        assert {child.name for child in task.children} == {"attempt"}
        counts[task.name.removeprefix("task ")] += len(task.children)
        numbers = [child.attributes["dotflow.attempt.number"] for child in task.children]
        assert numbers == [integer(number + 1) for number in range(len(numbers))]
    assert counts == RUNS[name]


def test_attributes_of_attempts(story: Story) -> None:
    """An attempt tells its number, its process, its host and how long it waited, with types."""
    names = {
        "dotflow.attempt.number": "int",
        "dotflow.task.queue.duration": "double",
        "process.pid": "int",
        "host.name": "string",
    }
    assert len(story.attempts) == sum(sum(counts.values()) for counts in RUNS.values())
    for node in story.attempts:
        assert {name: node.attributes[name].kind for name in names} == names
        assert node.attributes["host.name"] == string(socket.gethostname())
        assert node.attributes["process.pid"] != integer(story.pid)
        assert node.attributes["dotflow.task.queue.duration"].value >= 0
        assert node.attributes.keys() - names.keys() <= {"error.type", "rows", "tenant"}
        assert node.kind == "internal"


def test_the_step_runs_in_its_attempt(story: Story) -> None:
    """The span that is current in a step is the attempt's, and can be written to."""
    attempts = [*story.run("several groups").below("attempt"), *story.task("query").children]
    written = [node for node in attempts if node.attributes.get("rows") == integer(7)]
    assert len(written) == len(story.notes["query"]) == 3
    told = {(pid, *ids) for pid, *ids in story.notes["query"]}
    assert {(node.attributes["process.pid"].value, *ids_of(node)) for node in written} == told


def test_steps_own_spans(story: Story) -> None:
    """Spans that a step opens are below its attempt, as they were opened there."""
    outlines = {name: story.task(name).children[0] for name in ATTEMPTS}
    assert outlines["query"].outline() == ("attempt", [("outer", ["inner"])])
    assert outlines["fetch"].outline() == ("attempt", ["get"])
    assert outlines["limited"].outline() == ("attempt", ["compute"])
    for attempt in story.task("unsteady").children:
        assert attempt.outline() == ("attempt", ["call"])
    methods = [("method clean", ["clean rows"]), ("method count", ["count rows"])]
    assert outlines["Pipe"].outline() == ("attempt", methods)
    for attempt in (*story.task("late").children, outlines["broken"], outlines["killed"]):
        assert attempt.outline() == "attempt"
    for name in ("fetch", "query"):
        for task in story.run("several groups").below(f"task {name}"):
            assert task.children[0].outline() == outlines[name].outline()


def test_own_spans_keep_what_they_have(story: Story) -> None:
    """Kind, attributes, events and scope of a step's span come through as they were given."""
    outer = story.task("query").only("outer")
    inner = outer.only("inner")
    assert (outer.kind, inner.kind) == ("client", "internal")
    assert outer.attributes == {"ratio": double(1.0)}
    assert outer.scope == inner.scope == ("shop", "2.0")
    (event,) = inner.span.events
    assert (event.name, attributes_of(event.attributes)) == ("found", {"rows": integer(7)})


def test_failed_attempts(story: Story) -> None:
    """Each failed attempt tells its error; a handled one is none of its task."""
    errors = {
        name: [error_of(node) for node in story.task(name).children]
        for name, count in ATTEMPTS.items()
        if count > 1 or name in {"broken", "killed"}
    }
    assert errors == {
        "unsteady": ["ConnectionError", "ConnectionError", None],
        "late": ["timeout", "timeout"],
        "broken": ["ValueError"],
        "killed": ["worker_lost"],
        "killed_once": ["worker_lost", None],
    }
    for name, found in errors.items():
        expected = [("unset" if error is None else "error") for error in found]
        assert [node.status[0] for node in story.task(name).children] == expected
        assert error_of(story.task(name)) == found[-1]
        assert story.task(name).status[0] == expected[-1]
    assert story.task("broken").children[0].status == ("error", "ValueError: no such table")
    (event,) = story.task("broken").children[0].span.events
    assert event.name == "exception"


def test_a_killed_worker(story: Story) -> None:
    """The attempt of a worker that died is told with the ids that its step had seen."""
    for name in ("killed", "killed_once"):
        attempts = story.task(name).children
        told = [(pid, *ids) for pid, *ids in story.notes[name]]
        found = [(node.attributes["process.pid"].value, *ids_of(node)) for node in attempts]
        assert found == told


def test_spans_come_from_the_run(story: Story) -> None:
    """All spans carry the resource of the run's process; ours carry our scope."""
    resource = story.roots[0].resource
    for root in story.roots:
        assert all(node.resource == resource for node in root.walk())
    assert {node.scope for node in story.attempts} == {("dotflow_otel", dotflow.__version__)}


def test_baggage_reaches_the_step(story: Story) -> None:
    """The caller's baggage is there in a worker."""
    attempt = story.run("baggage").only("attempt")
    assert attempt.attributes["tenant"] == string("acme")


def test_waiting_for_a_worker(story: Story) -> None:
    """An attempt tells how long its task was ready before it, the backlog included."""
    first, second = (task.children[0] for task in story.run("one worker").children)
    waits = [node.attributes["dotflow.task.queue.duration"].value for node in (first, second)]
    # Both were ready at once, and the first takes 0.3 s.
    assert waits[1] - waits[0] >= 0.29
    for attempt, wait in zip((first, second), waits, strict=True):
        assert attempt.parent is not None
        ready = attempt.parent.span.start_time_unix_nano
        since = attempt.span.start_time_unix_nano - ready
        # What enters the step comes between; on a busy machine that takes a while.
        assert wait - 0.1 <= since / SECONDS < wait + 5
    assert second.span.start_time_unix_nano >= first.span.end_time_unix_nano - CLOCKS


def test_times(story: Story) -> None:
    """Spans of workers begin and end in order, and inside their parents."""
    for root in story.roots:
        for node in root.walk():
            assert node.span.start_time_unix_nano <= node.span.end_time_unix_nano
            for child in node.children:
                start = child.span.start_time_unix_nano
                assert node.span.start_time_unix_nano <= start + CLOCKS
                assert child.span.end_time_unix_nano <= node.span.end_time_unix_nano + CLOCKS
    took = [
        child.span.end_time_unix_nano - child.span.start_time_unix_nano
        for child in story.task("late").children
    ]
    assert len(took) == 2
    assert min(took) >= 0.3 * SECONDS - CLOCKS


def test_nothing_is_sent_of_an_unsampled_run(own: Wire, tmp_path: Path) -> None:
    """Where the run is not sampled, neither are its workers' spans."""
    done = own.run("workers.py", tmp_path, OTEL_TRACES_SAMPLER="always_off")
    assert done.sent.traces == []
