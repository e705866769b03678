"""Takes the picture of the README: Prometheus' own page, with the weather pipeline's data.

    make pictures

A Prometheus of its own scrapes the pipeline while it runs again and again; a browser without a
window then opens the graph page. Both are ended with it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest
import weather
from backends.prometheus import Prometheus
from needed import tool
from prometheus_client import CollectorRegistry

from dotflow import DotFlow
from dotflow_otel import LogStructlog, observe, serve_metrics

PICTURE: Final = Path(__file__).parents[2] / "grafana" / "pictures" / "prometheus.png"

# Seconds of each second that each task works: where the pipeline's time goes.
QUERY: Final = 'sum by (task) (rate(dotflow_task_duration_seconds_sum{workflow="weather"}[10s]))'
GRAPH: Final = {"expr": QUERY, "tab": 0, "stacked": 1, "range_input": "40s", "step_input": 1}
SECONDS: Final = 52.0  # the range, a rate before it begins, and a little more

# Nothing of it goes to the network: it opens the page on loopback, and asks nobody for updates.
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=15000",  # milliseconds for the page to draw itself
    "--window-size=1100,872",
)


def main() -> None:
    """Run, and take the picture."""
    registry = CollectorRegistry()
    try:
        chromium = tool("Chromium", shutil.which("chromium"), "apt-get install chromium")
        with (
            tempfile.TemporaryDirectory() as folder,
            serve_metrics(0, registry=registry) as server,
            Prometheus(Path(folder), interval="500ms") as prometheus,
        ):
            prometheus.scrape(server.url, "weather")
            run_for(SECONDS, registry)
            page = urlencode({f"g0.{name}": value for name, value in GRAPH.items()})
            photograph(chromium, f"{prometheus.url}/graph?{page}")
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(f"no picture: {missing}")


def run_for(seconds: float, registry: CollectorRegistry) -> None:
    """Run the weather pipeline again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            log = LogStructlog(output="file", path=folder / "weather.log", format="json")
            job = weather.Job(folder, observe("weather", registry=registry, log=log))
            flow = DotFlow(config=job.config, name="weather")
            steps = [weather.read, weather.validate, weather.aggregate, weather.load]
            flow.task.add([*steps, weather.publish], initial_context=job)
            flow.start()
            log.close()


def photograph(chromium: str, url: str) -> None:
    """Open a page and save what it shows."""
    with tempfile.TemporaryDirectory() as profile:
        paths = (f"--user-data-dir={profile}", f"--screenshot={PICTURE}")
        subprocess.run(
            [chromium, *FLAGS, *paths, url], timeout=90, check=True, stderr=subprocess.DEVNULL
        )


if __name__ == "__main__":
    main()
