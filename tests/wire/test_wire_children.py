"""What arrives of workflows that run in the children of a process, however those are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from wire.points import families_of
from wire.records import entries_of
from wire.sender import Wire
from wire.spans import roots

if TYPE_CHECKING:
    from wire.otlp import Received
    from wire.receivers import OwnReceiver

WAYS = ("os", "spawn", "fork", "forkserver", "executor", "pool", "nested")
EVENTS = ["workflow.started", "task.started", "task.completed", "workflow.completed"]
ALL = {"OTEL_METRICS_EXPORTER": "otlp"}

# Seconds: what a child may wait for a backend, and what it may take with an interpreter's start.
BOUND = 1.0
EXIT = BOUND + 7.0


@pytest.fixture
def http(own_receiver: OwnReceiver) -> Any:
    """Return our receiver by HTTP: gRPC takes no forks of a process that has begun to use it."""
    yield Wire(own_receiver, "http/protobuf")
    own_receiver.conduct("http/protobuf").heal()
    own_receiver.take()


def assert_whole(sent: Received) -> None:
    """Assert that the run of the child arrived, once, in each signal."""
    (root,) = roots(sent.traces)
    assert root.outline() == ("workflow child", ["task step"])
    assert [entry.event for entry in entries_of(sent.logs)] == EVENTS
    completed = [
        point.as_double or point.as_int
        for family in families_of(sent.metrics)
        if family.metric.name == "dotflow.workflow.completed"
        for point in family.points.values()
    ]
    assert completed
    assert completed[-1] == 1


@pytest.mark.parametrize("when", ["before", "in"])
@pytest.mark.parametrize("how", WAYS)
def test_children(http: Wire, how: str, when: str) -> None:
    """A child delivers its spans, metrics and log records when it ends, each once."""
    assert_whole(http.run("children.py", how, when, 5, "sequential", **ALL).sent)


@pytest.mark.parametrize("mode", ["sequential_group", "background", "parallel"])
def test_modes(http: Wire, mode: str) -> None:
    """So it does in every mode, also of a run that goes on in the background."""
    done = http.run("children.py", "fork", "before", 5, mode, **ALL)
    if mode == "parallel":
        (root,) = roots(done.sent.traces)
        assert root.outline() == ("workflow child", [("task step", ["attempt"])])
        return
    assert_whole(done.sent)


@pytest.mark.parametrize("how", ["fork", "forkserver"])
def test_silent_backend(http: Wire, own_receiver: OwnReceiver, how: str) -> None:
    """A receiver that never answers holds a child up no longer than its bound."""
    own_receiver.conduct("http/protobuf").be_silent()
    done = http.run("children.py", how, "in", BOUND, "sequential", **ALL)
    assert BOUND * 0.5 < float(done.printed) < EXIT
