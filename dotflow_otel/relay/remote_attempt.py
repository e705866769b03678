"""An attempt in a worker, as the run that owns it sees its span."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import count
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import baggage
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanKind, StatusCode, TraceFlags, set_span_in_context

from dotflow.core.process import fork_safe_lock
from dotflow.core.timing import monotonic_ns
from dotflow_otel import conventions as names
from dotflow_otel._process import TRACES, drop_counter, for_each, this_process
from dotflow_otel.plain import to_plain
from dotflow_otel.relay.buffers import Returned
from dotflow_otel.relay.deferred_span import RemoteSpans
from dotflow_otel.relay.remote_span import RemoteSpan
from dotflow_otel.relay.set_up import SetUp
from dotflow_otel.spans.attributes import description_of, exception_attributes
from dotflow_otel.spans.finished import PlainSpan
from dotflow_otel.spans.record import EventRecord, PlainContext, SpanRecord
from dotflow_otel.spans.sdk_access import FastSpanFactory
from dotflow_otel.spans.sdk_tracer import SentSampler, is_switched_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext

    from dotflow.core.attempt import Outcome
    from dotflow.core.failure import Failure
    from dotflow_otel.relay.handover import LiveSpans
    from dotflow_otel.relay.remote_span import AttemptHere
    from dotflow_otel.spans.factory import SpanFactory


HandOver = Callable[[Sequence[Any]], object]

# A span is late by seconds, and its run has seldom so many after it by then.
_RUNS: Final = 256


class OrphanSpans:
    """Knows where the spans of each run of this process go, also for a while after its end."""

    def __init__(self) -> None:
        self._by_run: dict[int, HandOver] = {}
        self._lock = fork_safe_lock()

    def expect(self, run: int, hand_over: HandOver) -> None:
        """Return where the spans of a run go."""
        with self._lock:
            while len(self._by_run) >= _RUNS:
                del self._by_run[next(iter(self._by_run))]
            self._by_run[run] = hand_over

    def hand_over(self, spans: Iterable[tuple[int, SpanRecord]]) -> None:
        """Hand over spans, each with its run; count those whose run is too long ago."""
        by_run: dict[int, list[SpanRecord]] = {}
        for run, span in spans:
            by_run.setdefault(run, []).append(span)
        for_each(lambda each: self._hand_over(*each), by_run.items())

    def _hand_over(self, run: int, late: Sequence[SpanRecord]) -> None:
        take = self._by_run.get(run)
        if take is None:
            drop_counter.add(TRACES, len(late))
        else:
            take(late)


orphan_spans: Final = OrphanSpans()


def on_the_wall(outcome: Outcome) -> tuple[int, int]:
    """Return when an attempt started and ended, in nanoseconds since the epoch."""
    ahead = time_ns() - monotonic_ns()
    started = ahead + round(outcome.started * 1e9)
    return started, max(started, ahead + round(outcome.ended * 1e9))


def on_our_clock(returned: Returned, outcome: Outcome) -> Returned:
    """Shift all spans that came with an outcome; the attempt's own lies within its attempt."""
    shift, (first, last) = outcome.shift, on_the_wall(outcome)
    times, own = returned.times, returned.own
    if times is not None:
        times = _within(first, last, times[0] + shift, times[1] + shift)
    if own is not None:
        own = shifted(own, shift)
        started, ended = _within(first, last, own.started, own.ended)
        own = own._replace(started=started, ended=ended)
    return returned._replace(
        times=times,
        own=own,
        below=[shifted(each, shift) for each in returned.below],
        others=[(run, shifted(each, shift)) for run, each in returned.others],
    )


def shifted(span: SpanRecord, shift: int) -> SpanRecord:
    """Return a span as if it had been recorded so many nanoseconds later."""
    events = [each._replace(timestamp=each.timestamp + shift) for each in span.events]
    return span._replace(started=span.started + shift, ended=span.ended + shift, events=events)


def _within(first: int, last: int, started: int, ended: int) -> tuple[int, int]:
    # Where a clock was set again meanwhile, or runs at another speed.
    started = min(max(started, first), last)
    return started, min(max(ended, started), last)


_logger: Final = logging.getLogger("dotflow_otel")

# Tells the runs of this process apart.
_runs: Final = count(1)

# How many kinds of decisions of a sampler are kept.
_MOST_SHARED_DATA: Final = 64

_NOTHING: Final = Returned(None, None, (), 0)
_NONE: Final[frozenset[int]] = frozenset()


