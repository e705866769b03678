"""A recording of telemetry that runs steps, and may have a history beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from waiting import wait_for

from dotflow import DotFlow
from dotflow.providers import StorageDefault
from dotflow_otel import RecordedTelemetry, span_ids
from dotflow_otel import TracerOpenTelemetry as ShippedTracer
from dotflow_otel.history.reader import History
from dotflow_otel.history.recording import forget, record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dotflow.core.run import Run
    from dotflow.core.task import Task
    from dotflow.core.workflow import Manager
    from dotflow_otel.history.reader import RunInfo


class _ToRecording(SpanExporter):
    def __init__(self, collector: SpanProcessor) -> None:
        self._collector = collector

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            self._collector.on_end(span)
        return SpanExportResult.SUCCESS


class Observed(RecordedTelemetry):
    """A recording of what an exporter gets from a provider that is as applications make one.

    Args:
        wrapped_by: Makes the provider of the run's own spans of the SDK's, as vendors do.
        provider_options: Of the provider of tracers.
    """

    def __init__(
        self, wrapped_by: Callable[[TracerProvider], Any] | None = None, **provider_options: Any
    ) -> None:
        super().__init__()
        provider = self.provider = TracerProvider(shutdown_on_exit=False, **provider_options)
        provider.add_span_processor(SimpleSpanProcessor(_ToRecording(self.collector)))
        self.tracer = TracerOpenTelemetry(
            tracer_provider=provider if wrapped_by is None else wrapped_by(provider)
        )
        self.config = self.observe(tracer=self.tracer, storage=StorageDefault())

    def run(self, *steps: Any, mode: str = "sequential", **kwargs: Any) -> Manager:
        """Run steps as the workflow `billing`, or of another name, to its end."""
        options = {key: kwargs.pop(key) for key in ("workflow_id",) if key in kwargs}
        flow = DotFlow(config=self.config, name=kwargs.pop("name", "billing"), **options)
        for step in steps:
            flow.task.add(**step) if isinstance(step, dict) else flow.task.add(step)
        manager = flow.start(mode=mode, **kwargs)
        if mode == "background":
            manager.thread.join(20)
        return manager

    def ended(self, name: str) -> ReadableSpan:
        """Return the only finished span of a name, as the SDK has it."""
        (found,) = (span for span in self.finished if span.name == name)
        return found

    def below(self, parent: ReadableSpan) -> list[str]:
        """Return the names of a span's children, in the order of their starts."""
        children = [span for span in self.finished if is_child(span, parent)]
        return [span.name for span in sorted(children, key=lambda span: span.start_time or 0)]


class TracerOpenTelemetry(ShippedTracer):
    """The tracer, by whose name errors are told, which knows its runs and tasks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.runs: list[Run] = []
        self.tasks: list[Task] = []

    def run_started(self, run: Run) -> None:
        self.runs.append(run)
        super().run_started(run)

    def start_task(self, task: Task) -> None:
        self.tasks.append(task)
        super().start_task(task)

    def check_nothing_is_left(self) -> None:
        """Check that nothing of these runs and tasks is held on to."""
        assert [run for run in self.runs if self.run_scope(run) is not None] == []
        assert [task for task in self.tasks if self.task_scope(task) is not None] == []
        for task in self.tasks:
            # Those of its own span, and of its attempt's, stood over those of its run.
            of_run = span_ids.current_ids() if task.run is None else span_ids.ids_of_run(task.run)
            expected = None if of_run is None else of_run.as_dict()
            for found in (span_ids.ids_of_task(task), span_ids.ids_of_step(task)):
                assert (None if found is None else found.as_dict()) == expected


class RecordedRuns(Observed):
    """Runs that are observed, and recorded in a history at a path.

    Args:
        path: The file.
        limits: How much it keeps.
        recovers: Whether lost runs are looked for.
        provider_options: Of the provider of tracers.
    """

    def __init__(
        self, path: Path, limits: Any = None, *, recovers: bool = True, **provider_options: Any
    ) -> None:
        super().__init__(**provider_options)
        self.path = path
        options = {"recovers": recovers, **({} if limits is None else {"limits": limits})}
        found = record(self.config, path, **options)
        assert found is not None
        self.recorder = found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        forget(self.recorder)
        self.provider.shutdown()

    def history(self) -> History:
        """Return the history, with all that was recorded until now."""
        assert self.recorder.flush(20)
        return History(self.path)

    def only(self) -> tuple[RunInfo, History]:
        """Return the only run, and the history."""
        history = self.history()
        (run,) = history.runs()
        return run, history

    def wait_for_status(self, status: str, count: int = 1) -> None:
        """Wait until so many runs have a status in the file."""
        with History(self.path) as history:
            wait_for(lambda: len(history.runs(status=status)) == count, 20)


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Return whether one span is right below another."""
    return span.parent is not None and span.parent.span_id == span_id(parent)


def span_id(span: ReadableSpan) -> int:
    """Return the id of a span."""
    assert span.context is not None
    return span.context.span_id
