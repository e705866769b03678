"""The part of a recording that is about metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from dotflow.core.checks import check_instance, check_text
from dotflow.core.exception import InvalidOption
from dotflow.core.signatures import strict_arguments
from dotflow_otel.testing.failures import block, facts
from dotflow_otel.testing.samples import Exemplar, Sample, Samples, sums_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class MetricsSnapshot(Mapping[str, float]):
    """Values by series, as `{'dotflow_workers_busy': 1.0}`. It does not change any more.

    Labels are sorted; buckets are left out. `after - before` gives what was added to counters
    and histograms and how far gauges moved, of those series alone that differ.

    Args:
        values: By series.

    Raises:
        InvalidOption: `values` is no mapping.
    """

    @strict_arguments
    def __init__(self, values: Mapping[str, float]) -> None:
        check_instance("values", values, Mapping, "give a dict of values by series")
        self._values = dict(sorted(values.items()))

    def __getitem__(self, series: str) -> float:
        return self._values[series]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __sub__(self, before: Mapping[str, float]) -> MetricsSnapshot:
        if not isinstance(before, Mapping):
            return NotImplemented
        moved = {name: value - before.get(name, 0.0) for name, value in self.items()}
        return MetricsSnapshot({name: value for name, value in moved.items() if value})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"

    def __str__(self) -> str:
        return "\n".join(f"{name} {value:g}" for name, value in self.items())


class MetricsReader:
    """Reads metrics back. What was in the registry before the recording does not count.

    Args:
        registry: Where they are; None: one of its own.

    Attributes:
        registry: Where the metrics are.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._take_baseline()

    def _take_baseline(self) -> None:
        samples = Samples(self.registry).all
        self._before = {sample.key: sample.value for sample in samples if sample.adds_up}
        self._since = time.time()

    def metric(self, name: str, /, **labels: object) -> float:
        """Give a metric's value: the sum of the series that have these labels, 0 if none has.

        Args:
            name: As Prometheus knows it; of histograms with `_count`, `_sum` or `_bucket`.
            **labels: The values of some or all of its labels.

        Raises:
            InvalidOption: There is no such metric or label, or the sum of the series that
                fit means nothing, as that of times.
        """
        found = self._select(name, labels)
        if len(found) > 1 and not sums_up(name):
            series = ", ".join(sample.key for sample in found)
            raise InvalidOption("metric", name, f"give labels that choose one of {series}")
        return sum((sample.value for sample in found), 0.0)

    def metrics(self, prefix: str = "") -> MetricsSnapshot:
        """Return all values at this moment.

        Args:
            prefix: What the names begin with.

        Raises:
            InvalidOption: `prefix` is no text.
        """
        check_text("prefix", prefix, blank=True)
        samples = self._counted(Samples(self.registry).all)
        return MetricsSnapshot(
            {
                sample.key: sample.value
                for sample in samples
                if sample.name.startswith(prefix) and not sample.is_bucket
            }
        )

    def exemplar(self, name: str, /, **labels: object) -> Exemplar:
        """Give the latest exemplar of a counter, or of a histogram's buckets.

        Args:
            name: The metric; of histograms without a suffix, or with `_bucket`.
            **labels: The values of some or all of its labels.

        Raises:
            AssertionError: None of the series that fit has one.
            InvalidOption: There is no such metric or label.
        """
        __tracebackhide__ = True
        samples = Samples(self.registry)
        bucket = f"{name}_bucket"
        found = samples.select(bucket if bucket in samples.names else name, labels)
        exemplars = [sample.exemplar for sample in found if sample.exemplar is not None]
        recent = [exemplar for exemplar in exemplars if exemplar.timestamp >= self._since]
        if recent:
            return max(recent, key=lambda exemplar: exemplar.timestamp)
        asked = f"{name} with {facts(labels)}" if labels else name
        series = [f"{sample.key} {sample.value:g}" for sample in found if sample.value]
        raise AssertionError(
            block(f"no exemplar of {asked}; series that fit:", "\n".join(series) or "none")
        )

    def _select(self, name: str, labels: Mapping[str, Any]) -> list[Sample]:
        return list(self._counted(Samples(self.registry).select(name, labels)))

    def _counted(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            yield sample._replace(value=sample.value - self._before.get(sample.key, 0.0))
