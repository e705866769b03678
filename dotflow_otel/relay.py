"""Where spans go that a step opens in a worker: into records that return with the outcome.

A worker has no exporter and no configuration, so in ours the relay is the global tracer
provider. Where a provider is set already (in the application's own process, or in a worker
that its owner configured) that one is used, and nothing is relayed.
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from dotflow_otel.span_record import record_of, scope_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from dotflow_otel.span_record import SpanRecord

# A step that opens spans without end must not fill the memory: so many wait for the next
# outcome, and the rest is counted.
_MOST: Final = 100_000
_MOST_IN_A_SPAN: Final = 10_000


class Taken(NamedTuple):
    """What was recorded since the last time.

    Attributes:
        records: The finished spans, in the order of their ends.
        dropped: How many there was no room for.
    """

    records: Sequence[SpanRecord]
    dropped: int


class Relay:
    """Records the spans that steps open in this process.

    Args:
        most: How many finished spans may wait to be taken.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._buffer = _Buffer(most)
        self._roots = _LikeTheRun()
        # Whose spans they are, the application knows.
        self._provider = TracerProvider(
            ParentBased(self._roots),
            Resource.get_empty(),
            shutdown_on_exit=False,
            span_limits=worker_limits(),
        )
        self._provider.add_span_processor(self._buffer)

    def begin(self, *, sampled: bool) -> None:
        """Become the global provider where there is none, for a step of a run.

        Args:
            sampled: What the run's sampler decided; spans without a parent follow it.
        """
        self._roots.sampled = sampled
        if isinstance(_global_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)

    def take(self) -> Taken:
        """Give what was recorded, and forget it."""
        return self._buffer.take()


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


@cache
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


class _Buffer(SpanProcessor):
    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._records: deque[SpanRecord] = deque()
        self._dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        record = record_of(span, scope_of(span))
        with self._lock:
            if len(self._records) < self._most:
                self._records.append(record)
            else:
                self._dropped += 1

    def take(self) -> Taken:
        with self._lock:
            taken = Taken(tuple(self._records), self._dropped)
            self._records.clear()
            self._dropped = 0
        return taken


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
