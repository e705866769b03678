"""Which of the application's samplers are asked in workers, where the spans of steps begin.

There `span.is_recording()` is the sampler's answer, and a span that it leaves out costs nothing.
It is asked about each span once. A sampler of the SDK's own goes along with each run. Any other one
does if it pickles and being asked about the run's first attempt did not change it: one that counts
or limits has a state that all spans must share, and so stays in the run's process, as one does that
cannot travel. It is asked there when a span arrives, and the span records until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import ParentBased, StaticSampler, TraceIdRatioBased

from dotflow.workers.pickling import dump_or_none
from dotflow_otel.spans.sdk_tracer import wrapped_by

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Tracer

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
