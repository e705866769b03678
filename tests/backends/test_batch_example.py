"""The short job of `examples/batch`, with a real Pushgateway and a receiver of OTLP."""

from __future__ import annotations

import configparser
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from backends.ports import closed_port
from backends.pushgateway import Pushgateway
from backends.service import ROOT
from wire.receivers import OwnReceiver
from wire.spans import roots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH = ROOT / "examples" / "batch"
# A second on an idle machine; with what waits for a backend that is silent, its two seconds more.
# The SDK alone would take ten and more.
AT_ONCE, SILENT = 5.0, 7.0


class Ended(NamedTuple):
    """A job that has ended: its exit code, what it printed, and how long its exit took."""

    code: int
    printed: str
    events: list[dict[str, Any]]
    exit_seconds: float


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushgateway]:
    """Return a Pushgateway."""
    with Pushgateway(tmp_path_factory.mktemp("pushgateway")) as gateway:
        yield gateway


@pytest.fixture
def receiver() -> Iterator[OwnReceiver]:
    """Return a receiver of OTLP."""
    with OwnReceiver() as receiver:
        yield receiver


@pytest.fixture
def invoices(tmp_path: Path) -> Path:
    """Return a folder of two invoices."""
    folder = tmp_path / "invoices"
    folder.mkdir()
    for name, due in (("a", 12.5), ("b", 7.25)):
        (folder / f"{name}.json").write_text(json.dumps({"due": due}))
    return folder


def start(folder: Path, pushgateway: str, endpoint: str) -> subprocess.Popen[str]:
    """Start the job."""
    return subprocess.Popen(
        [sys.executable, BATCH / "job.py", folder],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PUSHGATEWAY": pushgateway,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(job: subprocess.Popen[str]) -> Ended:
    """Wait for the end of the job."""
    printed, errors = job.communicate(timeout=60)
    now = time.time()
    events = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    last = datetime.fromisoformat(events[-1]["timestamp"]).timestamp()
    return Ended(job.returncode, printed, events, now - last)


def run(folder: Path, gateway: Pushgateway, receiver: OwnReceiver) -> Ended:
    """Run the job to its end."""
    return ended(start(folder, gateway.address, receiver.endpoint("http/protobuf")))


def pushed(gateway: Pushgateway) -> dict[str, float]:
    """Return how many runs completed and failed, of the last job."""
    (group,) = gateway.groups()
    assert group["labels"]["job"] == "invoices"
    return {
        name: sum(float(metric["value"]) for metric in group[name]["metrics"])
        for name in ("dotflow_workflow_completed_total", "dotflow_workflow_failed_total")
    }


def test_a_run_that_completes(invoices: Path, gateway: Pushgateway, receiver: OwnReceiver) -> None:
    """It prints its result, exits at once with 0, and metrics and trace are there."""
    job = run(invoices, gateway, receiver)
    assert (job.code, job.printed) == (0, "due: 19.75\n")
    assert job.exit_seconds < AT_ONCE
    assert list(pushed(gateway).values()) == [1, 0]
    (root,) = roots(receiver.take().traces)
    assert root.outline() == ("workflow invoices", [("task read", ["attempt"]), "task add_up"])


def test_a_run_that_fails(invoices: Path, gateway: Pushgateway, receiver: OwnReceiver) -> None:
    """A file that is no invoice fails the job: exit code 1, and the failure is counted."""
    (invoices / "c.json").write_text("{")
    job = run(invoices, gateway, receiver)
    assert (job.code, job.printed) == (1, "")
    assert job.events[-1]["event"] == "workflow.failed"
    assert job.events[-1]["error_type"] == "json.decoder.JSONDecodeError"
    assert list(pushed(gateway).values()) == [0, 1]
    (root,) = roots(receiver.take().traces)
    assert (root.name, root.status[0]) == ("workflow invoices", "error")


def test_it_is_terminated(invoices: Path, gateway: Pushgateway, receiver: OwnReceiver) -> None:
    """SIGTERM in the middle of a step fails the run as interrupted, and all is delivered."""
    # The step waits to open it, until somebody writes.
    os.mkfifo(invoices / "d.json")
    job = start(invoices, gateway.address, receiver.endpoint("http/protobuf"))
    assert job.stderr is not None
    while json.loads(job.stderr.readline())["event"] != "task.started":
        pass
    with (invoices / "d.json").open("w"):  # now it reads, and waits for what is written
        job.send_signal(signal.SIGTERM)
        done = ended(job)
    assert done.code == 143
    assert done.exit_seconds < AT_ONCE
    assert done.events[-1]["event"] == "workflow.failed"
    assert list(pushed(gateway).values()) == [0, 1]
    (root,) = roots(receiver.take().traces)
    assert (root.name, root.status[0]) == ("workflow invoices", "error")


def test_backends_that_are_gone(invoices: Path) -> None:
    """Its work is done and its exit code 0 where nobody listens, in the time it allows."""
    with closed_port() as nobody:
        job = ended(start(invoices, nobody, f"http://{nobody}"))
    assert (job.code, job.printed) == (0, "due: 19.75\n")
    assert job.exit_seconds < SILENT


def test_the_manifest_of_the_cron_job() -> None:
    """It starts the job itself as process 1, one at a time, with time for its telemetry."""
    manifest = yaml.safe_load((BATCH / "cronjob.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "CronJob")
    assert manifest["spec"]["concurrencyPolicy"] == "Forbid"
    pod = manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "job.py", "/invoices"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/invoices"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > SILENT
    assert {each["name"] for each in container["env"]} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "PUSHGATEWAY",
    }


def test_the_units_of_systemd() -> None:
    """The service runs once and tells a failure by the exit code; the timer starts it."""
    service, timer = (configparser.ConfigParser(strict=False, interpolation=None) for _ in range(2))
    for parser in (service, timer):
        parser.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(BATCH / "invoices.service")
    timer.read(BATCH / "invoices.timer")
    unit = service["Service"]
    assert (unit["Type"], unit["SuccessExitStatus"]) == ("oneshot", "143")
    assert int(unit["TimeoutStopSec"]) > SILENT
    assert unit["ExecStart"].endswith("job.py /var/lib/invoices")
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"
