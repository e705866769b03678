"""How a failure is written into a span."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import StatusCode

from dotflow_otel import conventions as names
from dotflow_otel.plain import bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from dotflow.core.failure import Failure


def mark_failed(span: Span, failure: Failure, timestamp: int | None = None) -> None:
    """Write a failure into a span: its status, its type and the exception.

    Args:
        span: The span.
        failure: The failure.
        timestamp: When it happened, in nanoseconds since the epoch; None: now.
    """
    if not span.is_recording():
        return
    span.set_attribute(names.ERROR_TYPE, failure.error_type)
    span.add_event(names.EXCEPTION_EVENT, exception_attributes(failure), timestamp)
    span.set_status(StatusCode.ERROR, description_of(failure))


def exception_attributes(failure: Failure) -> Mapping[str, str]:
    """Return the attributes of the event that tells of an exception."""
    return {
        names.EXCEPTION_TYPE: failure.exception_type,
        names.EXCEPTION_MESSAGE: bounded(failure.message),
        names.EXCEPTION_STACKTRACE: bounded(failure.traceback),
    }


def description_of(failure: Failure) -> str:
    """Return the description of the status of a span that failed."""
    text = f"{failure.name}: {failure.message}" if failure.message else failure.name
    return bounded(text)
