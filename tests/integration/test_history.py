"""What the history has of runs, in every mode, sampled or not, with any provider."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from observed import RecordedRuns
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased

from dotflow import Config, DotFlow, action
from dotflow.abc.tracer import Tracer
from dotflow_otel import TracerOpenTelemetry
from dotflow_otel.history.reader import History, RunNotFound
from dotflow_otel.history.recording import forget, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow_otel.history.segments import Span

ROOT = Path(__file__).resolve().parents[2]
MODES = ("sequential", "sequential_group", "background", "parallel")


@action
def fine() -> int:
    """Succeed, with a span and a log record."""
    with trace.get_tracer("shop", "2.0").start_as_current_span("select") as own:
        own.set_attribute("shards", [1, 2])
        own.add_event("read", {"rows": 7})
        logging.getLogger("shop").warning("read %d rows", 7)
    return 7


@action(retry=2, retry_delay=0)
def bad() -> None:
    """Fail."""
    raise LookupError("no such table")


@action
def never() -> None:
    """Be skipped."""


STEPS = (fine, bad, never)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[RecordedRuns]:
    """Return runs that are recorded, in a folder that is made for them."""
    with RecordedRuns(tmp_path / "made" / "history.db") as found:
        yield found


def names(spans: list[Span]) -> Any:
    """Return names as a tree: of a leaf its own, of others also those below it."""

    def below(span: Span) -> Any:
        children = [below(each) for each in spans if each.parent_id == span.span_id]
        return (span.name, children) if children else span.name

    return below(spans[0])


@pytest.mark.parametrize("mode", MODES)
def test_a_run(recorded: RecordedRuns, mode: str) -> None:
    """A run has its facts and counts, its spans with all that they tell, and its log lines."""
    recorded.run(*STEPS[:2], mode=mode)
    run, history = recorded.only()
    assert (run.workflow, run.mode, run.status) == ("billing", mode, "failed")
    assert (run.tasks, run.begun, run.completed, run.failed) == (2, 2, 1, 1)
    assert (run.restored, run.retried, run.skipped, run.in_flight) == (0, 1, 0, 0)
    assert (run.error_type, run.error) == ("LookupError", "task bad: LookupError: no such table")
    assert run.pid == os.getpid()
    assert run.ended is not None
    assert 0 < run.duration < 60
    spans = {f"{span.span_id:016x}": span for span in history.spans(run)}
    sent = {f"{span.context.span_id:016x}": span for span in recorded.finished if span.context}
    # A worker's spans come from a tracer that is global there; here none is.
    assert sent.keys() == spans.keys()
    for span_id, span in spans.items():
        twin = sent[span_id]
        assert span.name == twin.name
        assert (span.started, span.ended) == (twin.start_time, twin.end_time)
        assert span.attributes == dict(twin.attributes or {})
        assert span.parent_id == (0 if twin.parent is None else twin.parent.span_id)
        assert span.status == (twin.status.status_code.value, twin.status.description)
        assert [(each.name, each.time) for each in span.events] == [
            (each.name, each.timestamp) for each in twin.events
        ]
    logged = [line.event for line in history.logs(run)]
    assert logged[0] == "workflow.started"
    assert logged[-1] == "workflow.failed"
    of_fine = "task.started", "read 7 rows", "task.completed"
    of_bad = "task.started", "task.retried", "task.failed"
    assert sorted(logged[1:-1]) == sorted((*of_fine, *of_bad))


def test_lines_by_span(recorded: RecordedRuns) -> None:
    """A line belongs to the span that was current, and tells what it told."""
    recorded.run(fine)
    run, history = recorded.only()
    task = history.spans(run)[1]
    started, read, completed = history.logs(run)[1:4]
    assert {started.span_id, read.span_id, completed.span_id} == {task.span_id}
    assert (started.level, read.level) == (logging.INFO, logging.WARNING)
    assert started.fields["attempt"] == 1
    assert read.fields == {"logger": "shop"}
    assert completed.fields["duration"] >= 0
    assert {"timestamp", "trace_id", "span_id"}.isdisjoint(started.fields)


def test_spans_of_workers(recorded: RecordedRuns) -> None:
    """What a step records in a worker is there, below its attempt."""
    recorded.run(fine, mode="parallel")
    run, history = recorded.only()
    spans = history.spans(run)
    attempt = "attempt", ["select"]
    assert names(spans) == ("workflow billing", [("task fine", [attempt])])
    own = spans[-1]
    assert own.attributes == {"shards": (1, 2)}
    assert own.scope is not None
    assert (own.scope.name, own.scope.version) == ("shop", "2.0")
    (event,) = own.events
    assert (event.name, event.attributes) == ("read", {"rows": 7})


def test_skipped_and_restored(recorded: RecordedRuns) -> None:
    """Tasks that did not run are counted, and those that were restored have a span."""
    recorded.run(*STEPS, workflow_id="nightly")
    recorded.run(*STEPS, workflow_id="nightly", resume=True)
    history = recorded.history()
    resumed, first = history.runs()
    assert (first.begun, first.restored, first.skipped) == (2, 0, 1)
    assert (resumed.begun, resumed.restored, resumed.skipped) == (1, 1, 1)
    (link,) = history.spans(resumed)[0].links
    assert (link.trace_id, link.span_id) == (first.trace_id, first.span_id)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("provider", ["unsampled", "none"])
def test_what_is_not_sampled(tmp_path: Path, mode: str, provider: str) -> None:
    """A run whose spans nobody records is in the history: by its hooks."""
    with RecordedRuns(tmp_path / "history.db", sampler=ALWAYS_OFF) as recorded:
        if provider == "none":
            tracer = TracerOpenTelemetry(tracer_provider=trace.NoOpTracerProvider())
            recorded.config.tracer = tracer
            recorded.recorder.receives_spans = False
            tracer.watch(recorded.recorder)
        recorded.run(*STEPS[:2], mode=mode)
        run, history = recorded.only()
        assert (run.status, run.begun, run.completed, run.failed) == ("failed", 2, 1, 1)
        assert (run.retried, run.is_sampled) == (1, False)
        assert run.error == "task bad: LookupError: no such table"
        tasks = {span.name: span for span in history.spans(run) if span.name != "attempt"}
        assert tasks.keys() == {"workflow billing", "task fine", "task bad"}
        assert all(span.ended is not None for span in history.spans(run))
        assert tasks["task bad"].status == (2, "no such table")
        assert tasks["task bad"].attributes["error.type"] == "LookupError"
        assert tasks["task fine"].attributes["dotflow.task.status"] == "completed"
        logged = [line.event for line in history.logs(run)]
        assert logged[0] == "workflow.started"
        assert recorded.finished == ()


def test_a_sampler_that_asks_for_each_trace(tmp_path: Path) -> None:
    """Where a sampler takes some of the traces, all runs are in the history."""
    with RecordedRuns(tmp_path / "history.db", sampler=TraceIdRatioBased(0.5)) as recorded:
        for _ in range(12):
            recorded.run(fine)
        runs = recorded.history().runs()
        sampled = [run for run in runs if run.is_sampled]
        assert len(runs) == 12
        assert len(sampled) == sum(span.name == "workflow billing" for span in recorded.finished)
        assert all((run.status, run.completed) == ("completed", 1) for run in runs)


def test_another_tracer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a tracer that is none of ours nothing is recorded, and a line says so."""

    class Own(Tracer):
        def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None: ...
        def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None: ...
        def start_task(self, task: Any) -> None: ...
        def end_task(self, task: Any) -> None: ...

    assert record(Config(tracer=Own()), tmp_path / "history.db") is None
    assert "the tracer Own is no TracerOpenTelemetry" in caplog.text


