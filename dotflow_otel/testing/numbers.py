"""The part of a recording that is about metrics: what a registry holds, and its ledger.

The ledger balances where what started has ended, and the spans say the same.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import CollectorRegistry

from dotflow.core.arguments import check_instance, check_text, strict_arguments
from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names
from dotflow_otel.testing.failures import block, facts, near, or_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric

    from dotflow_otel.testing.spans import RecordedSpan


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
        """Return the samples of a name that have these labels.

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
    """Return whether the sum of several series of a metric means something."""
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
        """Return a metric's value: the sum of the series that have these labels, 0 if none has.

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
        """Return the latest exemplar of a counter, or of a histogram's buckets.

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


_Key = tuple[str, ...]
_Terms = tuple[tuple[str, float], ...]
_DURATIONS: Final = "_count"


class Equation(NamedTuple):
    """Two sums that must be the same.

    Attributes:
        about: What is counted.
        left: Names and values of what is summed up.
        right: Likewise.
    """

    about: str
    left: _Terms
    right: _Terms

    @property
    def holds(self) -> bool:
        """Whether the two are the same."""
        return sum(value for _, value in self.left) == sum(value for _, value in self.right)

    def __str__(self) -> str:
        return f"{self.about}: {_written(self.left)} != {_written(self.right)}"


def imbalance(samples: Iterable[Sample], spans: Iterable[RecordedSpan]) -> str | None:
    """Return which equations do not hold; None where all do."""
    ledger = _Ledger(samples)
    equations = (*ledger.of_runs(), *ledger.of_tasks(), *_across(ledger, tuple(spans)))
    wrong = [str(equation) for equation in equations if not equation.holds]
    return block("the ledger does not balance:", "\n".join(wrong)) if wrong else None


class _Ledger:
    """Sums of the counters, by workflow and mode and by workflow and task."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._sums: dict[str, Counter[_Key]] = {}
        for sample in samples:
            key = _key_of(sample)
            name = f"{sample.name} {sample.labels.get('status', '')}".rstrip()
            self._sums.setdefault(name, Counter())[key] += sample.value  # type: ignore[assignment]

    def total(self, metric: names.Metric) -> float:
        return self._of(metric.name).total()

    def of_runs(self) -> Iterator[Equation]:
        for key in self._keys(
            names.WORKFLOW_STARTED, names.WORKFLOW_COMPLETED, names.WORKFLOW_FAILED
        ):
            yield from self._equations(
                f"runs of {key[0]} ({key[1]})",
                key,
                names.WORKFLOW_STARTED,
                (names.WORKFLOW_COMPLETED, names.WORKFLOW_FAILED),
                names.WORKFLOW_IN_PROGRESS,
                names.WORKFLOW_DURATION,
            )

    def of_tasks(self) -> Iterator[Equation]:
        for key in self._keys(names.TASK_STARTED, names.TASK_COMPLETED, names.TASK_FAILED):
            yield from self._equations(
                f"task {key[1]} of {key[0]}",
                key,
                names.TASK_STARTED,
                (names.TASK_COMPLETED, names.TASK_FAILED),
                names.TASK_IN_PROGRESS,
                names.TASK_DURATION,
            )

    def _equations(
        self,
        about: str,
        key: _Key,
        started: names.Metric,
        ended: tuple[names.Metric, names.Metric],
        in_progress: names.Metric,
        durations: names.Metric,
    ) -> Iterator[Equation]:
        ends = tuple(
            (status, self._of(metric.name)[key])
            for status, metric in zip((names.COMPLETED, names.FAILED), ended, strict=True)
        )
        yield Equation(about, (("started", self._of(started.name)[key]),), ends)
        going_on = self._of(in_progress.name)[key]
        yield Equation(about, (("in progress", going_on),), (("expected", 0),))
        for status, count in ends:
            measured = self._of(f"{durations.name}{_DURATIONS} {status}")[key]
            yield Equation(about, (("durations", measured),), ((status, count),))

    def _keys(self, *counted: names.Metric) -> Sequence[_Key]:
        # What ended and never began has no series of starts.
        return sorted({key for metric in counted for key in self._of(metric.name)})

    def _of(self, name: str) -> Counter[_Key]:
        return self._sums.get(name, Counter())


def _across(ledger: _Ledger, spans: tuple[RecordedSpan, ...]) -> Iterator[Equation]:
    runs = [span for span in spans if names.WORKFLOW_TASK_COUNT in span.attributes]
    # A run that was lost started in another process, whose counts went with it.
    lost = {
        _run_of(span) for span in runs if span.attributes.get(names.ERROR_TYPE) == names.RUN_LOST
    }
    if lost:
        counted = ledger.total(names.WORKFLOW_LOST)
        yield Equation("lost runs", (("lost", counted),), (("workflow spans", len(lost)),))
        spans = tuple(span for span in spans if _run_of(span) not in lost)
        runs = [span for span in runs if _run_of(span) not in lost]
    started_runs = ledger.total(names.WORKFLOW_STARTED)
    # Where spans or metrics go elsewhere, there is nothing to compare.
    if not runs or not started_runs:
        return
    yield Equation("runs", (("started", started_runs),), (("workflow spans", len(runs)),))
    planned = sum(span.attributes[names.WORKFLOW_TASK_COUNT] for span in runs)
    started = ledger.total(names.TASK_STARTED)
    restored = ledger.total(names.TASK_RESTORED_TOTAL)
    skipped = ledger.total(names.TASK_SKIPPED)
    ways = (("started", started), ("restored", restored), ("skipped", skipped))
    yield Equation("tasks of all runs", (("planned", planned),), ways)
    tasks = [span for span in spans if names.TASK_ATTEMPTS in span.attributes]
    seen = (("started", started), ("restored", restored))
    yield Equation("tasks", (("task spans", len(tasks)),), seen)
    attempts = sum(span.attributes[names.TASK_ATTEMPTS] for span in tasks)
    tried = (("started", started), ("retried", ledger.total(names.TASK_RETRIED)))
    yield Equation("attempts", (("attempts in task spans", attempts),), tried)


def _run_of(span: RecordedSpan) -> _Key:
    return span.trace_id, str(span.attributes.get(names.WORKFLOW_ID, ""))


def _key_of(sample: Sample) -> _Key:
    labels = sample.labels
    return labels.get("workflow", ""), labels.get("mode", labels.get("task", ""))


def _written(terms: _Terms) -> str:
    return " + ".join(f"{name} {value:g}" for name, value in terms)
