"""What `setup` created, and how it ends in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dotflow.core.arguments import check_seconds, strict_arguments
from dotflow.core.timing import monotonic
from dotflow_otel._process import TIMEOUT, TimedCall, at_exit, drop_counter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from dotflow_otel.sdk.batching import Account
    from dotflow_otel.sdk.span_pipeline import SpanPipeline


class Part(Protocol):
    """Something that can be flushed and ended: a pipeline, a provider."""

    def force_flush(self) -> object:
        """Deliver what was recorded."""

    def shutdown(self) -> object:
        """Deliver what was recorded, and end."""


class Telemetry:
    """What `setup` created, to be flushed and ended: at exit by itself, or on call.

    Where the application had set a provider there is nothing to end here; where it had set
    all of them the methods do nothing.

    Attributes:
        provider: The provider of tracers that was created, if any.
        meter_provider: That of meters.
        logger_provider: That of loggers.
        pipelines: Where the spans of that provider of tracers go.
        resource: Whose telemetry it is, if any provider was created.
        bound: Seconds that the exit may take for the backend.
        is_silent: Whether the provider of tracers was created for its name alone: what the
            variables ask for has not been looked at.
    """

    @strict_arguments
    def __init__(self, timeout: float = TIMEOUT) -> None:
        check_seconds("timeout", timeout, zero=True)
        self.provider: TracerProvider | None = None
        self.pipelines: list[SpanPipeline] = []
        self.meter_provider: MeterProvider | None = None
        self.logger_provider: LoggerProvider | None = None
        self.resource: Resource | None = None
        self.bound = timeout
        self.is_silent = False
        self._parts: list[Part] = []
        self._accounts: list[Account] = []
        self._ends: list[TimedCall] = []
        self._is_over = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing was created."""
        return not self._parts

    @property
    def is_over(self) -> bool:
        """Whether it was ended."""
        return self._is_over

    def add(self, parts: Sequence[Part], accounts: Sequence[Account]) -> None:
        """Register what is to be flushed and ended, from now on at exit as well.

        All parts get the same time, so that one that hangs keeps no other from delivering.

        Args:
            parts: What has to be ended.
            accounts: Of the pipelines among them, to be closed when the time is up.
        """
        if parts and not self._ends:
            at_exit.add(self)
        self._parts += parts
        self._accounts += accounts
        self._ends += [TimedCall(part.shutdown, "dotflow-telemetry-end") for part in parts]

    def flush(self, timeout: float | None = None) -> bool:
        """Hand what was recorded to the exporters; return whether that ended in time.

        Args:
            timeout: Seconds; None: what `setup` was given.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        flushes = [self._flush_of(part) for part in self._parts]
        ended = self._call(flushes, self.bound if timeout is None else timeout)
        drop_counter.tell()
        return ended

    def _flush_of(self, part: Part) -> TimedCall:
        flush: Callable[[], object] = part.force_flush
        return TimedCall(flush, "dotflow-telemetry-flush")

    def shutdown(self, timeout: float | None = None) -> bool:
        """Flush, and end for good; return whether that ended in time.

        What is not delivered by then is dropped, and a line in the log tells how much it was.
        A second time there is nothing to do.

        Args:
            timeout: Seconds; None: what `setup` was given.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, optional=True, zero=True)
        seconds = self.bound if timeout is None else timeout
        return self._shut_down(seconds, self._call(self._ends, seconds))

    def ask_to_end(self) -> None:
        """Ask all parts to end; do not wait."""
        for end in self._ends:
            end.ask()

    def end_within(self, seconds: float) -> bool:
        """Wait for the end within the bound of an exit; return whether that came in time."""
        return self._shut_down(self.bound, self._call(self._ends, seconds))

    def _shut_down(self, seconds: float, ended: bool) -> bool:
        at_exit.remove(self)
        for account in self._accounts:
            account.abandon()
        late = not ended and not self._is_over
        self._is_over = True
        why = f"telemetry was not delivered within {seconds:g} s and is dropped"
        drop_counter.tell(why if late else None)
        return ended

    def _call(self, calls: Sequence[TimedCall], seconds: float) -> bool:
        until = monotonic() + seconds
        for call in calls:
            call.ask()
        return all(call.wait(until - monotonic()) for call in calls)