def test_runs_of_one_trace(recorded: RecordedRuns) -> None:
    """Each of the runs that share a trace has its own spans."""
    inside, go_on = Event(), Event()

    @action
    def waits() -> None:
        inside.set()
        assert go_on.wait(20)

    tracer = recorded.provider.get_tracer("caller")
    with tracer.start_as_current_span("request"):
        flow = DotFlow(config=recorded.config, name="first")
        flow.task.add(waits)
        manager = flow.start(mode="background")
        assert inside.wait(20)
        recorded.run(fine, name="second")
        go_on.set()
        manager.thread.join(20)
    history = recorded.history()
    found = {run.workflow: names(history.spans(run)) for run in history.runs()}
    assert found == {
        "first": ("workflow first", ["task waits"]),
        "second": ("workflow second", ["task fine"]),
    }


def test_a_run_within_a_step(recorded: RecordedRuns) -> None:
    """A run that a step starts, and the one around it, each have their own spans and counts."""

    @action
    def outer() -> None:
        recorded.run(fine, fine, name="inner")

    recorded.run(outer, bad, fine, name="outer", keep_going=True)
    history = recorded.history()
    found = {run.workflow: run for run in history.runs()}
    counts = {name: (run.completed, run.failed, run.retried) for name, run in found.items()}
    assert counts == {"inner": (2, 0, 0), "outer": (2, 1, 1)}
    assert names(history.spans(found["inner"])) == ("workflow inner", ["task fine", "task fine"])
    assert names(history.spans(found["outer"])) == (
        "workflow outer",
        ["task outer", ("task bad", ["attempt", "attempt"]), "task fine"],
    )


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_while_it_goes_on(recorded: RecordedRuns, tmp_path: Path, mode: str) -> None:
    """A run that goes on is there, with the tasks that go on and since when."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    @action
    def waits() -> None:
        gate.read_text(encoding="utf-8")

    flow = DotFlow(config=recorded.config, name="billing")
    flow.task.add(fine)
    flow.task.add(waits)
    thread = Thread(target=flow.start, kwargs={"mode": mode})
    thread.start()
    with gate.open("w", encoding="utf-8"):
        # The step has begun: it opened the other end.
        run, history = recorded.only()
        opened = [span for span in history.spans(run) if span.ended is None]
        assert run.status == "running"
        assert run.ended is None
        assert opened[0].name == "workflow billing"
        (waiting,) = (span for span in opened if span.name == "task waits")
        assert waiting.attributes["dotflow.task.name"] == "waits"
        assert waiting.started >= run.started
    thread.join(20)
    run, _ = recorded.only()
    assert (run.status, run.completed, run.in_flight) == ("completed", 2, 0)


def test_following(recorded: RecordedRuns) -> None:
    """Whoever follows a run reads what is new, and nothing twice."""
    recorded.run(fine)
    run, history = recorded.only()
    first = history.recorded(run)
    assert first.lines[0].event == "workflow.started"
    assert history.recorded(run, first.position) == ([], [], first.position)


# --- finding runs ------------------------------------------------------------------------


def test_finding_runs(recorded: RecordedRuns) -> None:
    """Runs are found by name, status and time; one by its ids, or as the latest."""
    recorded.run(fine, name="first")
    recorded.run(bad, name="second")
    recorded.run(fine, name="third", workflow_id="nightly")
    history = recorded.history()
    third, second, first = history.runs()
    assert [run.workflow for run in (first, second, third)] == ["first", "second", "third"]
    assert history.runs(workflow="first") == [first]
    assert history.runs(status="completed") == [third, first]
    assert history.runs(status="running") == history.runs(status="lost") == []
    assert history.runs(limit=2) == [third, second]
    assert history.runs(since=second.started, until=third.started) == [second]
    assert history.run("latest") == third
    assert history.run("latest:second") == history.run("failed") == second
    assert history.run("nightly") == third
    for run in (first, second, third):
        assert history.run(run.id) == history.run(run.trace_id[:9]) == run


@pytest.mark.parametrize("reference", ["nothing", "", "x", "latest:nothing", "failed"])
def test_an_unknown_run(recorded: RecordedRuns, reference: str) -> None:
    """A run that is not there is an error that says what to give."""
    recorded.run(fine)
    _, history = recorded.only()
    with pytest.raises(RunNotFound, match="Give the beginning of a run's"):
        history.run(reference)


def test_an_ambiguous_run(recorded: RecordedRuns) -> None:
    """Where several runs may be meant, the error names them."""
    for _ in range(2):
        recorded.run(fine, workflow_id="nightly")
    history = recorded.history()
    with pytest.raises(RunNotFound) as raised:
        history.run("nightly")
    assert all(run.id in str(raised.value) for run in history.runs())


# --- switching it on ---------------------------------------------------------------------

PROGRAM = """
import sys
from dotflow import DotFlow, action
from dotflow_otel import observe
@action
def step():
    return 1
