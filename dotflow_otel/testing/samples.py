"""What a registry of prometheus-client holds at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.checks import check_text
from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names
from dotflow_otel.testing.failures import near, or_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

_SUFFIXES: Final = {
    "counter": ("_total",),
    "histogram": ("_count", "_sum", "_bucket"),
    "summary": ("_count", "_sum", ""),
    "info": ("_info",),
}
_CREATED: Final = "_created"
_BUCKET: Final = "_bucket"
_TABLE: Final = {metric.name: metric for metric in names.METRICS}


class Exemplar(NamedTuple):
    """The trace that a value of a metric leads to.

    Attributes:
        trace_id: 32 digits in hex.
        span_id: 16 digits in hex.
        value: What was counted or measured then.
        timestamp: Seconds since the epoch.
    """

    trace_id: str
    span_id: str
    value: float
    timestamp: float


class Sample(NamedTuple):
    """One value of one series.

    Attributes:
        name: With its suffix, as `dotflow_task_duration_seconds_count`.
        labels: By name.
        value: The value.
        adds_up: Whether it counts from 0 on, so that a difference tells what was added.
        exemplar: If it has one.
    """

    name: str
    labels: Mapping[str, str]
    value: float
    adds_up: bool = False
    exemplar: Exemplar | None = None

    @property
    def key(self) -> str:
        """The series as Prometheus writes it, its labels sorted."""
        inside = ",".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()))
        return f"{self.name}{{{inside}}}" if inside else self.name

    @property
    def is_bucket(self) -> bool:
        """Whether it is one of a histogram's buckets."""
        return self.name.endswith(_BUCKET) and "le" in self.labels


class Samples:
    """All samples of a registry at one moment, and the names that can be asked for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        families = list(registry.collect())
        self._kinds = {family.name: family.type for family in families}
        self.names = {f"{family.name}{end}" for family in families for end in _ends(family)}
        self.all = tuple(sample for family in families for sample in _samples(family))

    def select(self, name: str, labels: Mapping[str, object]) -> list[Sample]:
        """Give the samples of a name that have these labels.

        Raises:
            InvalidOption: There is no metric of the name, or no such label on it.
        """
        check_text("metric", name)
        if name not in self.names:
            raise InvalidOption("metric", name, self._other_names(name))
        of_name = [sample for sample in self.all if sample.name == name]
        known = _labels_of(name, of_name)
        for label in labels:
            if known is not None and label not in known:
                expected = f"{name} has {_these(known)}"
                raise InvalidOption("label", label, expected)
        wanted = {label: str(value) for label, value in labels.items()}
        return [sample for sample in of_name if wanted.items() <= sample.labels.items()]

    def _other_names(self, name: str) -> str:
        kind = self._kinds.get(name.removesuffix("_total"), "")
        if kind in _SUFFIXES:
            ends = [f"{name.removesuffix('_total')}{end}" for end in _SUFFIXES[kind]]
            return f"it is a {kind}; ask for {or_list(ends)}"
        close = near(name, self.names)
        hint = f"near are {', '.join(close)}" if close else "`metrics()` gives them all"
        return f"there is no such metric; {hint}"


def sums_up(name: str) -> bool:
    """Tell whether the sum of several series of a metric means something."""
    metric = _TABLE.get(name)
    return metric is None or metric.kind != names.GAUGE or metric.across == "livesum"


def _these(labels: tuple[str, ...]) -> str:
    return f"the labels {', '.join(labels)}" if labels else "no labels"


def _ends(family: Metric) -> tuple[str, ...]:
    return _SUFFIXES.get(family.type, ("",))


def _samples(family: Metric) -> Iterator[Sample]:
    adds_up = family.type in {"counter", "histogram", "summary"}
    for sample in family.samples:
        if adds_up and sample.name.endswith(_CREATED):
            continue
        exemplar = None
        if sample.exemplar is not None:
            ids = sample.exemplar.labels
            exemplar = Exemplar(
                ids.get(names.TRACE_ID, ""),
                ids.get(names.SPAN_ID, ""),
                sample.exemplar.value,
                float(sample.exemplar.timestamp or 0),
            )
        yield Sample(sample.name, dict(sample.labels), float(sample.value), adds_up, exemplar)


def _labels_of(name: str, samples: list[Sample]) -> tuple[str, ...] | None:
    for end in ("", *_SUFFIXES["histogram"]):
        metric = _TABLE.get(name.removesuffix(end))
        if metric is not None:
            return (*metric.labels, "le") if end == _BUCKET else metric.labels
    # Of a metric that is not in the table the labels are known once it has a series.
    return tuple(samples[0].labels) if samples else None
