"""A worker process whose owner has set up its traces and logs: those are used."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from observed import span_id
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from remote import set_up
from remote.process import RemoteProcess, remote_process

from dotflow import action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from observed import Observed

tracer = trace.get_tracer("steps")

_SET_UP = "from remote import set_up; set_up.traces(); set_up.logs()"


@pytest.fixture(scope="module")
def remote() -> Iterator[RemoteProcess]:
    """Return a process that its owner has set up."""
    yield from remote_process(setup=_SET_UP)


@action
def queries() -> object:
    """Open a span, write into the current one, and log."""
    with tracer.start_as_current_span("select"):
        logging.getLogger("app").info("selected")
    trace.get_current_span().set_attribute("mine", 1)
    return baggage.get_all()


@action
def fails() -> None:
    """Fail."""
    raise KeyError("k")


@action(timeout=0.05)
def slow() -> None:
    """Take too long."""
    time.sleep(0.5)


@action
class Pipe:
    """A class step."""

    @action
    def first(self) -> int:
        """Succeed."""
        return 1


def told_there(remote: RemoteProcess) -> tuple[dict[str, Any], list[str]]:
    """Return what was exported there, by name, and logged."""
    spans, records = remote.executor().executor.submit(set_up.told).result(20)
    assert len({span["name"] for span in spans}) == len(spans)
    return {span["name"]: span for span in spans}, records


def hexed(number: int) -> str:
    """Return a span's id as it is in JSON."""
    return f"0x{number:016x}"


def test_everything_goes_where_its_owner_has_it_go(
    observed: Observed, remote: RemoteProcess
) -> None:
    """The attempt's span and the step's are exported there and not here, in the run's trace."""
    observed.config.executor = remote.executor()
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        manager = observed.run(queries, mode="parallel")
    finally:
        context.detach(token)
    assert manager.tasks[0].current_context.storage == {"tenant": "acme"}
    task = observed.ended("task queries")
    assert [span.name for span in observed.finished] == ["task queries", "workflow billing"]
    there, records = told_there(remote)
    assert sorted(there) == ["attempt", "select"]
    attempt, select = there["attempt"], there["select"]
    assert attempt["parent_id"] == hexed(span_id(task))
    assert select["parent_id"] == attempt["context"]["span_id"]
    assert task.context is not None
    assert attempt["context"]["trace_id"] == f"0x{task.context.trace_id:032x}"
    assert attempt["attributes"] == {
        "dotflow.attempt.number": 1,
        "process.pid": remote.pid,
        "host.name": socket.gethostname(),
        "mine": 1,
    }
    assert attempt["resource"]["attributes"] == {"service.name": "theirs"}
    assert (attempt["kind"], attempt["status"]) == ("SpanKind.INTERNAL", {"status_code": "UNSET"})
    assert records == ["selected"]


def test_the_step_sees_the_span_that_is_there(observed: Observed, remote: RemoteProcess) -> None:
    """The id that the run chose for the attempt is that of the span that is exported there."""

    @action
    def looks() -> int:
        return trace.get_current_span().get_span_context().span_id

    observed.config.executor = remote.executor()
    manager = observed.run(looks, mode="parallel")
    there, _ = told_there(remote)
    seen = manager.tasks[0].current_context.storage
    assert hexed(seen) == there["attempt"]["context"]["span_id"]


@pytest.mark.parametrize(
    ("step", "error_type", "exception"),
    [(fails, "KeyError", "KeyError"), (slow, "timeout", "TimeoutError")],
)
def test_a_failure_is_told_there(
    observed: Observed, remote: RemoteProcess, step: Any, error_type: str, exception: str
) -> None:
    """The attempt's span tells there how it failed, and the task's does here."""
    observed.config.executor = remote.executor()
    observed.run(step, mode="parallel")
    assert len(observed.finished) == 2
    there, _ = told_there(remote)
    attempt = there["attempt"]
    assert attempt["attributes"]["error.type"] == error_type
    assert attempt["status"]["status_code"] == "ERROR"
    (event,) = attempt["events"]
    assert event["name"] == "exception"
    assert event["attributes"]["exception.type"] == exception
    task = observed.finished[0]
    assert (task.attributes or {})["error.type"] == error_type


def test_methods_have_their_spans_there(observed: Observed, remote: RemoteProcess) -> None:
    """Each method of a class step has a span there, below the attempt's."""
    observed.config.executor = remote.executor()
    observed.run(Pipe, mode="parallel")
    assert len(observed.finished) == 2
    there, _ = told_there(remote)
    assert sorted(there) == ["attempt", "method first"]
    assert there["method first"]["parent_id"] == there["attempt"]["context"]["span_id"]


def test_a_run_that_is_not_sampled(observe: Callable[..., Observed], remote: RemoteProcess) -> None:
    """What the run's sampler dropped is not exported there either."""
    observed = observe(sampler=ALWAYS_OFF)
    observed.config.executor = remote.executor()
    observed.run(queries, mode="parallel")
    assert observed.finished == ()
    assert told_there(remote) == ({}, ["selected"])


def test_logging_alone_is_set_up(observed: Observed) -> None:
    """Where the owner has configured logging and no traces, spans come back and records do not."""
    for remote in remote_process(setup="from remote import set_up; set_up.logs()"):
        observed.config.executor = remote.executor()
        observed.run(queries, mode="parallel")
        names = [span.name for span in observed.finished]
        assert names == ["select", "attempt", "task queries", "workflow billing"]
        assert told_there(remote) == ({}, ["selected"])