def main():
    {observe}
    assert ("sqlite3" in sys.modules) is ("dotflow_otel.history.store" in sys.modules)
    for mode in sys.argv[1:]:
        flow = DotFlow(config=config, name="etl")
        flow.task.add([step, step])
        flow.start(mode=mode)
    print("sqlite3" in sys.modules)
main()
"""


def run_program(folder: Path, observe: str, *modes: str, **variables: str) -> str:
    """Run a program in a folder; return what it prints."""
    script = folder / "program.py"
    script.write_text(PROGRAM.format(observe=f"config = {observe}"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, *modes],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


USUAL = ".dotflow/history.db"


@pytest.mark.parametrize(
    ("observe", "variable", "place"),
    [
        ("observe(history=True)", None, USUAL),
        ("observe(history='kept/runs.db')", None, "kept/runs.db"),
        ("observe()", "1", USUAL),
        ("observe()", "other.db", "other.db"),
        ("observe(history=True)", "other.db", "other.db"),
        ("observe(history='kept/runs.db')", "other.db", "kept/runs.db"),
        ("observe()", None, None),
        ("observe()", "0", None),
        ("observe(history=False)", "1", None),
    ],
)
def test_place(tmp_path: Path, observe: str, variable: str | None, place: str | None) -> None:
    """The history is where it was asked for; off, SQLite is not even imported."""
    variables = {} if variable is None else {"DOTFLOW_HISTORY": variable}
    printed = run_program(tmp_path, observe, "sequential", **variables)
    assert printed == str(place is not None)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.db")] == (
        [] if place is None else [place]
    )
    if place is not None:
        with History(tmp_path / place) as history:
            (run,) = history.runs()
            assert (run.status, run.completed) == ("completed", 2)
    if place == USUAL:
        assert (tmp_path / ".dotflow" / ".gitignore").read_text(encoding="utf-8") == "*\n"


WARNS = """
import logging
from dotflow import DotFlow, action
from dotflow_otel import observe
@action
def step():
    logging.getLogger("shop").warning("shown")
