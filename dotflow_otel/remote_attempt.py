"""An attempt in a worker, as the run that owns it sees its span."""

from __future__ import annotations

import time
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import baggage
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags

from dotflow_otel import conventions as names
from dotflow_otel.failures import description_of, exception_attributes
from dotflow_otel.plain import plain
from dotflow_otel.process import this_process
from dotflow_otel.remote_span import RemoteSpan, Returned, Sent
from dotflow_otel.span_record import EventRecord, PlainContext, SpanRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from dotflow.core.attempt import Outcome
    from dotflow.core.failure import Failure

_ids = RandomIdGenerator()


class RemoteAttempt:
    """Chooses the span's id, and tells its whole story in the end, whatever the worker sent.

    Args:
        tracer: The run's.
        parent: The task's span.
        context: The run's context with that span as the current one.
        number: The number of the attempt, from 1.
    """

    def __init__(self, tracer: Tracer, parent: Span, context: Context, number: int) -> None:
        self._began = time_ns()
        self._parent = PlainContext.of(parent.get_span_context())._replace(is_remote=True)
        self._baggage = {name: plain(entry) for name, entry in baggage.get_all(context).items()}
        decision = _decision(tracer, parent, context, {names.ATTEMPT_NUMBER: number})
        self.recording = decision.recording
        self._attributes = decision.attributes
        self.context = self._parent._replace(
            span_id=_new_id(tracer), is_remote=False, flags=decision.flags, state=decision.state
        )

    def scope(self) -> RemoteSpan:
        """Give what goes along to the worker."""
        return RemoteSpan(
            Sent(
                self.context,
                self._parent,
                self.recording,
                self._attributes,
                self._baggage,
                this_process(),
            )
        )

    def finished(
        self,
        outcome: Outcome | None,
        failure: Failure | None,
        recorded: Returned | None,
        queued: float | None,
    ) -> Sequence[SpanRecord]:
        """Give all spans of the attempt, in the order of their ends; its own is the last.

        Args:
            outcome: How it ended, and when; None: it was still running when the run ended.
            failure: How it failed, if it did.
            recorded: What the worker sent; None: it died, or could not send.
            queued: Seconds that the attempt waited for its worker.
        """
        spans = () if recorded is None else recorded.spans
        if not self.recording:
            return spans
        mine = self.context.span_id
        below = [span for span in spans if span.context.span_id != mine]
        own = next((span for span in spans if span.context.span_id == mine), None)
        return [*below, self._told(own or self._made(outcome), outcome, failure, queued)]

    def _made(self, outcome: Outcome | None) -> SpanRecord:
        # Nothing came back: the run tells what it knows.
        started, ended = self._began, time_ns()
        if outcome is not None:
            offset = time.time() - monotonic()
            started, ended = (int((t + offset) * 1e9) for t in (outcome.started, outcome.ended))
        return SpanRecord(
            names.ATTEMPT_SPAN,
            SpanKind.INTERNAL.value,
            self.context,
            self._parent,
            started,
            max(started, ended),
            (StatusCode.UNSET.value, None),
            dict(self._attributes),
        )

    def _told(
        self,
        span: SpanRecord,
        outcome: Outcome | None,
        failure: Failure | None,
        queued: float | None,
    ) -> SpanRecord:
        attributes = dict(span.attributes)
        if queued is not None:
            attributes[names.TASK_QUEUE_DURATION] = queued
        if outcome is not None and outcome.pid is not None:
            attributes[names.PROCESS_PID] = outcome.pid
            attributes[names.HOST_NAME] = outcome.host or ""
        if failure is None:
            return span._replace(attributes=attributes)
        attributes[names.ERROR_TYPE] = failure.error_type
        told = EventRecord(names.EXCEPTION_EVENT, span.ended, dict(exception_attributes(failure)))
        status = span.status
        if status[0] != StatusCode.OK.value:  # which a step may set, and which stands
            status = StatusCode.ERROR.value, description_of(failure)
        return span._replace(attributes=attributes, events=[*span.events, told], status=status)


class _Decision(NamedTuple):
    recording: bool
    flags: int
    state: str
    attributes: Mapping[str, Any]


def _decision(
    tracer: Tracer, parent: Span, context: Context, attributes: Mapping[str, Any]
) -> _Decision:
    """Ask the application's sampler, as its tracer would."""
    above = parent.get_span_context()
    if not isinstance(tracer, SdkTracer):
        state = PlainContext.of(above).state
        return _Decision(parent.is_recording(), int(above.trace_flags), state, attributes)
    result = tracer.sampler.should_sample(
        context, above.trace_id, names.ATTEMPT_SPAN, SpanKind.INTERNAL, attributes, ()
    )
    sampled = TraceFlags.SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else 0
    flags = (int(above.trace_flags) & ~TraceFlags.SAMPLED) | sampled
    state = result.trace_state.to_header() if result.trace_state else ""
    told = {key: plain(value) for key, value in (result.attributes or {}).items()}
    return _Decision(result.decision is not Decision.DROP, flags, state, told)


def _new_id(tracer: Tracer) -> int:
    ids = tracer.id_generator if isinstance(tracer, SdkTracer) else _ids
    return ids.generate_span_id()
