"""Traces of every mode as they come over the wire, read by two receivers over both protocols."""

from __future__ import annotations

import json
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from wire.spans import Node, Value, boolean, double, integer, roots, string

import dotflow

if TYPE_CHECKING:
    from wire.sender import Wire


class Kind(NamedTuple):
    """A run of the program: the mode that it tells, its tasks, and where they run."""

    mode: str
    tasks: int
    in_workers: bool = False


RUNS = {
    "one after another": Kind("sequential", 7),
    "group after group": Kind("sequential_group", 9),
    "told group after group": Kind("sequential_group", 9),
    "in the background": Kind("background", 7),
    "groups in the background": Kind("background", 9),
    "all at once": Kind("parallel", 7, in_workers=True),
    "groups at once": Kind("parallel", 9, in_workers=True),
}
LOCAL = [name for name, kind in RUNS.items() if not kind.in_workers]

# Those that run: in groups, two come after one that fails.
TASKS = ["read", "Pipe", "fetch", "limited", "unsteady", "late", "broken"]
TIMEOUTS = {"limited": 30.0, "late": 0.05}
LATE = "TimeoutError: late did not end within its timeout of 0.05 s"

# The clock that a task's times come from is read at another moment than the span's.
CLOCKS = 20_000_000  # nanoseconds


class Story(NamedTuple):
    """What the program knows of its runs, and the roots of what it has sent."""

    told: dict[str, Any]
    roots: list[Node]

    def run(self, name: str) -> Node:
        """Return the root of a run."""
        (found,) = (root for root in self.roots if root.name == f"workflow {name}")
        return found


