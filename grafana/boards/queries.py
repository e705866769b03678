"""PromQL made from the table of metrics: what the table lacks cannot be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dotflow.core.exception import InvalidOption
from dotflow_otel.conventions import COUNTER, HISTOGRAM, METRICS

if TYPE_CHECKING:
    from dotflow_otel.conventions import Metric

# Windows that Grafana fills in: enough scrapes for a rate, and the time that the board shows.
RATE: Final = "$__rate_interval"
RANGE: Final = "$__range"

# What Prometheus adds to every series: the service, and which of its processes.
JOB: Final = "job"
INSTANCE: Final = "instance"

# A series that was not there for so long before a window began in it.
_ABSENT: Final = "1d"

_BUCKET: Final = "_bucket"
_LE: Final = "le"


class Queries:
    """The queries of one board, each narrowed by the board's variables.

    Args:
        multi: The labels whose variables may have several values.
        single: The labels whose variables have one.
    """

    def __init__(self, multi: tuple[str, ...], single: tuple[str, ...] = ()) -> None:
        self._multi = multi
        self._single = single

    def select(self, metric: Metric, **equal: str) -> str:
        """Return the selector of a metric's series.

        Args:
            metric: Of the table of metrics.
            equal: What further labels must be.

        Raises:
            InvalidOption: The table has no such metric, or the metric no such label.
        """
        return self._selector(metric, "", equal)

    def total(self, metric: Metric, *by: str) -> str:
        """Return the sum of a gauge's series."""
        _check(metric, by)
        return _over("sum", by, self.select(metric))

    def rate(self, metric: Metric, *by: str, window: str = RATE) -> str:
        """Return how many a second a counter counts."""
        return _over("sum", by, f"rate({self._windowed(metric, by)}[{window}])")

    def increase(self, metric: Metric, *by: str, window: str = RATE) -> str:
        """Return how many a counter counted in each window."""
        return _over("sum", by, f"increase({self._windowed(metric, by)}[{window}])")

    def counted(self, metric: Metric, *by: str, window: str = RANGE) -> str:
        """Return how many a counter counted, those included with which a series began.

        `increase` sees what is added between two scrapes; the first failure of its type makes
        a series that begins at 1, and nothing is added.
        """
        return _over("sum", by, _with_first(self._windowed(metric, by), window))

    def buckets(self, metric: Metric, window: str = RATE) -> str:
        """Return how many fell into each bucket of a histogram in each window."""
        selector = self._selector(_histogram(metric), _BUCKET, {})
        return _over("sum", (_LE,), f"increase({selector}[{window}])")

    def quantile(self, quantile: float, metric: Metric, *by: str, window: str = RATE) -> str:
        """Return a quantile of a histogram, by labels, in each window."""
        _check(metric, by)
        selector = self._selector(_histogram(metric), _BUCKET, {})
        summed = _over("sum", (_LE, *by), f"rate({selector}[{window}])")
        return f"histogram_quantile({quantile:g}, {summed})"

    def quantile_of_all(self, quantile: float, metric: Metric, *by: str) -> str:
        """Return a quantile of a histogram over the time that the board shows, from one run on."""
        _check(metric, by)
        selector = self._selector(_histogram(metric), _BUCKET, {})
        summed = _over("sum", (_LE, *by), _with_first(selector, RANGE))
        return f"histogram_quantile({quantile:g}, {summed})"

    def age(self, metric: Metric, *by: str) -> str:
        """Return the seconds since the oldest timestamp that is not 0."""
        _check(metric, by)
        return f"time() - {_over('min', by, f'{self.select(metric)} > 0')}"

    def since_last(self, metric: Metric, *by: str) -> str:
        """Return the seconds since the newest timestamp that was seen in the time shown.

        A process that has ended, or begun anew, does not have it any more.
        """
        _check(metric, by)
        seen = f"last_over_time({self.select(metric)}[{RANGE}])"
        return f"time() - {_over('max', by, f'{seen} > 0')}"

    def how_many(self, label: str, metric: Metric, *by: str) -> str:
        """Return how many values of a label the series of a metric have."""
        _check(metric, (label, *by))
        return _over("count", by, _over("count", (label, *by), self.select(metric)))

    def _windowed(self, metric: Metric, by: tuple[str, ...]) -> str:
        if metric.kind != COUNTER:
            raise InvalidOption("metric", metric.name, "a rate is made of a counter")
        _check(metric, by)
        return self.select(metric)

    def _selector(self, metric: Metric, suffix: str, equal: dict[str, str]) -> str:
        if metric not in METRICS:
            raise InvalidOption("metric", metric.name, "use one of dotflow_otel.conventions")
        has = _labels(metric)
        _check(metric, tuple(equal))
        matchers = [f'{label}="${label}"' for label in self._single if label in has]
        matchers += [f'{label}=~"${label}"' for label in self._multi if label in has]
        matchers += [f'{label}="{value}"' for label, value in equal.items()]
        braces = f"{{{','.join(matchers)}}}" if matchers else ""
        return f"{metric.name}{suffix}{braces}"


def share(part: str, *rest: str) -> str:
    """Return a part's share of itself and the rest; nothing where all are 0."""
    return portion(part, " + ".join((part, *rest)))


def portion(part: str, whole: str) -> str:
    """Return a part of a whole that holds it; nothing where the whole is 0."""
    return f"{part} / (({whole}) > 0)"


def _with_first(selector: str, window: str) -> str:
    first = (
        f"min_over_time({selector}[{window}]) "
        f"unless last_over_time({selector}[{_ABSENT}] offset {window})"
    )
    return (
        f"increase({selector}[{window}]) "
        f'or label_replace({first}, "began", "in the window", "", "")'
    )


def _over(aggregation: str, by: tuple[str, ...], expression: str) -> str:
    grouping = f" by ({', '.join(by)}) " if by else ""
    return f"{aggregation}{grouping}({expression})"


def _labels(metric: Metric) -> tuple[str, ...]:
    return (JOB, INSTANCE, *metric.labels)


def _check(metric: Metric, labels: tuple[str, ...]) -> None:
    for label in labels:
        if label not in _labels(metric):
            expected = f"{metric.name} has the labels {', '.join(_labels(metric))}"
            raise InvalidOption("label", label, expected)


def _histogram(metric: Metric) -> Metric:
    if metric.kind != HISTOGRAM:
        raise InvalidOption("metric", metric.name, "buckets are of a histogram")
    return metric
