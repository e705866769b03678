"""Every example runs as a newcomer would run it, and shows what it promises."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

PRINTED = {
    "first.py": "[[12.8, 10.6, 11.7], 11.7]\n",
    "parallel.py": "2012 366\n2013 365\n2014 365\n2015 365\n",
    "resume.py": (
        "reading orders\n"
        "['Completed', 'Failed']\n"
        "['Completed', 'Completed']\n"
        "[[10, 20, 30], [9.0, 18.0, 27.0]]\n"
    ),
}


def run(name: str, folder: Path, *arguments: str) -> str:
    """Run an example in a folder; give what it prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PRINTED)
def test_example_prints(name: str, tmp_path: Path) -> None:
    """An example prints exactly what it is said to."""
    assert run(name, tmp_path) == PRINTED[name]


def test_telemetry_example(tmp_path: Path) -> None:
    """The metrics that the example fetched over HTTP tell of its one task."""
    expected = 'dotflow_task_completed_total{task="charge",workflow="billing"} 1.0'
    assert expected in run("telemetry.py", tmp_path).splitlines()


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Run the demo once, for all tests of it."""
    folder = tmp_path_factory.mktemp("weather")
    return run("weather.py", folder, str(folder)), folder


def test_demo_reads_all_days(weather: tuple[str, Path]) -> None:
    """All 1,461 days are kept and 48 months end in the database, their days all told."""
    output, folder = weather
    assert output.startswith("1,461 days kept, 0 rows rejected.")
    (database,) = folder.rglob("*.db")
    with sqlite3.connect(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert "months" in {name for (name,) in tables}
        assert connection.execute("SELECT count(*) FROM months").fetchone() == (48,)
    connection.close()


def test_demo_shows_the_waterfall(weather: tuple[str, Path]) -> None:
    """The trace has both runs, their tasks, a step's own span and the two failed attempts."""
    output, _ = weather
    names = [line.strip() for line in output.splitlines()]
    for name in ("workflow weather", "workflow months", "task load", "insert months"):
        assert sum(line.startswith(name) for line in names) == 1, name
    assert sum(line.startswith("task by_month") for line in names) == 4
    assert sum(bool(re.match(r"attempt \d failed", line)) for line in names) == 2


def test_demo_shows_metrics_and_logs(weather: tuple[str, Path]) -> None:
    """Metrics come from a real endpoint on loopback; logs carry the trace's id."""
    output, _ = weather
    assert re.search(r"GET http://127\.0\.0\.1:\d+/metrics", output)
    assert 'dotflow_workflow_completed_total{mode="sequential",workflow="weather"} 1.0' in output
    (trace,) = re.findall(r"^Trace  ([0-9a-f]{32}),", output, re.MULTILINE)
    assert output.count(f'trace_id="{trace}"') >= 3
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo" in output
