"""What a worker has recorded of an attempt, for the way back to its run."""

from __future__ import annotations

import pickle
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow_otel.spans.record import SpanRecord

# Two moments in nanoseconds since the epoch.
_TIMES: Final = Struct("=qq")


class Returned(NamedTuple):
    """What returns with an outcome.

    Attributes:
        times: When the attempt's span began and ended, where the step added nothing to it.
        own: The attempt's span, where it did.
        below: The spans that the step opened and those of its methods.
        dropped: How many more there were than the worker had room for.
        others: Late spans of other runs of the same process, each with its run.
        is_theirs: Whether the attempt's span went to a provider that the worker's owner has set.
        begun: Spans that have begun and not ended, of an attempt that goes on; the end of its own
            is 0 then.
    """

    times: tuple[int, int] | None
    own: SpanRecord | None
    below: Sequence[SpanRecord]
    dropped: int
    others: Sequence[tuple[int, SpanRecord]] = ()
    is_theirs: bool = False
    begun: Sequence[SpanRecord] = ()

    def packed(self) -> bytes:
        """Return it as bytes, to be sent."""
        if self.times is not None and not (self.below or self.dropped or self.others or self.begun):
            return _TIMES.pack(*self.times)
        return pickle.dumps(tuple(self))

    @classmethod
    def unpacked(cls, sent: bytes) -> Returned:
        """Read what was sent."""
        if len(sent) == _TIMES.size:
            return cls(_TIMES.unpack(sent), None, (), 0)
        return cls(*pickle.loads(sent))  # noqa: S301 - from a worker, as the outcome itself
