"""Runs whose process was killed: how they are seen, and sent by the next process, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lost_runs import ROOT, lose
from observed import RecordedRuns
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode
from waiting import wait_for

from dotflow import DotFlow, action
from dotflow.providers import StorageFile
from dotflow_otel.history.reader import History
from dotflow_otel.history.recording import forget, record, recover
from dotflow_otel.history.store import HistoryUnusable
from dotflow_otel.sdk.span_pipeline import SpanPipeline
from dotflow_otel.sdk.telemetry import Telemetry
from dotflow_otel.testing import RecordedTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


MODES = ("sequential", "sequential_group", "background", "parallel")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a history."""
    return tmp_path / "history.db"


@pytest.fixture
def later(path: Path) -> Iterator[RecordedRuns]:
    """Return a later process with the same history, whose provider is the application's."""
    with RecordedRuns(path, recovers=False) as found:
        yield found


class Sent(SpanExporter):
    """Keeps what it is sent, unless it is down."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.is_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep spans."""
        if self.is_down:
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS


def own_telemetry(recorded: RecordedRuns) -> tuple[Telemetry, Sent]:
    """Return what `setup` would have created, with an exporter that can be read."""
    telemetry, sent = Telemetry(), Sent()
    telemetry.provider = recorded.provider
    telemetry.pipelines = [SpanPipeline(sent)]
    return telemetry, sent


@pytest.mark.parametrize("mode", MODES)
def test_how_it_is_seen(path: Path, mode: str) -> None:
    """A run that was killed is lost: with the tasks that had ended, and those in flight."""
    run = lose(path, mode)
    assert (run.status, run.mode, run.ended) == ("lost", mode, None)
    assert (run.tasks, run.begun, run.completed, run.failed) == (3, 3, 1, 1)
    assert (run.retried, run.in_flight, run.skipped) == (2, 1, 0)
    with History(path) as history:
        done = history.run("latest:done")
        assert (done.status, done.completed) == ("completed", 1)
        assert history.runs(status="lost") == [run] == [history.run("failed")]
        assert history.runs(status="running") == []
        spans = history.spans(run)
        in_flight = [span for span in spans if span.ended is None]
    assert [span.name for span in in_flight] == ["workflow nightly", "task waits", "attempt"]
    assert all(run.started - 10**6 <= span.started <= run.beat for span in in_flight)
    assert in_flight[2].attributes["dotflow.attempt.number"] == 1
    ended = {span.name: span for span in spans if span.ended and span.name != "attempt"}
    assert ended["task read"].attributes["dotflow.task.status"] == "completed"
    assert ended["task bad"].status == (2, "LookupError: no such table")


def test_heartbeat(path: Path) -> None:
    """While a run goes on its process tells that it lives, also where nothing else happens."""
    with RecordedRuns(path) as recorded:
        gate = path.with_name("gate")
        os.mkfifo(gate)

        @action
        def waits() -> None:
            gate.read_text(encoding="utf-8")

        flow = DotFlow(config=recorded.config, name="billing")
        flow.task.add(waits)
        manager = flow.start(mode="background")
        with gate.open("w", encoding="utf-8"):
            run, history = recorded.only()
            wait_for(lambda: history.runs()[0].beat > run.beat + 5 * 10**8, 20)
            assert history.runs()[0].status == "running"
        manager.thread.join(20)


