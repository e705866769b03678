"""The boards count what happened in the time shown, whatever was scraped when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from backends.prometheus import Prometheus
from backends.promtool import backfill

from boards.queries import Queries
from dotflow_otel.conventions import TELEMETRY_DROPPED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINUTE = 60
HOUR = 60 * MINUTE
_COUNTED = Queries(()).counted(TELEMETRY_DROPPED, "signal", window="1h")

# By series: its value so many seconds ago, None where it was not scraped.
HISTORIES: dict[str, Callable[[int], float | None]] = {
    "first": lambda ago: None if ago > 20 * MINUTE else 1,
    "first, then more": lambda ago: None if ago > 40 * MINUTE else 1 if ago > 20 * MINUTE else 3,
    "as before": lambda _: 100,
    "three more": lambda ago: 100 if ago > 30 * MINUTE else 103,
    "not scraped for hours": lambda ago: None if 10 * MINUTE < ago < 5 * HOUR else 50,
    "begun anew": lambda ago: 100 if ago > 30 * MINUTE else 2,
}


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Give what is counted in the last hour, by series."""
    folder = tmp_path_factory.mktemp("counting")
    now = int(time.time()) // MINUTE * MINUTE
    with Prometheus(folder / "prometheus", data=_filled(folder, now)) as prometheus:
        samples = prometheus.query(_COUNTED, now)
    return {sample.labels["signal"]: sample.value for sample in samples}


def _filled(folder: Path, now: int) -> Path:
    lines = ["# TYPE dotflow_telemetry_dropped counter"]
    for ago in range(12 * HOUR, -1, -MINUTE):
        for name, value_of in HISTORIES.items():
            value = value_of(ago)
            if value is not None:
                lines.append(f'{TELEMETRY_DROPPED.name}{{signal="{name}"}} {value} {now - ago}')
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
