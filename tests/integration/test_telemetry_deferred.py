"""Workers import OpenTelemetry when a step does, and nobody can tell that from the telemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lean_steps
import pytest
from observed import Observed, is_child, span_id
from opentelemetry import baggage, context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from dotflow.providers import ExecutorLocal
from dotflow_otel import TraceContextFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

MODES = ("sequential", "sequential_group", "background", "parallel")

# What the worker, the time or the chance decide.
_OF_A_RUN = (
    "dotflow.task.id",
    "dotflow.task.queue.duration",
    "dotflow.workflow.id",
    "process.pid",
)


@pytest.fixture
def cold(observed: Observed) -> Iterator[Observed]:
    """Return a config whose one worker has imported nothing yet."""
    yield from _with_worker(observed, None)


def _with_worker(observed: Observed, initializer: Callable[[], None] | None) -> Iterator[Observed]:
    executor = observed.config.executor = ExecutorLocal(workers=1, initializer=initializer)
    yield observed
    executor.close()


def results(manager: Any) -> list[Any]:
    """Return what the steps returned."""
    return [task.current_context.storage for task in manager.tasks]


def attempt_of(observed: Observed) -> ReadableSpan:
    """Return the span that the only step ran in."""
    found = [span for span in observed.finished if span.name == "attempt"]
    found = found or [span for span in observed.finished if span.name.startswith("task ")]
    (span,) = found
    return span


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the ids of a span."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def test_no_import_for_a_step_without_it(cold: Observed) -> None:
    """A worker whose steps import no OpenTelemetry does not either, with a log and metrics too."""
    found = results(cold.run(lean_steps.looks, lean_steps.looks, mode="parallel"))
    assert found == [["dotflow_otel.relay.deferred_span"]] * 2


@pytest.mark.parametrize("mode", MODES)
def test_span_of_a_step_without_it(cold: Observed, mode: str) -> None:
    """The span of a step that imports nothing has the ids, times and attributes of every other."""
    manager = cold.run(lean_steps.times, mode=mode)
    ((began, ended),) = results(manager)
    span, task = attempt_of(cold), cold.ended("task times")
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= began <= ended <= span.end_time
    if mode == "parallel":
        assert is_child(span, task)
        assert set(span.attributes or {}) == {
            "dotflow.attempt.number",
            "dotflow.task.queue.duration",
            "host.name",
            "process.pid",
        }
    assert is_child(task, cold.ended("workflow billing"))
    assert span.status.is_unset
    assert cold.event("task.completed")["span_id"] == f"{span_id(task):016x}"


def outline(observed: Observed) -> list[Any]:
    """Return all that the spans say but for ids and times, each with the name of its parent."""
    by_id = {span_id(span): span for span in observed.finished}
    return [
        (
            span.name,
            None if span.parent is None else getattr(by_id.get(span.parent.span_id), "name", "?"),
            {k: v for k, v in (span.attributes or {}).items() if k not in _OF_A_RUN},
            [(each.name, sorted(each.attributes or {})) for each in span.events],
            (span.status.status_code, span.status.description),
            (span.instrumentation_scope.name, span.instrumentation_scope.version)
            if span.instrumentation_scope
            else None,
        )
        for span in sorted(observed.finished, key=lambda each: (each.start_time or 0, each.name))
    ]


_SAMPLERS = {
    "always on": {},
    "ratio": {"sampler": TraceIdRatioBased(1.0)},
    "off": {"sampler": ALWAYS_OFF},
    "below": {"sampler": ParentBased(TraceIdRatioBased(1.0))},
}


@pytest.mark.parametrize(
    ("step", "sampler"),
    [
        ("times", "always on"),
        ("fails", "always on"),
        ("fails_twice", "always on"),
        ("logs", "always on"),
        ("traces", "always on"),
        ("traces_and_fails", "always on"),
        ("Pipe", "always on"),
        ("coroutines", "always on"),
        ("threads", "always on"),
        ("roots", "always on"),
        ("runs_a_workflow", "always on"),
        ("traces", "ratio"),
        ("traces", "off"),
        ("traces", "below"),
        ("roots", "off"),
        ("roots", "ratio"),
    ],
)
def test_same_as_imported_before(observe: Callable[..., Observed], step: str, sampler: str) -> None:
    """What arrives from a worker is the same whether it imported OpenTelemetry before or not."""
    told = []
    for initializer in (None, lean_steps.import_opentelemetry):
        observed = observe(**_SAMPLERS[sampler])
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        for each in _with_worker(observed, initializer):
            each.run(getattr(lean_steps, step), mode="parallel")
        context.detach(token)
        told.append(
            (outline(observed), [(line.event, sorted(line.fields)) for line in observed.events])
        )
    assert told[0] == told[1]
    assert bool(told[0][0]) is (sampler != "off")


@pytest.mark.parametrize("mode", MODES)
def test_current_span_of_a_step_that_imports_it(cold: Observed, mode: str) -> None:
    """A step that imports it in its function finds its span, which holds what it writes there."""
    manager = cold.run(lean_steps.traces, mode=mode)
    span = attempt_of(cold)
    assert results(manager) == [(ids(span), [])]
    assert (span.attributes or {})["mine"] == 1.5
    assert [each.name for each in span.events] == ["sent"]
    if mode == "parallel":  # elsewhere they go to the global provider, which the tests have not set
        assert cold.below(span) == ["before", "select"]
        assert cold.below(cold.ended("select")) == ["parse"]


@pytest.mark.parametrize("mode", MODES)
def test_import_in_a_thread(cold: Observed, mode: str) -> None:
    """Who imports it first does not matter: whatever has the step's context finds its span."""
    (found,) = results(cold.run(lean_steps.threads, mode=mode))
    own = ids(attempt_of(cold))
    assert found == {"bare thread": (0, 0), "thread with the context": own, "step": own}