class RemoteAttempts:
    """Begins the spans of a run's attempts in workers.

    Args:
        factory: Makes the run's spans.
        run: The run's span.
        context: The run's context, with the caller's baggage.
    """

    def __init__(self, factory: SpanFactory, run: Span, context: Context) -> None:
        tracer = self._tracer = factory.tracer
        # Where it is one of these, the sampler lets everything through below a sampled span.
        self._has_a_say = not isinstance(factory, FastSpanFactory)
        ids = tracer.id_generator if isinstance(tracer, SdkTracer) else RandomIdGenerator()
        self._new_id = ids.generate_span_id
        self._baggage = {name: to_plain(entry) for name, entry in baggage.get_all(context).items()}
        self._run = next(_runs)
        set_up = SetUp.here()
        self._set_up = set_up if set_up.is_something else None
        self._sampler = SentSampler(tracer, asked=self._has_a_say)
        self._shared_data: dict[tuple[int, bool, str], RemoteSpans] = {}
        self._trace_id = run.get_span_context().trace_id
        # Made where an attempt needs it: of a sampler it is known then whether it is sent.
        self._run_span = run

    def expect(self, hand_over: HandOver) -> None:
        """Hand over spans that come late, with the outcome of another run."""
        orphan_spans.expect(self._run, hand_over)

    @cached_property
    def _shared(self) -> RemoteSpans:
        return self._shared_like(self._run_span)

    def _shared_like(self, span: Span) -> RemoteSpans:
        context = span.get_span_context()
        state = PlainContext.of(context).state
        return self._shared_of(int(context.trace_flags), state, recording=span.is_recording())

    def _shared_of(self, flags: int, state: str, *, recording: bool) -> RemoteSpans:
        found = self._shared_data.get((flags, recording, state))
        if found is None:
            owner = this_process()
            found = RemoteSpans(
                self._trace_id,
                flags,
                state,
                recording,
                self._baggage,
                owner,
                self._run,
                self._set_up,
                self._sampler.data,
                deferrable=self._sampler.is_of_sdk and self._set_up is None,
            )
            if len(self._shared_data) < _MOST_SHARED_DATA:
                self._shared_data[flags, recording, state] = found
        return found

    def begin(self, task: Span, context: Context, number: int) -> RemoteAttempt:
        """Begin the span of an attempt.

        Args:
            task: The task's span.
            context: The run's context.
            number: The number of the attempt, from 1.
        """
        attributes: dict[str, Any] = {names.ATTEMPT_NUMBER: number}
        if self._has_a_say:
            below = set_span_in_context(task, context)
            shared, attributes = self._decided(task, below, attributes)
        else:
            shared = self._shared
        above = task.get_span_context().span_id
        return RemoteAttempt(shared, above, self._new_id(), attributes)

    def _decided(
        self, task: Span, context: Context, attributes: dict[str, Any]
    ) -> tuple[RemoteSpans, dict[str, Any]]:
        """Ask the application's sampler, as its tracer would."""
        above, tracer = task.get_span_context(), self._tracer
        if not isinstance(tracer, SdkTracer) or not is_switched_on(tracer):
            return self._shared_like(task), attributes
        result = tracer.sampler.should_sample(
            context, above.trace_id, names.ATTEMPT_SPAN, SpanKind.INTERNAL, attributes, ()
        )
        self._sampler.note_asked()
        sampled = TraceFlags.SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else 0
        flags = (int(above.trace_flags) & ~TraceFlags.SAMPLED) | sampled
        recording = result.decision is not Decision.DROP
        state = result.trace_state.to_header() if result.trace_state else ""
        told = {key: to_plain(value) for key, value in (result.attributes or {}).items()}
        return self._shared_of(flags, state, recording=recording), told


