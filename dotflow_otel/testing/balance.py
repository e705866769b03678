"""The ledger of a recording: what started has ended, and the spans tell the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow_otel import conventions as names
from dotflow_otel.testing.failures import block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dotflow_otel.testing.samples import Sample
    from dotflow_otel.testing.spans import RecordedSpan

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
        return f"{self.about}: {_sum(self.left)} != {_sum(self.right)}"


def imbalance(samples: Iterable[Sample], spans: Iterable[RecordedSpan]) -> str | None:
    """Say which equations do not hold; None where all do."""
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
        for key in sorted(self._of(names.WORKFLOW_STARTED.name)):
            yield from self._equations(
                f"runs of {key[0]} ({key[1]})",
                key,
                names.WORKFLOW_STARTED,
                (names.WORKFLOW_COMPLETED, names.WORKFLOW_FAILED),
                names.WORKFLOW_IN_PROGRESS,
                names.WORKFLOW_DURATION,
            )

    def of_tasks(self) -> Iterator[Equation]:
        for key in sorted(self._of(names.TASK_STARTED.name)):
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


def _sum(terms: _Terms) -> str:
    return " + ".join(f"{name} {value:g}" for name, value in terms)