@pytest.mark.parametrize("mode", MODES)
def test_at_least_once(path: Path, later: RecordedRuns, mode: str) -> None:
    """Where the pipeline is the application's, the whole lost run is sent, and marked so."""
    run = lose(path, mode)
    (found,) = recover(later.config, path)
    assert found == run
    assert recover(later.config, path) == []
    spans = later.finished
    with History(path) as history:
        recorded = {span.span_id: span for span in history.spans(run)}
        assert history.run(run.id).status == "lost"
    assert sorted(span.context.span_id for span in spans if span.context) == sorted(recorded)
    for span in spans:
        assert span.context is not None
        twin = recorded[span.context.span_id]
        assert span.attributes is not None
        assert f"{span.context.trace_id:032x}" == run.trace_id
        assert span.attributes["dotflow.recovered"] is True
        assert (span.parent.span_id if span.parent else 0) == twin.parent_id
        assert span.resource.attributes["service.name"] == "shop"
        if twin.ended is None:
            assert span.end_time == max(run.beat, twin.started)
            assert span.status.status_code is StatusCode.ERROR
            assert span.attributes["error.type"] == "run_lost"
        else:
            assert (span.start_time, span.end_time) == (twin.started, twin.ended)
    root = later.ended("workflow nightly")
    assert root.attributes is not None
    assert root.attributes["dotflow.workflow.status"] == "lost"


def test_what_tells_of_it(path: Path, later: RecordedRuns) -> None:
    """A lost run is counted, and a log event tells what is known of it."""
    run = lose(path)
    recover(later.config, path)
    lost = later.metric("dotflow_workflow_lost_total", workflow="nightly")
    assert lost == 1
    with History(path) as history:
        ended = [history.runs(status=status) for status in ("completed", "failed")]
        # The ledger balances again: what started has completed, failed, or was lost.
        assert len(history.runs()) == sum(map(len, ended)) + lost
    line = later.event("workflow.lost")
    assert (line.level, line["workflow"], line["workflow_id"]) == ("error", "nightly", "nightly")
    assert (line["tasks"], line["completed"], line["failed"]) == (3, 1, 1)
    assert line["in_flight"] == "waits"
    assert line["trace_id"] == run.trace_id


def test_balance(path: Path) -> None:
    """A recording that a lost run's spans come to balances, beside runs of its own."""
    lose(path)
    telemetry = RecordedTelemetry()
    recorder = record(telemetry.config, path, recovers=False)
    assert recorder is not None

    @action
    def one() -> None: ...

    try:
        flow = DotFlow(config=telemetry.config, name="shop")
        flow.task.add([one, one])
        flow.start()
        assert len(recover(telemetry.config, path)) == 1
        assert telemetry.span("workflow nightly").status == "error"
        telemetry.assert_balanced()
        # A run that is counted and has no span, or the other way round, is told of.
        telemetry.config.metrics.workflow_lost("nightly")  # type: ignore[attr-defined]
        with pytest.raises(AssertionError, match=r"lost runs: lost 2 != workflow spans 1"):
            telemetry.assert_balanced()
    finally:
        forget(recorder)


def test_exactly_once(path: Path, later: RecordedRuns) -> None:
    """Where the pipelines are ours, what was delivered is not sent again; nothing is marked."""
    collector = path.with_name("sent.jsonl")
    lose(path, OTEL_TRACES_EXPORTER="console", OTEL_BSP_SCHEDULE_DELAY="10")
    assert not collector.exists()
    telemetry, sent = own_telemetry(later)
    telemetry.pipelines[0].name = "ConsoleSpanExporter"  # type: ignore[misc]
    assert len(recover(later.config, path, telemetry)) == 1
    names = [span.name for span in sent.spans]
    # What the killed process had delivered, it printed.
    assert names == ["workflow nightly", "task waits", "attempt"]
    assert all("dotflow.recovered" not in (span.attributes or {}) for span in sent.spans)


def test_while_the_backend_is_down(path: Path, later: RecordedRuns) -> None:
    """What could not be sent the next one sends; the run is told of once."""
    lose(path)
    telemetry, sent = own_telemetry(later)
    sent.is_down = True
    assert len(recover(later.config, path, telemetry)) == 1
    sent.is_down = False
    assert recover(later.config, path, telemetry) == []
    assert sorted({span.name for span in sent.spans}) == [
        "attempt", "task bad", "task read", "task waits", "workflow nightly",
    ]  # fmt: skip
    count = len(sent.spans)
    assert len({span.context.span_id for span in sent.spans if span.context}) == count == 8
    recover(later.config, path, telemetry)
    assert len(sent.spans) == count
    assert later.metric("dotflow_workflow_lost_total", workflow="nightly") == 1


