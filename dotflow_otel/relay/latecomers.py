"""Hands over spans that come late: with an outcome of another run than their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.process import fork_safe_lock
from dotflow_otel._process import TRACES, for_each
from dotflow_otel._process import drop_counter as tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dotflow_otel.spans.record import SpanRecord

HandOver = Callable[[Sequence[Any]], object]

# A span is late by seconds, and its run has seldom so many after it by then.
_RUNS: Final = 256


class Latecomers:
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
            tally.add(TRACES, len(late))
        else:
            take(late)


latecomers: Final = Latecomers()