@pytest.mark.parametrize("mode", MODES)
def test_import_in_a_coroutine(cold: Observed, mode: str) -> None:
    """One that imports it leaves the others, and the step around them, with the step's span."""
    (found,) = results(cold.run(lean_steps.coroutines, mode=mode))
    assert found == [ids(attempt_of(cold))] * 3


@pytest.mark.parametrize("mode", MODES)
def test_no_current_span_where_there_is_to_be_none(cold: Observed, mode: str) -> None:
    """A step that attaches an empty context has no current span until it detaches that."""
    (found,) = results(cold.run(lean_steps.detaches, mode=mode))
    assert found == ((0, 0), ids(attempt_of(cold)))


@pytest.mark.parametrize("mode", MODES)
def test_ids_of_log_records(cold: Observed, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """A record of a step that imports nothing has the ids of the step's span."""
    added = TraceContextFilter()
    caplog.handler.addFilter(added)
    cold.run(lean_steps.logs, mode=mode)
    caplog.handler.removeFilter(added)
    (own,) = (each.__dict__ for each in caplog.records if each.name == "lean")
    assert (int(own["trace_id"], 16), int(own["span_id"], 16)) == ids(attempt_of(cold))


def test_thread_that_imports_it_late(cold: Observed) -> None:
    """A span that a thread opens after its step is below that step's, and takes nobody else's."""
    found = results(cold.run(lean_steps.leaves_a_thread, lean_steps.lets_it_go_on, mode="parallel"))
    by_task = {
        name: next(s for s in cold.finished if is_child(s, cold.ended(f"task {name}")))
        for name in ("leaves_a_thread", "lets_it_go_on")
    }
    assert found[1] == ids(by_task["lets_it_go_on"])
    assert is_child(cold.ended("late"), by_task["leaves_a_thread"])


def test_loader_around_the_other(cold: Observed) -> None:
    """Where a hook of others wraps the loader that a module is found with, both do their part."""
    (found,) = results(cold.run(lean_steps.wraps_the_loader, mode="parallel"))
    assert found == (["opentelemetry"], ids(attempt_of(cold)))


def test_finder_in_front(cold: Observed) -> None:
    """Where another finder finds it past ours, the next step has all that there is to have."""
    found = results(cold.run(lean_steps.imports_past_finders, lean_steps.traces, mode="parallel"))
    traced = next(s for s in cold.finished if is_child(s, cold.ended("task traces")))
    assert found[1] == (ids(traced), [])
    assert cold.below(traced) == ["before", "select"]


def test_import_is_the_usual_one(cold: Observed) -> None:
    """To ask whether it is installed imports nothing; to import it leaves all modules whole."""
    (found,) = results(cold.run(lean_steps.looks_for_it, mode="parallel"))
    assert found == (True, ["dotflow_otel.relay.deferred_span"], [], True)


@pytest.mark.parametrize("mode", MODES)
def test_import_of_what_makes_spans(cold: Observed, mode: str) -> None:
    """A step that imports a module of ours gets it whole, once, and its own span is current."""
    (found,) = results(cold.run(lean_steps.imports_ours, mode=mode))
    assert found == (span_id(attempt_of(cold)), True)


class Picky(Sampler):
    """Leaves out the spans of a name."""

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> Any:
        """Decide by the name."""
        left_out = name == "parse"
        return SamplingResult(Decision.DROP if left_out else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        """Return its name."""
        return "Picky"


def test_samplers_of_others_are_there_before_the_step(observe: Callable[..., Observed]) -> None:
    """A sampler that may be the step's module's own is read before that is, and is asked."""
    observed = observe(sampler=Picky())
    for each in _with_worker(observed, None):
        found = results(each.run(lean_steps.looks, lean_steps.traces, mode="parallel"))
    assert "opentelemetry.sdk.trace" in found[0]
    assert [span.name for span in observed.finished if span.name in ("select", "parse")] == [
        "select"
    ]