RECOVERS = """
import json, sys
from dotflow_otel import observe
from dotflow_otel.history.recording import finish_recovery
observe("later", history=sys.argv[1])
assert finish_recovery(30)
"""


def test_several_at_once(path: Path) -> None:
    """Of several processes that open the history one sends what is missing."""
    run = lose(path)
    variables = {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "console"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RECOVERS, path],
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    done = [process.communicate(timeout=100) for process in processes]
    printed = "".join(out for out, _ in done)
    lost = [json.loads(line) for _, errors in done for line in errors.splitlines()]
    assert [line["event"] for line in lost] == ["workflow.lost"]
    with History(path) as history:
        spans = history.spans(run)
    assert len(spans) == 8
    for span in spans:
        assert printed.count(f'"span_id": "0x{span.span_id:016x}"') == 1


TAKES_THE_PLACE = """
import signal, sqlite3, sys, time
from contextlib import closing
from dotflow_otel import observe
with closing(sqlite3.connect(sys.argv[1])) as connection, connection:
    beat = time.time_ns() - 56 * 10**9
    connection.execute("UPDATE processes SET host = 'another', beat = ?", [beat])
observe("later", history=sys.argv[1])
signal.alarm(60)
input()
"""


def test_a_container_that_takes_the_place_of_another(path: Path) -> None:
    """What was not silent for a minute when the next process began is looked for once more.

    The killed process is made one of another machine, with a last heartbeat 56 seconds ago.
    """
    lose(path)
    with subprocess.Popen(
        [sys.executable, "-c", TAKES_THE_PLACE, path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "console"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lost = json.loads(process.stderr.readline())
        printed, _ = process.communicate("\n", timeout=100)
    assert (lost["event"], lost["workflow"]) == ("workflow.lost", "nightly")
    assert printed.count('"name": "workflow nightly"') == 1
    assert printed.count('"name": "attempt"') == 4


def test_what_is_not_sampled(path: Path, later: RecordedRuns) -> None:
    """A lost run that is not sampled is told of, and not sent."""
    run = lose(path, OTEL_TRACES_SAMPLER="always_off")
    assert (run.is_sampled, run.in_flight) == (False, 1)
    assert len(recover(later.config, path)) == 1
    assert later.finished == ()
    assert later.event("workflow.lost")["in_flight"] == "waits"


def test_a_resumed_run(path: Path, later: RecordedRuns) -> None:
    """A run that resumes a lost one links to it."""
    run = lose(path)

    @action
    def read() -> None: ...

    later.config.storage = StorageFile(path=path.parent)
    flow = DotFlow(config=later.config, name="nightly", workflow_id="nightly")
    flow.task.add(read)
    flow.start(resume=True, on_input_change="reuse")
    (link,) = later.ended("workflow nightly").links
    assert f"{link.context.trace_id:032x}" == run.trace_id
    assert link.context.span_id == run.span_id


def test_nothing_to_recover(tmp_path: Path, later: RecordedRuns) -> None:
    """Without a history there is an error and no file; a run that goes on is left alone."""
    missing = tmp_path / "other" / "history.db"
    with pytest.raises(HistoryUnusable):
        recover(later.config, missing)
    assert not missing.parent.exists()

    @action
    def looks() -> list[Any]:
        return list(recover(later.config, later.path))

    manager = later.run(looks)
    assert manager.tasks[0].current_context.storage == []
    run, _ = later.only()
    assert run.status == "completed"


def test_a_short_program(path: Path) -> None:
    """A program that ends at once sends what is missing before it goes."""
    lose(path)
    done = subprocess.run(
        [sys.executable, "-c", RECOVERS.replace("assert finish_recovery(30)", ""), path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "console"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.count('"name": "workflow nightly"') == 1
    assert done.stdout.count('"name": "attempt"') == 4
    assert "not delivered" not in done.stderr
    with History(path) as history:
        assert [run.status for run in history.runs()] == ["lost", "completed"]
