"""What a worker sends that cannot be read: one of another version, say."""

from __future__ import annotations

import os
import pickle
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from log_records import own_records
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dotflow import Config, DotFlow, action
from dotflow.abc.executor import Executor, Session
from dotflow.core.attempt import Outcome
from dotflow.providers import LogDefault
from dotflow_otel import TracerOpenTelemetry
from dotflow_otel._process import TRACES, drop_counter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.attempt import Attempt


class Elsewhere(Executor, Session):
    """Ends each attempt at once, with something in place of what it recorded."""

    def __init__(self, recorded: bytes) -> None:
        self.recorded = recorded
        self.done: list[tuple[int, Outcome]] = []

    def session(self) -> Session:
        return self

    def has_room(self) -> bool:
        return True

    def submit(self, ticket: int, attempt: Attempt) -> None:
        assert attempt.number == 1
        now = monotonic()
        recorded = {"tracer": self.recorded}
        self.done.append((ticket, Outcome(1, None, now, now, recorded, 42, "elsewhere")))

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        assert seconds is None
        done, self.done = self.done, []
        return done

    def close(self) -> None: ...


@action
def one() -> int:
    """Return 1."""
    return 1


@pytest.mark.parametrize(
    "recorded", [b"no pickle", pickle.dumps((None,) * 8)], ids=["no pickle", "more fields"]
)
def test_the_attempt_has_a_span_all_the_same(
    recorded: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run makes it of what it knows, logs why, and counts what was lost."""
    counted: list[tuple[str, int]] = []
    monkeypatch.setattr(drop_counter, "add", lambda *what: counted.append(what))
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    log = LogDefault(output="file", path=os.devnull)
    tracer = TracerOpenTelemetry(tracer_provider=provider)
    flow = DotFlow(config=Config(tracer=tracer, log=log, executor=Elsewhere(recorded)))
    flow.task.add(one)

    flow.start(mode="parallel")

    assert flow.result_storage() == [1]
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert list(spans) == ["attempt", "task one", "workflow workflow"]
    assert spans["attempt"].attributes is not None
    assert spans["attempt"].attributes["process.pid"] == 42
    assert spans["attempt"].parent is not None
    assert spans["attempt"].parent.span_id == spans["task one"].context.span_id
    assert [each for each in counted if each[1]] == [(TRACES, 1)]
    assert [record.getMessage() for record in own_records(caplog) if record.exc_info] == [
        "what a worker recorded cannot be read; it counts as one dropped span"
    ]
