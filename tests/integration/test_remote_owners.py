"""Two applications that use one worker process at the same time: none gets what is another's."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from log_records import records_kept
from observed import is_child, span_id
from opentelemetry import trace
from remote import meeting
from remote.process import HELPERS, RemoteProcess, remote_process

from dotflow import action

if TYPE_CHECKING:
    from collections.abc import Iterator

    from observed import Observed

    from dotflow import Context

tracer = trace.get_tracer("steps")


@pytest.fixture
def remote() -> Iterator[RemoteProcess]:
    """Return a process with two hasty threads."""
    yield from remote_process(threads=2, setup="import sys; sys.setswitchinterval(1e-6)")


@pytest.fixture
def kept() -> Iterator[list[logging.LogRecord]]:
    """Keep what this application handles: more than the other one does."""
    with records_kept(logging.INFO) as records:
        yield records


def other_application(remote: RemoteProcess, step: str, told: object = None) -> Any:
    """Start another application that runs one step in the worker."""
    return subprocess.Popen(
        [sys.executable, "-m", "remote.owner", str(remote.port), step, json.dumps(told)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HELPERS)},
    )


def told_by(application: Any) -> Any:
    """Wait for its end; give the names of its spans, and its log records."""
    printed, _ = application.communicate(timeout=30)
    assert application.returncode == 0
    return json.loads(printed)


@action
def leaves_something() -> None:
    """Leave threads that record when this attempt is over: with its context, its span, neither."""
    here, carried = trace.get_current_span(), contextvars.copy_context()

    def record(name: str) -> None:
        tracer.start_span(name).end()
        logging.getLogger("app").warning(name)

    def late() -> None:
        meeting.wait_for("go")
        carried.run(record, "carried")
        with trace.use_span(here):
            record("below")
        record("of nobody")
        structlog.get_logger().error("of nobody", rows=3)
        meeting.tell("done")

    threading.Thread(target=late).start()


@action
def follows() -> int:
    """Do nothing."""
    return 1


def test_what_is_late_never_meets_another_application(
    observed: Observed, remote: RemoteProcess, kept: list[logging.LogRecord]
) -> None:
    """What comes late waits for its own application; what may be anybody's stays where it is."""
    observed.config.executor = remote.executor()
    others: list[Any] = []

    def let_the_other_run(task: object) -> None:
        others.append(told_by(other_application(remote, "lets_go")))

    first = {"step": leaves_something, "callback": let_the_other_run}
    # Two groups, so that one step follows the other.
    observed.run(first, follows, {"step": follows, "group_name": "other"}, mode="parallel")
    spans = ["attempt", "task lets_go", "theirs", "workflow billing"]
    assert others == [[spans, ["theirs"]]]
    task = observed.ended("task leaves_something")
    (attempt,) = (span for span in observed.finished if is_child(span, task))
    assert sorted(observed.below(attempt)) == ["below", "carried"]
    mine = {record.getMessage(): record for record in kept if record.name == "app"}
    assert sorted(mine) == ["below", "carried"]
    assert [span for span in observed.finished if span.name == "of nobody"] == []
    told: Any = mine["carried"]
    assert told.span_id == f"{span_id(attempt):016x}"
    # As logging does without a configuration.
    assert remote.close().splitlines() == ["of nobody", "{'rows': 3, 'event': 'of nobody'}"]


@action
def meets(initial_context: Context) -> None:
    """Record while another application's step does."""
    for number in range(initial_context.storage):
        meeting.meet(f"round {number}", 2)
        with tracer.start_as_current_span(f"mine {number}"):
            logging.getLogger("app").info("mine %d", number)


def test_two_applications_at_the_same_time(
    observed: Observed, remote: RemoteProcess, kept: list[logging.LogRecord]
) -> None:
    """Each application has its own spans and records, all of them, and none of the other's."""
    rounds = 50
    other = other_application(remote, "meets", rounds)
    observed.config.executor = remote.executor()
    # It wants fewer records than this one, and has set the levels of the process by then.
    observed.config.executor.executor.submit(meeting.wait_for, "theirs has begun").result(20)
    observed.run({"step": meets, "initial_context": rounds}, mode="parallel")
    spans, records = told_by(other)
    around = ["attempt", "task meets", "workflow billing"]
    assert spans == sorted([*around, *(f"theirs {number}" for number in range(rounds))])
    assert records == sorted(f"theirs {number}" for number in range(rounds))
    mine = sorted(span.name for span in observed.finished)
    assert mine == sorted([*around, *(f"mine {number}" for number in range(rounds))])
    logged = [record.getMessage() for record in kept if record.name == "app"]
    assert logged == [f"mine {number}" for number in range(rounds)]
    assert remote.close() == ""
