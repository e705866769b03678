"""A meter provider of our own for one reader, never set globally, and ended in time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from dotflow.core.arguments import check_instance, strict_arguments
from dotflow_otel import conventions as names
from dotflow_otel._process import TIMEOUT, TimedCall, at_exit, reset_in_children, service_resource
from dotflow_otel.metrics.errors import check_buckets
from dotflow_otel.metrics.instruments_otel import ADVISES_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger: Final = logging.getLogger("dotflow_otel")


class OwnMeterProvider:
    """Makes a meter provider, and ends it: at exit by itself, or on call.

    Attributes:
        bound: Seconds that the exit may take for its sake.

    Args:
        reader: What takes the metrics out.
        service_name: The `service.name` of its resource; it stands over the variables.
        buckets: The upper bounds of our histograms, in seconds.
        timeout: Seconds that flushing and ending may take, whatever the backend does.

    Raises:
        InvalidOption: The reader is none.
    """

    def __init__(
        self,
        reader: MetricReader,
        service_name: str | None = None,
        buckets: Sequence[float] = names.BUCKETS,
        timeout: float = TIMEOUT,
    ) -> None:
        hint = "give a metric reader of the OpenTelemetry SDK"
        check_instance("reader", reader, MetricReader, hint)
        # Its own handler at exit would wait for a backend that does not answer.
        self.provider: Final = MeterProvider(
            [reader],
            service_resource(service_name),
            shutdown_on_exit=False,
            views=histogram_views(buckets),
        )
        reset_in_children(self.provider)
        self.bound: Final = timeout
        self._end = TimedCall(self.provider.shutdown, "dotflow-metrics-end")
        self._ended = False
        at_exit.add(self)

    def flush(self, timeout: float | None = None) -> bool:
        """Hand what was measured to the backend; return whether that ended in time.

        Args:
            timeout: Seconds; None: what was given at first.
        """
        if self._ended:
            return True
        flushing = TimedCall(self.provider.force_flush, "dotflow-metrics-flush")
        return flushing.call(self.bound if timeout is None else timeout)

    def shutdown(self, timeout: float | None = None) -> bool:
        """Flush, and end for good; return whether that ended in time.

        Args:
            timeout: Seconds; None: what was given at first.
        """
        seconds = self.bound if timeout is None else timeout
        self.ask_to_end()
        return self._ended_within(seconds, seconds)

    def ask_to_end(self) -> None:
        """Ask the provider to end; do not wait."""
        at_exit.remove(self)
        self._ended = True
        self._end.ask()

    def end_within(self, seconds: float) -> bool:
        """Wait for the end within the bound of an exit; return whether that came in time."""
        return self._ended_within(seconds, self.bound)

    def _ended_within(self, seconds: float, reported: float) -> bool:
        ended = self._end.wait(seconds)
        if not ended:
            _logger.warning("metrics were not delivered within %g s; the rest is dropped", reported)
        return ended


@strict_arguments
def histogram_views(buckets: Sequence[float] = names.BUCKETS) -> list[View]:
    """Return the views that a meter provider needs for our buckets, in seconds.

    There are none where the API is new enough for the instruments themselves to ask for their
    buckets.

    Raises:
        InvalidOption: The buckets do not rise.
    """
    check_buckets(buckets)
    if ADVISES_BUCKETS:
        return []
    aggregation = ExplicitBucketHistogramAggregation(tuple(buckets))
    return [
        View(instrument_name=metric.otel_name, aggregation=aggregation)
        for metric in names.METRICS
        if metric.kind == names.HISTOGRAM
    ]