config = observe(history="history.db", logs=True)
flow = DotFlow(config=config, name="etl")
flow.task.add(step)
flow.start()
"""


def test_a_warning_is_shown_once(tmp_path: Path) -> None:
    """A program that has configured no logging sees its warnings as it would without us: once."""
    variables = {"OTEL_TRACES_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "console"}
    done = subprocess.run(
        [sys.executable, "-c", WARNS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.splitlines().count("shown") == 1
    with History(tmp_path / "history.db") as history:
        logged = [line.event for line in history.logs(history.run("latest"))]
    assert logged.count("shown") == 1


def test_many_processes(tmp_path: Path) -> None:
    """Processes write to one file at the same time; workers do not."""
    modes = MODES * 3
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(observe="config = observe(history=True)"), encoding="utf-8")
    variables = {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none"}
    processes = [
        subprocess.Popen(
            [sys.executable, script, *modes],
            cwd=tmp_path,
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        assert "dropped" not in errors
    with History(tmp_path / USUAL) as history:
        runs = history.runs()
        assert {run.pid for run in runs} == {process.pid for process in processes}
        assert len(runs) == 3 * len(modes)
        assert {(run.status, run.completed, run.in_flight) for run in runs} == {("completed", 2, 0)}
        spans = [span.span_id for run in runs for span in history.spans(run)]
        assert len(spans) == len(set(spans))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_children(recorded: RecordedRuns) -> None:
    """Forked children record as processes of their own, also where the fork meets the writer."""
    children = []
    for number in range(8):
        recorded.run(fine, name=f"parent {number}")
        child = os.fork()
        if not child:
            ended = 1
            try:
                recorded.run(fine, name=f"child {number}")
                ended = 0 if recorded.recorder.close(20) else 1
            finally:
                os._exit(ended)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    found = {(run.workflow, run.pid, run.status) for run in recorded.history().runs()}
    here = os.getpid()
    assert found == {(f"parent {number}", here, "completed") for number in range(8)} | {
        (f"child {number}", child, "completed") for number, child in enumerate(children)
    }


def test_closing(recorded: RecordedRuns) -> None:
    """A history that is closed is whole in its one file."""
    recorded.run(fine)
    forget(recorded.recorder)
    assert [path.name for path in recorded.path.parent.iterdir()] == ["history.db"]
    connection = sqlite3.connect(recorded.path)
    assert connection.execute("SELECT closed FROM processes").fetchall() == [(1,)]
    connection.close()


def test_a_run_within_a_run(recorded: RecordedRuns) -> None:
    """Each has its own spans, lines and counts; those of the outer one lead to the inner one's."""
    config = recorded.config

    @action
    def outer() -> None:
        flow = DotFlow(config=config, name="inner")
        flow.task.add(fine)
        flow.start()

    recorded.run(fine, outer, fine)
    history = recorded.history()
    inner, run = history.runs()
    assert (run.workflow, run.tasks, run.completed) == ("billing", 3, 3)
    assert (inner.workflow, inner.tasks, inner.completed) == ("inner", 1, 1)
    found = history.spans(run)
    assert names(found) == ("workflow billing", ["task fine", "task outer", "task fine"])
    assert {span.attributes.get("dotflow.task.status") for span in found[1:]} == {"completed"}
    assert names(history.spans(inner)) == ("workflow inner", ["task fine"])
    assert names(history.spans(run, nested=True)) == (
        "workflow billing",
        ["task fine", ("task outer", [("workflow inner", ["task fine"])]), "task fine"],
    )
    assert len([line for line in history.logs(run) if line.event == "read 7 rows"]) == 2


