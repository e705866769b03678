"""The boards tell what happened in the time shown, whatever was scraped when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from backends.prometheus import Prometheus
from backends.promtool import backfill

from boards.queries import Queries
from dotflow_otel.conventions import TELEMETRY_DROPPED, WORKFLOW_LAST_SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MINUTE = 60
HOUR = 60 * MINUTE
_COUNTED = Queries(()).counted(TELEMETRY_DROPPED, "signal", window="1h")
_SINCE = Queries(()).since_last(WORKFLOW_LAST_SUCCESS, "workflow")

# By series: its value so many seconds ago, None where it was not scraped.
HISTORIES: dict[str, Callable[[int], float | None]] = {
    "first": lambda ago: None if ago > 20 * MINUTE else 1,
    "first, then more": lambda ago: None if ago > 40 * MINUTE else 1 if ago > 20 * MINUTE else 3,
    "as before": lambda _: 100,
    "three more": lambda ago: 100 if ago > 30 * MINUTE else 103,
    "not scraped for hours": lambda ago: None if 10 * MINUTE < ago < 5 * HOUR else 50,
    "begun anew": lambda ago: 100 if ago > 30 * MINUTE else 2,
}


# Likewise when it last succeeded, as told so many seconds ago.
SUCCESSES: dict[str, Callable[[int], float | None]] = {
    "here": lambda _: 30 * MINUTE,
    "gone": lambda ago: None if ago < 20 * MINUTE else 30 * MINUTE,
    "gone for long": lambda ago: None if ago < 3 * HOUR else 4 * HOUR,
}


class Filled(NamedTuple):
    """A Prometheus with hours of data in it, up to a moment."""

    prometheus: Prometheus
    now: int

    def ask(self, query: str, label: str) -> dict[str, float]:
        """Return the values of a query at that moment, by a label."""
        samples = self.prometheus.query(query.replace("$__range", "1h"), self.now)
        return {sample.labels[label]: sample.value for sample in samples}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Return a Prometheus that has both."""
    folder = tmp_path_factory.mktemp("counting")
    now = int(time.time()) // MINUTE * MINUTE
    with Prometheus(folder / "prometheus", data=_filled(folder, now)) as prometheus:
        yield Filled(prometheus, now)


@pytest.fixture(scope="module")
def counts(filled: Filled) -> dict[str, float]:
    """Return what is counted in the last hour, by series."""
    return filled.ask(_COUNTED, "signal")


def _filled(folder: Path, now: int) -> Path:
    lines = ["# TYPE dotflow_telemetry_dropped counter"]
    for ago in range(12 * HOUR, -1, -MINUTE):
        for name, value_of in HISTORIES.items():
            value = value_of(ago)
            if value is not None:
                lines.append(f'{TELEMETRY_DROPPED.name}{{signal="{name}"}} {value} {now - ago}')
    lines.append(f"# TYPE {WORKFLOW_LAST_SUCCESS.name} gauge")
    for ago in range(12 * HOUR, -1, -MINUTE):
        for name, success in SUCCESSES.items():
            value = success(ago)
            if value is not None:
                series = f'{WORKFLOW_LAST_SUCCESS.name}{{workflow="{name}"}}'
                lines.append(f"{series} {now - value} {now - ago}")
    return backfill("\n".join([*lines, "# EOF", ""]), folder / "data")


@pytest.mark.parametrize(
    ("history", "count"),
    [
        ("first", 1),
        ("first, then more", 3),
        ("as before", 0),
        ("three more", 3),
        ("not scraped for hours", 0),
        ("begun anew", 2),
    ],
)
def test_counted(history: str, count: float, counts: dict[str, float]) -> None:
    """A series that begins counts from 0; one that was there before, whatever gap, does not."""
    assert counts[history] == pytest.approx(count, rel=0.06)


def test_last_success_of_who_is_gone(filled: Filled) -> None:
    """A process that has ended leaves its last success behind, as far as the time shown goes."""
    assert filled.ask(_SINCE, "workflow") == {"here": 30 * MINUTE, "gone": 30 * MINUTE}
