"""A recording: a configuration whose telemetry stays in memory, and what reads it back."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

from dotflow.abc.log import level_of
from dotflow.core.arguments import check_flag, refuse_unknown, strict_arguments
from dotflow.core.config import Config
from dotflow.core.exception import WrongMoment
from dotflow.core.options import Slots
from dotflow_otel.metrics.errors import check_registry
from dotflow_otel.metrics.prometheus import MetricsPrometheus
from dotflow_otel.observing import ARGUMENTS
from dotflow_otel.testing.events import EventReader, LogRecorder
from dotflow_otel.testing.numbers import MetricsReader, Samples, imbalance
from dotflow_otel.testing.span_reader import SpanReader, global_spans_to
from dotflow_otel.traces.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Unpack

    from prometheus_client import CollectorRegistry


class _Options(Slots, total=False):
    """What `observe` takes besides, of which a recording has no use."""

    registry: CollectorRegistry | None
    buckets: Sequence[float]
    timeout: float
    logs: bool | None
    history: bool | str | os.PathLike[str] | None


class RecordedTelemetry(SpanReader, MetricsReader, EventReader):
    """What was recorded of runs, to be asserted on. `record_telemetry` makes one.

    It can be read at any time: before a run there is nothing in it, and after the recording
    has ended what was recorded stays.

    Args:
        registry: Where metrics are registered; None: a registry of its own.
        level: The lowest level of events that are kept.

    Attributes:
        config: For workflows whose telemetry is to be recorded.
        provider: Makes spans that are recorded, for those who pass providers along.
        registry: Where the metrics are.

    Raises:
        InvalidOption: `registry` is none, or `level` is neither a name nor a number.
    """

    @strict_arguments
    def __init__(
        self, registry: CollectorRegistry | None = None, level: str | int = "INFO"
    ) -> None:
        check_registry(registry, "register")
        level_of(level)
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
        level: str | int = "INFO",
        **options: Unpack[_Options],
    ) -> Config:
        """Return a configuration that is recorded. It can stand in for `dotflow_otel.observe`.

        Args:
            service_name: Taken and without effect, as the other arguments of `observe` that
                are about set-up.
            level: The lowest level of events that are kept.
            **options: Further slots of `Config`, such as `storage`; `tracer`, `metrics` and
                `log` take the place of this project's, and are not recorded then.

        Raises:
            NotCallableObject: A provider is no instance of its slot's interface.
            InvalidOption: `level` is neither a name nor a number.
            TypeError: `observe` takes no such argument.
        """
        refuse_unknown("observe", options, ARGUMENTS)
        slots: Slots = {
            "tracer": self._tracer,
            "metrics": self._metrics,
            "log": LogRecorder(self._sink, level),
        }
        known = Slots.__annotations__
        given = {name: value for name, value in options.items() if name in known}
        slots.update(cast("Slots", given))
        return Config(**slots)

    def assert_balanced(self) -> None:
        """Check that every run and task that started has ended, once, and is counted alike.

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


@strict_arguments
def record_telemetry(
    *,
    registry: CollectorRegistry | None = None,
    level: str | int = "INFO",
    global_tracer: bool = True,
) -> AbstractContextManager[RecordedTelemetry]:
    """Record the telemetry of the runs that use `telemetry.config`, in any mode.

    Spans that steps open with `opentelemetry.trace.get_tracer(...)` come from the global
    tracer provider and are recorded too. Where the application has set none, one is set for
    the rest of the process, which drops what it gets while nothing is recorded. One of the
    application's stays in its place, and hands a copy on if it is of the SDK.

    It is for one `with`; a further recording is a further call. What was recorded can be read
    after it as well.

    Args:
        registry: Where metrics are registered; None: a registry of its own. With
            prometheus-client's `REGISTRY`, what was counted there before does not count.
        level: The lowest level of log events that are kept, as in `LogStructlog`.
        global_tracer: Whether spans of the global tracer provider are recorded; if not, that
            is left alone.

    Raises:
        InvalidOption: `registry` is none, `level` is neither a name nor a number, or
            `global_tracer` is no boolean.
        ModuleNotFound: A library of `dotflow[otel]` is not installed.
        WrongMoment: (a `RuntimeError`) It is entered a second time.
    """
    check_registry(registry, "register")
    level_of(level)
    check_flag("global_tracer", global_tracer)
    return _Recording(registry, level, global_tracer=global_tracer)


class _Recording:
    """Records between its beginning and its end, once."""

    def __init__(
        self, registry: CollectorRegistry | None, level: str | int, *, global_tracer: bool
    ) -> None:
        self._registry = registry
        self._level = level
        self._global_tracer = global_tracer
        self._listening: AbstractContextManager[None] | None = None

    def __enter__(self) -> RecordedTelemetry:
        if self._listening is not None:
            raise WrongMoment("This recording was begun already: call record_telemetry() again.")
        telemetry = RecordedTelemetry(self._registry, self._level)
        listening = global_spans_to(telemetry.collector) if self._global_tracer else nullcontext()
        listening.__enter__()
        self._listening = listening
        return telemetry

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listening is not None:
            self._listening.__exit__(kind, error, traceback)
