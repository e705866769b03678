"""A recording: a configuration whose telemetry stays in memory, and what reads it back."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from inspect import signature
from typing import TYPE_CHECKING, Any

from dotflow.core.config import Config
from dotflow_otel.metrics.prometheus import MetricsPrometheus
from dotflow_otel.observing import observe
from dotflow_otel.testing.balance import imbalance
from dotflow_otel.testing.collector import global_spans_to
from dotflow_otel.testing.events import EventReader, LogRecorder
from dotflow_otel.testing.numbers import MetricsReader
from dotflow_otel.testing.samples import Samples
from dotflow_otel.testing.span_reader import SpanReader
from dotflow_otel.traces.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry


class RecordedTelemetry(SpanReader, MetricsReader, EventReader):
    """What runs told of themselves, to be asserted on. `record_telemetry` makes one.

    Args:
        registry: Where metrics are registered; None: a registry of its own.
        level: The lowest level of events that are kept.

    Attributes:
        config: For workflows whose telemetry is to be recorded.
        provider: Makes spans that are recorded, for those who pass providers along.
        registry: Where the metrics are.
    """

    def __init__(self, registry: CollectorRegistry | None = None, level: str = "INFO") -> None:
        SpanReader.__init__(self)
        MetricsReader.__init__(self, registry)
        EventReader.__init__(self)
        self._tracer = TracerOpenTelemetry(tracer_provider=self.provider)
        self._metrics = MetricsPrometheus(self.registry)
        self.config: Config = self.observe(level=level)

    def observe(
        self,
        service_name: str | None = None,  # noqa: ARG002 - that of what it stands in for
        *,
        level: str = "INFO",
        **options: Any,
    ) -> Config:
        """Give a configuration that is recorded. It can stand in for `dotflow_otel.observe`.

        Args:
            service_name: Taken and without effect, as the other arguments of `observe` that
                are about set-up.
            level: The lowest level of events that are kept.
            **options: Further slots of `Config`, such as `storage`; `tracer`, `metrics` and
                `log` take the place of ours, and are not recorded then.

        Raises:
            NotCallableObject: A provider is no instance of its slot's interface.
            TypeError: Neither `observe` nor `Config` knows an option.
        """
        set_up = signature(observe).parameters.keys()
        slots = {name: value for name, value in options.items() if name not in set_up}
        ours = {
            "tracer": self._tracer,
            "metrics": self._metrics,
            "log": LogRecorder(self._sink, level),
        }
        return Config(**{**ours, **slots})

    def assert_balanced(self) -> None:
        """Check that every run and task that started has ended, once, and is told of alike.

        For each workflow and mode, and each task: started = completed + failed, none is in
        progress, and each end has a duration. Over all: each task of a run was started,
        restored or skipped; there is a span for each run and each task that did not skip;
        attempts = started + retried.

        Raises:
            AssertionError: It does not balance; it tells where, with all numbers.
        """
        __tracebackhide__ = True
        problem = imbalance(self._counted(Samples(self.registry).all), self.spans)
        if problem is not None:
            raise AssertionError(problem)

    def clear(self) -> None:
        """Forget what was recorded: spans, events, and the values of metrics up to now."""
        self.collector.clear()
        self._sink.lines.clear()
        self._take_baseline()


@contextmanager
def record_telemetry(
    *,
    registry: CollectorRegistry | None = None,
    level: str = "INFO",
    global_tracer: bool = True,
) -> Iterator[RecordedTelemetry]:
    """Record the telemetry of the runs that use `telemetry.config`, in any mode.

    Spans that steps open with `opentelemetry.trace.get_tracer(...)` come from the global
    tracer provider and are recorded too. Where the application has set none, one is set for
    the rest of the process, which drops what it gets while nothing is recorded. One of the
    application's stays in its place, and hands a copy on if it is of the SDK.

    Args:
        registry: Where metrics are registered; None: a registry of its own. With
            prometheus-client's `REGISTRY`, what was counted there before does not count.
        level: The lowest level of log events that are kept.
        global_tracer: Whether spans of the global tracer provider are recorded; if not, that
            is left alone.

    Raises:
        ModuleNotFound: A library of `dotflow[otel]` is not installed.
    """
    telemetry = RecordedTelemetry(registry, level)
    listening = global_spans_to(telemetry.collector) if global_tracer else nullcontext()
    with listening:
        yield telemetry
