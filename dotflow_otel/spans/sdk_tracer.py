"""What a tracer of the SDK keeps under private names, and what is done without it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import Span, SpanLimits
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, StaticSampler, TraceIdRatioBased

from dotflow.workers.pickling import dump_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Tracer


class PresetIdSpan(Span):
    """A span of the SDK for ids that were chosen elsewhere.

    A tracer draws the id of each span that it starts. The run chooses the id of an attempt
    in a worker beforehand, so that what the step calls finds its parent even if the worker
    dies; and what a worker recorded keeps its ids on the way to the application's
    processors. The SDK lets subclasses alone be made without a tracer.
    """


def limits_of(tracer: Tracer) -> SpanLimits:
    """Return the limits of a tracer's spans; without them, those that the environment sets."""
    return _hidden(tracer, "_span_limits") or SpanLimits()


def instrumentation_of(tracer: Tracer) -> InstrumentationScope | None:
    """Return which instrumentation a tracer was made for."""
    scope: InstrumentationScope | None = _hidden(tracer, "_instrumentation_scope")
    return scope


def is_switched_on(tracer: Tracer) -> bool:
    """Return whether a tracer makes spans at all, which later releases can be told not to do."""
    asked = _hidden(tracer, "_is_enabled")
    return True if asked is None else bool(asked())


def replace_processors(provider: TracerProvider, processor: SpanProcessor) -> bool:
    """Route all spans of a provider, of tracers that it made already too, to one processor.

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


# How deep a tracer of the SDK may be inside of what wraps it.
_DEPTH: Final = 3

# The ids of the next span that is begun, each until it is used.
_given: Final[ContextVar[dict[str, int] | None]] = ContextVar("dotflow_preset_ids", default=None)


class _PresetIds(IdGenerator):
    """Returns the ids that were chosen elsewhere, where there are any, else those of another.

    Args:
        others: The other generator.
    """

    def __init__(self, others: IdGenerator) -> None:
        self._others = others

    def generate_span_id(self) -> int:
        """Return the id of a span."""
        given = (_given.get() or {}).pop("span", None)
        return self._others.generate_span_id() if given is None else given

    def generate_trace_id(self) -> int:
        """Return the id of a trace."""
        given = (_given.get() or {}).pop("trace", None)
        return self._others.generate_trace_id() if given is None else given

    def is_trace_id_random(self) -> bool:
        """Return what the other one does; older releases do not ask."""
        asked = getattr(self._others, "is_trace_id_random", None)
        return asked is not None and bool(asked())


@contextmanager
def preset_ids(trace_id: int, span_id: int) -> Iterator[None]:
    """Assign these ids to the span that is begun inside, where `allow_preset_ids` was called."""
    token = _given.set({"trace": trace_id, "span": span_id})
    try:
        yield
    finally:
        _given.reset(token)


def allow_preset_ids(tracer: Tracer) -> None:
    """Make a tracer that wraps one of the SDK take ids, as far as that can be found."""
    for each in wrapped_by(tracer):
        if type(each.id_generator) is not _PresetIds:
            each.id_generator = _PresetIds(each.id_generator)


def wrapped_by(wrapper: object, depth: int = _DEPTH) -> Iterator[SdkTracer]:
    """Return the tracers of the SDK that another one wraps, as far as they can be found."""
    for value in _fields_of(wrapper):
        if isinstance(value, SdkTracer):
            yield value
        elif depth > 1 and hasattr(type(value), "start_span"):
            yield from wrapped_by(value, depth - 1)


def _fields_of(wrapper: object) -> Iterator[object]:
    yield from list(getattr(wrapper, "__dict__", {}).values())
    slots = getattr(type(wrapper), "__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        yield getattr(wrapper, name, None)
    yield getattr(wrapper, "__wrapped__", None)


_SDK: Final = ParentBased.__module__
_BASIC: Final = frozenset({StaticSampler, TraceIdRatioBased})


class SentSampler:
    """The sampler of a run's tracer, as it is sent to workers.

    Args:
        tracer: The run's.
        asked: Whether the sampler is asked about each attempt, as `note_asked` tells.

    Attributes:
        data: The sampler, pickled; None where it is not sent.
        is_of_sdk: Whether it is one of the SDK's, or not sent.
    """

    def __init__(self, tracer: Tracer, *, asked: bool) -> None:
        self._sampler = _sampler_of(tracer)
        own = self._sampler is not None and _is_of_the_sdk(self._sampler)
        # What wraps the SDK asks again as it makes the span: only these give the same answer.
        may_travel = own or (asked and isinstance(tracer, SdkTracer))
        self.data = dump_or_none(self._sampler) if may_travel else None
        self.is_of_sdk = self._is_known = own or self.data is None

    def note_asked(self) -> None:
        """Note that the sampler was asked; the first time, see whether that has changed it."""
        if not self._is_known:
            self._is_known = True
            if dump_or_none(self._sampler) != self.data:
                self.data = None


def _sampler_of(tracer: Tracer) -> Sampler | None:
    if isinstance(tracer, SdkTracer):
        return tracer.sampler
    found = list(wrapped_by(tracer))
    return found[0].sampler if len(found) == 1 else None


def _is_of_the_sdk(sampler: object) -> bool:
    """Return whether a sampler is one of the SDK's that answers alike whenever it is asked."""
    if isinstance(sampler, ParentBased) and type(sampler).__module__ == _SDK:
        return all(map(_is_of_the_sdk, vars(sampler).values()))
    return type(sampler) in _BASIC
