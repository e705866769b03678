"""Where spans go that a step opens in a worker: into records that return with the outcome.

A worker has no exporter and no configuration, so in ours the relay is the global tracer
provider. Where a provider is set already (in the application's own process, or in a worker
that its owner configured) that one is used, and nothing is relayed.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from dotflow.core.once import once
from dotflow_otel.relay.backlog import Backlog
from dotflow_otel.spans.record import record_of, scope_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from dotflow_otel.relay.backlog import Taken
    from dotflow_otel.spans.record import SpanRecord

_MOST_IN_A_SPAN: Final = 10_000


class Relay:
    """Records the spans that steps open in this process.

    Args:
        backlog: Where finished spans wait to be taken.
    """

    def __init__(self, backlog: Backlog[SpanRecord] | None = None) -> None:
        self._backlog: Backlog[SpanRecord] = backlog or Backlog()
        self._roots = _LikeTheRun()
        self._has_looked = False
        # Whose spans they are, the application knows.
        self._provider = TracerProvider(
            ParentBased(self._roots),
            Resource.get_empty(),
            shutdown_on_exit=False,
            span_limits=worker_limits(),
        )
        self._provider.add_span_processor(_Recorder(self._backlog))

    def begin(self, *, sampled: bool) -> None:
        """Become the global provider where there is none, for a step of a run.

        Args:
            sampled: What the run's sampler decided; spans without a parent follow it.
        """
        self._roots.sampled = sampled
        if self._has_looked:
            return
        # It is set once in a process, and so looked for once.
        self._has_looked = True
        if isinstance(_global_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)

    def take(self) -> Taken[SpanRecord]:
        """Give what was recorded, and forget it."""
        return self._backlog.take()


@cache
def worker_limits() -> SpanLimits:
    """Give limits that only keep a span from filling the memory.

    Those of the application count, where the spans arrive.
    """
    return SpanLimits(
        max_attributes=_MOST_IN_A_SPAN,
        max_events=_MOST_IN_A_SPAN,
        max_links=_MOST_IN_A_SPAN,
        max_span_attributes=_MOST_IN_A_SPAN,
        max_event_attributes=_MOST_IN_A_SPAN,
        max_link_attributes=_MOST_IN_A_SPAN,
        max_attribute_length=SpanLimits.UNSET,
        max_span_attribute_length=SpanLimits.UNSET,
    )


@once
def relay_here() -> Relay:
    """Give the relay of this process."""
    return Relay()


def _global_provider() -> trace.TracerProvider:
    # The look-up would make a provider where this variable names one. The application's has
    # done so; here nobody would hear of its spans.
    named = os.environ.pop(OTEL_PYTHON_TRACER_PROVIDER, None)
    try:
        return trace.get_tracer_provider()
    finally:
        if named is not None:
            os.environ[OTEL_PYTHON_TRACER_PROVIDER] = named


class _Recorder(SpanProcessor):
    def __init__(self, backlog: Backlog[SpanRecord]) -> None:
        self._backlog = backlog

    def on_end(self, span: ReadableSpan) -> None:
        self._backlog.put(record_of(span, scope_of(span)))


class _LikeTheRun(Sampler):
    """Samples spans without a parent as the run is sampled whose step opens them."""

    def __init__(self) -> None:
        self.sampled = True

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        decided = ALWAYS_ON if self.sampled else ALWAYS_OFF
        return decided.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return "LikeTheRun"