@pytest.fixture(scope="module")
def story(wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Run the program once for each receiver and protocol."""
    done = wire.run("modes.py", tmp_path_factory.mktemp("notes"))
    assert [line for line in done.errors.splitlines() if not line.startswith("{")] == []
    return Story(json.loads(done.printed), roots(done.sent.traces))


def test_every_run_is_one_trace(story: Story) -> None:
    """Each run is one tree in a trace of its own, and nothing else has come."""
    names = [f"workflow {name}" for name in RUNS]
    called = [f"request, {mode}" for mode in ("sequential", "background", "parallel")]
    assert [root.name for root in story.roots] == names + called
    assert len({root.span.trace_id for root in story.roots}) == len(story.roots)
    assert [root.span.parent_span_id for root in story.roots] == [b""] * len(story.roots)


@pytest.mark.parametrize("name", RUNS)
def test_workflow_span(story: Story, name: str) -> None:
    """The workflow's span has the attributes of its table, each with its type."""
    root, kind = story.run(name), RUNS[name]
    attributes = dict(root.attributes)
    # In workers it is not known which of two fails first.
    errors = {string("timeout"), string("ValueError")}
    assert attributes.pop("error.type") in (errors if kind.in_workers else {string("timeout")})
    assert attributes == {
        "dotflow.workflow.id": string(story.told[name]["workflow_id"]),
        "dotflow.workflow.name": string(name),
        "dotflow.workflow.mode": string(kind.mode),
        "dotflow.workflow.task.count": integer(kind.tasks),
        "dotflow.workflow.status": string("failed"),
    }
    assert root.kind == "internal"
    assert list(root.span.events) == []
    assert list(root.span.links) == []


@pytest.mark.parametrize("name", LOCAL)
def test_first_failure_is_told_of_the_run(story: Story, name: str) -> None:
    """The workflow's status is an error that tells of the first failed task."""
    assert story.run(name).status == ("error", f"task late: {LATE} (2 tasks failed)")


@pytest.mark.parametrize("name", RUNS)
def test_task_spans(story: Story, name: str) -> None:
    """Right below the workflow there is one span a task that ran, with the task's attributes."""
    root, told = story.run(name), story.told[name]
    assert sorted(child.name for child in root.children) == sorted(f"task {t}" for t in TASKS)
    for task in TASKS:
        node = root.only(f"task {task}")
        task_id, group, index = told["tasks"][task]
        attributes = dict(node.attributes)
        assert attributes.pop("code.file.path").value.endswith("modes.py")
        assert attributes.pop("code.line.number").kind == "int"
        expected = {
            "dotflow.workflow.id": string(told["workflow_id"]),
            "dotflow.workflow.name": string(name),
            "dotflow.task.id": string(task_id),
            "dotflow.task.name": string(task),
            "dotflow.task.group": string(group),
            "dotflow.task.index": integer(index),
            "dotflow.task.timeout": double(TIMEOUTS.get(task, 0.0)),
            "dotflow.task.attempts": integer({"unsteady": 3, "late": 2}.get(task, 1)),
            "dotflow.task.status": string("failed" if task in {"late", "broken"} else "completed"),
            "code.function.name": string(f"__main__.{task}"),
        }
        if task == "read" and not RUNS[name].in_workers:
            expected["rows"] = integer(7)
        if task in {"late", "broken"}:
            expected["error.type"] = string("timeout" if task == "late" else "ValueError")
        assert attributes == expected
        assert node.kind == "internal"


@pytest.mark.parametrize("name", RUNS)
def test_status_and_exceptions(story: Story, name: str) -> None:
    """A failed task's span is an error with its exception; a handled retry is none of it."""
    root = story.run(name)
    for task in TASKS[:5]:
        node = root.only(f"task {task}")
        assert (node.status, list(node.span.events)) == (("unset", ""), [])
    broken, late = root.only("task broken"), root.only("task late")
    assert broken.status == ("error", "ValueError: no such table")
    assert late.status == ("error", LATE)
    assert exception(broken) == ("ValueError", "no such table")
    assert exception(late) == tuple(LATE.split(": "))


def exception(node: Node) -> tuple[str, str]:
    """Return type and message of a span's one event, an exception with a stack trace."""
    (event,) = node.span.events
    assert event.name == "exception"
    pairs = {pair.key: pair.value for pair in event.attributes}
    assert {value.WhichOneof("value") for value in pairs.values()} == {"string_value"}
    kind, message = pairs.pop("exception.type"), pairs.pop("exception.message")
    stacktrace = pairs.pop("exception.stacktrace").string_value
    assert pairs == {}
    assert stacktrace.endswith(f"{kind.string_value}: {message.string_value}\n")
    assert node.span.start_time_unix_nano <= event.time_unix_nano <= node.span.end_time_unix_nano
    return kind.string_value, message.string_value


@pytest.mark.parametrize("name", LOCAL)
def test_tree(story: Story, name: str) -> None:
    """Below each task stand its attempts, where it may have several, and the step's spans."""
    outlines = {child.name: child for child in story.run(name).children}
    assert outlines["task read"].outline() == ("task read", ["select"])
    assert outlines["task fetch"].outline() == ("task fetch", ["get"])
    assert outlines["task limited"].outline() == ("task limited", ["compute"])
    attempt = ("attempt", ["call"])
    assert outlines["task unsteady"].outline() == ("task unsteady", [attempt] * 3)
    assert outlines["task late"].outline() == ("task late", ["attempt"] * 2)
    assert outlines["task broken"].outline() == "task broken"
    methods = [("method clean", ["clean rows"]), ("method count", ["count rows"])]
    assert outlines["task Pipe"].outline() == ("task Pipe", methods)


@pytest.mark.parametrize("name", LOCAL)
def test_attempts(story: Story, name: str) -> None:
    """Attempts are numbered; each that failed is an error with its exception."""
    unsteady = story.run(name).only("task unsteady").below("attempt")
    busy = {"error.type": string("ConnectionError")}
    assert [node.attributes for node in unsteady] == [
        {"dotflow.attempt.number": integer(1), **busy},
        {"dotflow.attempt.number": integer(2), **busy},
        {"dotflow.attempt.number": integer(3)},
    ]
    failed = ("error", "ConnectionError: busy")
    assert [node.status for node in unsteady] == [failed, failed, ("unset", "")]
    assert [exception(node) for node in unsteady[:2]] == [("ConnectionError", "busy")] * 2
    late = story.run(name).only("task late").below("attempt")
    assert [node.attributes["error.type"] for node in late] == [string("timeout")] * 2
    assert [node.status for node in late] == [("error", LATE)] * 2


@pytest.mark.parametrize("name", LOCAL)
def test_steps_own_span(story: Story, name: str) -> None:
    """A step's own span keeps its scope, and the types of its attributes."""
    own = story.run(name).only("select")
    assert own.attributes == {
        "shards": Value("array", [integer(1), integer(2)]),
        "table": string("orders"),
        "ratio": double(0.5),
        "share": double(1.0),
        "cached": boolean(True),
    }
    assert own.scope == ("shop", "2.0")


@pytest.mark.parametrize("name", RUNS)
def test_times(story: Story, name: str) -> None:
    """Times are nanoseconds since the epoch, in order, inside those of the parent and the run."""
    root, told = story.run(name), story.told[name]
    assert told["began"] <= root.span.start_time_unix_nano
    assert root.span.end_time_unix_nano <= told["ended"]
    for node in root.walk():
        assert node.span.start_time_unix_nano <= node.span.end_time_unix_nano
        for child in node.children:
            assert node.span.start_time_unix_nano <= child.span.start_time_unix_nano + CLOCKS
            assert child.span.end_time_unix_nano <= node.span.end_time_unix_nano + CLOCKS
    late = root.only("task late").span
    assert late.end_time_unix_nano - late.start_time_unix_nano >= 100_000_000


@pytest.mark.parametrize("name", ["one after another", "in the background"])
def test_order_of_a_chain(story: Story, name: str) -> None:
    """Tasks of one chain follow each other."""
    spans = [child.span for child in story.run(name).children]
    assert [span.name for span in spans] == [f"task {task}" for task in TASKS]
    for before, after in pairwise(spans):
        assert before.end_time_unix_nano <= after.start_time_unix_nano + CLOCKS


def test_scope_and_resource(story: Story) -> None:
    """Spans carry the name and version of what made them, and of the service."""
    for name in RUNS:
        for node in (story.run(name), *story.run(name).children):
            assert node.scope == ("dotflow_otel", dotflow.__version__)
    resources = [node.resource for root in story.roots for node in root.walk()]
    assert all(resource == resources[0] for resource in resources)
    expected = {
        "service.name": string("shop"),
        "telemetry.sdk.language": string("python"),
        "telemetry.sdk.name": string("opentelemetry"),
        "telemetry.sdk.version": string(version("opentelemetry-sdk")),
    }
    assert expected.items() <= resources[0].items()


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_callers_span_is_the_parent(story: Story, mode: str) -> None:
    """A run goes on in the trace of the span that was current when it began."""
    (request,) = (root for root in story.roots if root.name == f"request, {mode}")
    (workflow,) = request.children
    assert workflow.name == f"workflow called, {mode}"
    assert workflow.attributes["dotflow.workflow.mode"] == string(mode)
    assert workflow.span.parent_span_id == request.span.span_id
    assert workflow.status == ("unset", "")
    assert [child.name for child in workflow.children] == ["task fetch"]
    assert (request.kind, workflow.kind) == ("server", "internal")