class RemoteAttempt:
    """Completes an attempt's span in the end, whatever the worker sent.

    Args:
        shared: What it has in common with the run's other attempts.
        parent_id: The id of the task's span.
        span_id: The span's own.
        attributes: What the span begins with.
    """

    __slots__ = ("_attributes", "_began", "_begun", "_is_live", "_parent_id", "_shared", "span_id")

    def __init__(
        self, shared: RemoteSpans, parent_id: int, span_id: int, attributes: dict[str, Any]
    ) -> None:
        self._began = time_ns()
        self._shared = shared
        self._parent_id = parent_id
        self._attributes = attributes
        self._is_live = False
        self._begun = _NONE
        self.span_id = span_id

    @property
    def sampled(self) -> bool:
        """Whether the span is exported."""
        return self._shared.sampled

    def scope(self, here: AttemptHere) -> RemoteSpan:
        """Return what goes along to the worker.

        Args:
            here: Begins the span where that is a thread of this process.
        """
        scope = RemoteSpan(self._shared, self._parent_id, self.span_id, self._attributes)
        scope.here = here
        return scope

    def begin_here(self, live: LiveSpans, task: Span) -> Span:
        """Begin the span in a thread of this process, and return it.

        Args:
            live: The run's spans in workers.
            task: The task's span.
        """
        self._began = time_ns()
        self._begin(self._began, live, task, is_theirs=False)
        return live.span_of(self.span_id)

    def take_in(self, recorded: bytes, live: LiveSpans, task: Span) -> None:
        """Take in what a worker sent of the spans below, while the attempt goes on.

        Args:
            recorded: What it sent.
            live: The run's spans in workers.
            task: The task's span.
        """
        part = _read(recorded)
        drop_counter.add(TRACES, part.dropped)
        started = part.times[0] if part.times else 0
        self._begin(started or time_ns(), live, task, is_theirs=part.is_theirs)
        self._begun |= {each.context.span_id for each in part.begun}
        live.take_in(part.below, part.begun)

    def finish(
        self,
        outcome: Outcome | None,
        failure: Failure | None,
        recorded: bytes | None,
        queued: float | None,
        live: LiveSpans,
        task: Span,
    ) -> None:
        """End the span, after those below it.

        Args:
            outcome: How it ended, and when; None: it was still running when the run ended.
            failure: How it failed, if it did.
            recorded: What the worker sent; None: it died, or could not send.
            queued: Seconds that the attempt waited for its worker.
            live: The run's spans in workers.
            task: The task's span.
        """
        returned = _NOTHING if recorded is None else _read(recorded)
        drop_counter.add(TRACES, returned.dropped)
        if outcome is not None and outcome.shift:
            returned = on_our_clock(returned, outcome)
        try:
            self._finish(outcome, failure, returned, queued, live, task)
        finally:
            if returned.others:
                orphan_spans.hand_over(returned.others)

    def _finish(
        self,
        outcome: Outcome | None,
        failure: Failure | None,
        returned: Returned,
        queued: float | None,
        live: LiveSpans,
        task: Span,
    ) -> None:
        facts = self._facts(outcome, queued)
        if failure is None and returned.times is not None and self._is_plain(returned):
            own, above = self._ids()
            attributes = {**self._attributes, **facts}
            span = PlainSpan(names.ATTEMPT_SPAN, own, above, attributes, returned.times)
            if live.handover.hand_over_plain(span):
                return
        times = returned.times or self._times(outcome)
        record = returned.own or self._made(*times)
        self._begin(record.started, live, task, is_theirs=returned.is_theirs)
        try:
            live.take_in(returned.below)
            if self._begun and failure is not None and returned is _NOTHING:
                why = description_of(failure)
                live.lose(self._begun, record.ended, failure.error_type, why)
        finally:
            told = _told(record, facts, failure)
            first = names.ATTEMPT_SPAN, self._attributes
            live.end(told._replace(first=first))

    def _is_plain(self, returned: Returned) -> bool:
        return self._shared.recording and not (self._is_live or returned.below)

    def _begin(self, started: int, live: LiveSpans, task: Span, *, is_theirs: bool) -> None:
        if self._is_live:
            return
        self._is_live = True
        if is_theirs or not self._shared.recording:
            live.add(self._ids()[0], None)
        else:
            live.begin(self._made(started, 0), task)

    def _ids(self) -> tuple[SpanContext, SpanContext]:
        shared = self._shared
        return shared.ids(self.span_id, is_remote=False), shared.ids(
            self._parent_id, is_remote=True
        )

    def _times(self, outcome: Outcome | None) -> tuple[int, int]:
        # Nothing came back: the run tells what it knows.
        if outcome is None:
            return self._began, max(self._began, time_ns())
        return on_the_wall(outcome)

    def _made(self, started: int, ended: int) -> SpanRecord:
        own, above = self._ids()
        return SpanRecord(
            names.ATTEMPT_SPAN,
            SpanKind.INTERNAL.value,
            PlainContext.of(own),
            PlainContext.of(above),
            started,
            ended,
            (StatusCode.UNSET.value, None),
            self._attributes,
        )

    def _facts(self, outcome: Outcome | None, queued: float | None) -> Mapping[str, Any]:
        facts: dict[str, Any] = {}
        if queued is not None:
            facts[names.TASK_QUEUE_DURATION] = queued
        if outcome is not None and outcome.pid is not None:
            facts[names.PROCESS_PID] = outcome.pid
            facts[names.HOST_NAME] = outcome.host or ""
        return facts


def _read(recorded: bytes) -> Returned:
    try:
        return Returned.unpacked(recorded)
    except Exception:
        # A worker of others may have another version of us. Its attempt has a span all the same.
        _logger.exception("what a worker recorded cannot be read; it counts as one dropped span")
        return _NOTHING._replace(dropped=1)


def _told(span: SpanRecord, facts: Mapping[str, Any], failure: Failure | None) -> SpanRecord:
    attributes = {**span.attributes, **facts}
    if failure is None:
        return span._replace(attributes=attributes)
    attributes[names.ERROR_TYPE] = failure.error_type
    told = EventRecord(names.EXCEPTION_EVENT, span.ended, dict(exception_attributes(failure)))
    status = span.status
    if status[0] != StatusCode.OK.value:  # which a step may set, and which stands
        status = StatusCode.ERROR.value, description_of(failure)
    return span._replace(attributes=attributes, events=[*span.events, told], status=status)
