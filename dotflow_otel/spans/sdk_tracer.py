"""What a tracer of the SDK keeps under private names, and what is done without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanLimits

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Tracer


def limits_of(tracer: Tracer) -> SpanLimits:
    """Give the limits of a tracer's spans; without them, those that the environment sets."""
    return _hidden(tracer, "_span_limits") or SpanLimits()


def instrumentation_of(tracer: Tracer) -> InstrumentationScope | None:
    """Give which instrumentation a tracer was made for."""
    scope: InstrumentationScope | None = _hidden(tracer, "_instrumentation_scope")
    return scope


def is_switched_on(tracer: Tracer) -> bool:
    """Tell whether a tracer makes spans at all, which later releases can be told not to do."""
    asked = _hidden(tracer, "_is_enabled")
    return True if asked is None else bool(asked())


def divert(provider: TracerProvider, processor: SpanProcessor) -> bool:
    """Have all spans of a provider, of tracers that it gave already too, go to one processor.

    Returns:
        Whether that was done: not where the provider keeps its processors in another way.
    """
    active = getattr(provider, "_active_span_processor", None)
    if type(getattr(active, "_span_processors", None)) is not tuple:
        return False
    # There is no public way to let processors go.
    vars(active)["_span_processors"] = (processor,)
    return True


def _hidden(tracer: Tracer, name: str) -> Any:
    return getattr(tracer, name, None)
