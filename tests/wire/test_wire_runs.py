"""Runs over several processes, and what the standard variables change, on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from wire.spans import boolean, integer, roots, string

if TYPE_CHECKING:
    from pathlib import Path

    from wire.sender import Wire

FEW = ("workflow few", ["task first", "task second", "task third"])


def test_resume(wire: Wire, tmp_path: Path) -> None:
    """A process that resumes links to the run of another one; what is restored is marked so."""
    (failed,) = roots(wire.run("resume.py", tmp_path).sent.traces)
    (tmp_path / "table").touch()
    (resumed,) = roots(wire.run("resume.py", tmp_path).sent.traces)
    assert list(failed.span.links) == []
    (link,) = resumed.span.links
    assert (link.trace_id, link.span_id) == (failed.span.trace_id, failed.span.span_id)
    assert failed.span.trace_id != resumed.span.trace_id
    assert resumed.outline() == ("workflow nightly", ["task read", "task load"])
    restored, ran = resumed.children
    assert restored.attributes["dotflow.task.restored"] == boolean(True)
    assert restored.attributes["dotflow.task.attempts"] == integer(0)
    assert restored.attributes["dotflow.task.status"] == string("completed")
    assert "dotflow.task.restored" not in ran.attributes
    for root in (failed, resumed):
        assert root.attributes["dotflow.workflow.id"] == string("nightly")
    assert failed.status == ("error", "task load: LookupError: no such table")
    assert resumed.status == ("unset", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_SDK_DISABLED", "true"),
    ],
)
def test_no_span_is_sent(own: Wire, name: str, value: str) -> None:
    """Spans are not sent where they are not sampled, not exported, or not made."""
    assert own.run("few.py", 5, **{name: value}).sent.traces == []


def test_resource_from_variables(wire: Wire) -> None:
    """The service's name and its attributes are those of the standard variables."""
    done = wire.run(
        "few.py",
        5,
        OTEL_SERVICE_NAME="orders",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,service.version=1.2",
    )
    (root,) = roots(done.sent.traces)
    assert root.outline() == FEW
    expected = {
        "service.name": string("orders"),
        "service.version": string("1.2"),
        "deployment.environment.name": string("test"),
    }
    assert expected.items() <= root.resource.items()


def test_several_requests(own: Wire) -> None:
    """Spans that do not fit into one request are spread over several, each in one of them."""
    done = own.run("few.py", 5, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1")
    assert len(done.sent.traces) == 4
    (root,) = roots(done.sent.traces)
    assert root.outline() == FEW