def test_many_runs_within_a_run(recorded: RecordedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outer run is recorded to its end, also when the inner ones have long been forgotten."""
    monkeypatch.setattr("dotflow_otel.history.writer.KEPT_AFTER_END", 2)
    config = recorded.config

    @action
    def inside() -> None:
        pass

    def start_another() -> None:
        flow = DotFlow(config=config, name="inner")
        flow.task.add(inside)
        flow.start()
        assert recorded.recorder.flush(20)

    @action
    def outer() -> None:
        start_another()
        for _ in range(3):
            # In a thread of its own a run has a trace of its own.
            thread = Thread(target=start_another)
            thread.start()
            thread.join()

    recorded.run(outer, fine)
    history = recorded.history()
    run = history.runs(workflow="billing")[0]
    assert (run.status, run.tasks, run.completed) == ("completed", 2, 2)
    found = history.spans(run)
    assert names(found) == ("workflow billing", ["task outer", "task fine"])
    assert {span.attributes.get("dotflow.task.status") for span in found[1:]} == {"completed"}


def test_the_resource(recorded: RecordedRuns) -> None:
    """What describes the process of a run is there, as its provider has it."""
    recorded.run(fine)
    run, history = recorded.only()
    assert history.resource(run) == dict(recorded.provider.resource.attributes)
