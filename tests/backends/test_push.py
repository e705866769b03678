"""A short job that pushes to a real Pushgateway, which a real Prometheus scrapes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from backends.ports import closed_port
from backends.prometheus import Prometheus
from backends.promtool import promtool
from backends.pushgateway import Pushgateway
from backends.service import PROGRAMS, ROOT
from backends.waiting import eventually

from dotflow_otel.conventions import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = sorted((ROOT / "grafana" / "rules").glob("*.yml"))


class Watched(NamedTuple):
    """A Pushgateway, and the Prometheus that scrapes it and has the shipped rules."""

    gateway: Pushgateway
    prometheus: Prometheus

    def push(self, job: str, end: str) -> None:
        """Run a job that pushes, to its end."""
        done = nightly(self.gateway.address, end, job)
        assert done.returncode == 0, done.stderr

    def failing(self) -> list[str]:
        """Return the jobs of which the shipped rules say that their last run failed."""
        alerts = [alert["labels"] for alert in self.prometheus.alerts()]
        return [each["job"] for each in alerts if each["alertname"] == "DotflowPushedRunFailed"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Return a Pushgateway that is scraped. Each test has a job of its own."""
    folder = tmp_path_factory.mktemp("watched")
    with (
        Pushgateway(folder / "pushgateway") as gateway,
        Prometheus(folder / "prometheus", rules=RULES) as prometheus,
    ):
        prometheus.scrape(f"{gateway.url}/metrics", "pushgateway", honor_labels=True)
        yield Watched(gateway, prometheus)


def nightly(address: str, end: str, job: str = "nightly") -> subprocess.CompletedProcess[str]:
    """Run a job to its end."""
    return subprocess.run(
        [sys.executable, PROGRAMS / "nightly.py", address, job, end],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_short_job(watched: Watched) -> None:
    """After the job is gone, Prometheus has what it counted, under the job's own name."""
    began = time.time()
    watched.push("short", "badly")
    watched.prometheus.awaited('dotflow_workflow_failed_total{job="short"}')

    def values(name: str, **labels: str) -> list[float]:
        matchers = ",".join(f'{label}="{value}"' for label, value in labels.items())
        samples = watched.prometheus.query(f'{name}{{job="short",{matchers}}}')
        return [sample.value for sample in samples]

    assert values("dotflow_workflow_started_total") == [1]
    assert values("dotflow_workflow_completed_total") == [0]
    assert values("dotflow_workflow_failed_total") == [1]
    assert values("dotflow_workflow_in_progress") == [0]
    assert values("dotflow_workflow_oldest_start_timestamp_seconds") == [0]
    assert values("dotflow_workflow_last_success_timestamp_seconds") == []
    assert values("dotflow_workflow_duration_seconds_count", status="failed") == [1]
    assert values("dotflow_task_started_total") == [1, 1]
    assert values("dotflow_task_completed_total", task="extract") == [1]
    assert values("dotflow_task_failed_total", task="load", error_type="ValueError") == [1]
    assert values("dotflow_task_duration_seconds_count", status="failed") == [1]
    # The text that is pushed has no exemplars.
    everything = '{job="short"}'
    assert watched.prometheus.query_exemplars(everything, began - 60, began + 60) == []


def test_a_later_job(watched: Watched) -> None:
    """A job that ends well takes the failure's place; one that fails leaves the last success."""
    name = 'dotflow_workflow_last_success_timestamp_seconds{job="later"}'
    failed = 'dotflow_workflow_failed_total{job="later"}'
    for end in ("badly", "well"):
        watched.push("later", end)
    (success,) = watched.prometheus.awaited(name)
    watched.prometheus.awaited(f"{failed} == 0")

    watched.push("later", "badly")
    watched.prometheus.awaited(f"{failed} == 1")
    assert watched.prometheus.query(name) == [success]


def test_a_failed_job_alerts_until_one_ends_well(watched: Watched) -> None:
    """The shipped rules tell of the last run of a job that is long gone."""
    watched.push("alerting", "badly")
    eventually(lambda: "alerting" in watched.failing(), "an alert")
    watched.push("alerting", "well")
    eventually(lambda: "alerting" not in watched.failing(), "the end of the alert")


def test_pushed_exposition_is_clean(watched: Watched) -> None:
    """Promtool finds nothing to complain about in what was pushed, and every family is there."""
    watched.push("clean", "well")
    lines = [line for line in watched.gateway.get("/metrics").splitlines() if "dotflow_" in line]
    verdict = promtool("check", "metrics", stdin="\n".join([*lines, ""]))
    assert (verdict.ok, verdict.said) == (True, "")
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    # A metric with no series has no line, and no run was lost.
    assert typed - {f"{name}_created" for name in typed} >= {
        metric.name for metric in METRICS if metric.name.startswith("dotflow_workflow_")
    } - {"dotflow_workflow_lost_total"}


def test_an_unreachable_gateway() -> None:
    """The error names the gateway, the job and why; the run itself has ended well."""
    with closed_port() as address:
        done = nightly(address, "well")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "PushFailed" in last
    assert address in last
    assert "nightly" in last
    assert "refused" in last


@pytest.mark.parametrize(
    ("address", "said"), [("", "gateway"), ("http://user:secret@127.0.0.1:1", "handler")]
)
def test_a_wrong_gateway(address: str, said: str) -> None:
    """An address that cannot be one is refused with what to give instead, and no password."""
    done = nightly(address, "well")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "InvalidOption" in last
    assert said in last
    assert "secret" not in done.stderr.split("Traceback")[-1].splitlines()[-1]


def test_something_else_than_a_gateway(watched: Watched) -> None:
    """A server that is no Pushgateway refuses, and the error says what it answered."""
    done = nightly(watched.prometheus.address, "well")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "PushFailed" in last
    assert watched.prometheus.address in last
