"""The schedule of `examples/schedule`, killed and watched: with a real Prometheus and OTLP.

It ticks each second here, as its expression has six fields, and not each quarter of an hour.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.request import urlopen

import pytest
import yaml
from backends.ports import free_port
from backends.prometheus import Prometheus
from backends.promtool import promtool
from backends.service import ROOT
from backends.waiting import PATIENCE, eventually
from http_target import HttpTarget
from prometheus_client.parser import text_string_to_metric_families
from wire.receivers import OwnReceiver
from wire.spans import Node, boolean, roots, string

from dotflow.providers.cron import next_tick
from dotflow_otel import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEDULE: Final = ROOT / "examples" / "schedule"
RULES: Final = sorted((ROOT / "grafana" / "rules").glob("*.yml"))
EACH_SECOND: Final = "* * * * * *"
# So that a busy machine is not late for a whole tick.
EACH_OTHER_SECOND: Final = "* * * * * */2"
# Within so many seconds a run has to complete here; the example's own rule says 40 minutes.
PERIOD: Final = 4
PRICES: Final = {"apples": 0.5}
LAST_SUCCESS: Final = "job_workflow:dotflow_workflow_last_success_timestamp_seconds:max"


class Billing:
    """The program, while it is entered.

    Args:
        folder: Its folder.
        prices: Tells it the prices.
        **variables: What is added to its environment.

    Attributes:
        prices: As given.
    """

    def __init__(self, folder: Path, prices: HttpTarget, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.prices = prices
        self._folder = folder
        self._log = folder / f"log{len(list(folder.glob('log*')))}"
        self._variables = {
            "PYTHONPATH": str(ROOT),
            "CRON": EACH_SECOND,
            "METRICS": "127.0.0.1:0",
            "PRICES": f"http://{prices.host}/prices.json",
            "OTEL_TRACES_EXPORTER": "none",
            **variables,
        }

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, SCHEDULE / "billing.py", self._folder],
                env={**os.environ, **self._variables},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    @cached_property
    def url(self) -> str:
        """Where its metrics are, once it tells."""
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip().rpartition(" ")[2]
        assert url.startswith("http"), self._log.read_text()
        return url

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, number: int) -> bool:
        """Send it a signal; return whether it has ended."""
        self._process.send_signal(number)
        return self._process.poll() is not None

    def code(self) -> int:
        """Wait for its end; return its exit code."""
        return self._process.wait(PATIENCE)

    def events(self) -> list[tuple[str, str | None]]:
        """Return what it has logged of runs and tasks, in order."""
        lines = self._log.read_text("utf-8").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [(event["event"], event.get("task")) for event in events]

    def await_counted(self, name: str, count: int) -> None:
        """Wait until a counter has come so far."""
        eventually(lambda: self.counted(name) >= count, f"{count} of {name}")

    def counted(self, name: str) -> float:
        """Return a counter, summed over its labels."""
        with urlopen(self.url, timeout=PATIENCE) as page:  # noqa: S310 - on loopback
            families = list(text_string_to_metric_families(page.read().decode()))
        return sum(
            sample.value for family in families for sample in family.samples if sample.name == name
        )


@pytest.fixture
def prices() -> Iterator[HttpTarget]:
    """Return what tells the prices."""
    with HttpTarget(PRICES) as target:
        yield target


@pytest.fixture
def receiver() -> Iterator[OwnReceiver]:
    """Return a receiver of OTLP."""
    with OwnReceiver() as receiver:
        yield receiver


def order(folder: Path, name: str) -> None:
    """Order something."""
    (folder / "orders").mkdir(parents=True, exist_ok=True)
    content = {"customer": "ada", "article": "apples", "count": 3}
    # Whole at once, for a run may read it at any moment.
    whole = folder / f"{name}.new"
    whole.write_text(json.dumps(content))
    whole.rename(folder / "orders" / f"{name}.json")


def bills(folder: Path) -> dict[str, float]:
    """Return what is due, by the order."""
    found = sorted((folder / "bills").glob("*.json"))
    return {path.stem: json.loads(path.read_text())["due"] for path in found}


def sent(receiver: OwnReceiver) -> dict[str, str]:
    """Return the variables by which a program sends to a receiver, soon."""
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint("http/protobuf"),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


def recorded(folder: Path) -> list[str]:
    """Return the names of the spans that the history has of the last run."""
    with History(folder / "history.db") as history:
        return [span.name for span in history.spans(history.runs(limit=1)[0])]


def runs_in(receiver: OwnReceiver, requests: list[Any], least: int) -> list[Node]:
    """Return the spans of the runs that have come, in order, once there are so many; else none.

    Args:
        receiver: Where they come.
        requests: What has come so far; what comes is added.
        least: How many there have to be.
    """
    requests.extend(receiver.take().traces)
    nodes = [node for root in roots(requests) for node in root.walk()]
    runs = [node for node in nodes if node.name == "workflow billing"]
    return runs if len(runs) >= least else []


# --- restarts ----------------------------------------------------------------------------

WHOLE: Final = [
    ("workflow.started", None),
    ("task.started", "collect"),
    ("task.completed", "collect"),
    ("task.started", "price"),
    ("task.completed", "price"),
    ("task.started", "bill"),
    ("task.completed", "bill"),
    ("workflow.completed", None),
]
RESUMED: Final = [WHOLE[0], ("task.restored", "collect"), *WHOLE[3:]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_a_run_that_was_cut_short_is_resumed(
    number: int, tmp_path: Path, prices: HttpTarget, receiver: OwnReceiver
) -> None:
    """The next process goes on where a killed one was, and then bills what was ordered since.

    SIGKILL ends it so, and SIGTERM that comes again and again.
    """
    order(tmp_path, "first")
    prices.go.clear()
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint("http/protobuf")}
    with Billing(tmp_path, prices, OTEL_TRACES_EXPORTER="otlp", **endpoint) as killed:
        assert prices.arrived.wait(PATIENCE)
        order(tmp_path, "second")
        # What is written some 50 ms later is there for the next process.
        eventually(lambda: "attempt" in recorded(tmp_path), "the history")
        eventually(lambda: killed.send(number), "its end")
        assert killed.code() == -number
    assert killed.events() == WHOLE[:4]
    assert bills(tmp_path) == {}

    prices.go.set()
    with Billing(tmp_path, prices, **sent(receiver)) as restarted:
        eventually(lambda: len(bills(tmp_path)) == 2, "all bills")
        assert restarted.counted("dotflow_task_restored_total") == 1
        restarted.await_counted("dotflow_workflow_lost_total", 1)
        requests: list[Any] = []
        runs = eventually(lambda: runs_in(receiver, requests, 3), "three runs")
        restarted.send(signal.SIGTERM)
        assert restarted.code() == 128 + signal.SIGTERM
    assert bills(tmp_path) == {"first": 1.5, "second": 1.5}
    events = [event for event in restarted.events() if event[0] != "workflow.lost"]
    assert events[:15] == [*RESUMED, *WHOLE]

    lost, resumed, following, *_ = runs
    # What its tick's span was below is gone with the process; the run is sent by the next one.
    assert lost.outline() == ("workflow billing", ["task collect", ("task price", ["attempt"])])
    assert lost.attributes["error.type"] == string("run_lost")
    assert [task.name for task in resumed.children] == ["task collect", "task price", "task bill"]
    assert resumed.children[0].attributes["dotflow.task.restored"] == boolean(True)
    (link,) = resumed.span.links
    assert link.span_id == lost.span.span_id
    assert not following.span.links


def test_sigterm_ends_the_run_first(
    tmp_path: Path, prices: HttpTarget, receiver: OwnReceiver
) -> None:
    """At SIGTERM the run that goes on ends, no other begins, and its trace is delivered."""
    order(tmp_path, "first")
    prices.go.clear()
    with Billing(tmp_path, prices, **sent(receiver)) as ended:
        assert prices.arrived.wait(PATIENCE)
        order(tmp_path, "second")
        assert not ended.send(signal.SIGTERM)
        prices.go.set()
        assert ended.code() == 128 + signal.SIGTERM
    assert ended.events() == WHOLE
    assert bills(tmp_path) == {"first": 1.5}
    ran = [tick for tick in roots(receiver.take().traces) if tick.children]
    assert [tick.outline() for tick in ran] == [
        (
            "tick billing",
            [("workflow billing", ["task collect", ("task price", ["attempt"]), "task bill"])],
        )
    ]

    with Billing(tmp_path, prices) as restarted:
        eventually(lambda: restarted.events()[:8] == WHOLE, "a whole run")
    assert bills(tmp_path) == {"first": 1.5, "second": 1.5}


# --- a tick during a run -----------------------------------------------------------------


def test_overlap(tmp_path: Path, receiver: OwnReceiver) -> None:
    """Of the ticks during a run `skip` runs none, `queue` one right after, `parallel` each."""
    policies = ("skip", "queue", "parallel")
    with ExitStack() as entered:
        skip, queue, parallel = programs = [
            entered.enter_context(held(tmp_path / policy, policy, receiver)) for policy in policies
        ]
        for program in (skip, queue):
            program.await_counted("dotflow_tick_skipped_total", 1)
        parallel.await_counted("dotflow_tick_fired_total", 3)
        for program in (skip, queue):
            assert program.counted("dotflow_workflow_started_total") == 1
        for program in programs:
            program.prices.go.set()
        queue.await_counted("dotflow_workflow_completed_total", 2)
        for program in programs:
            program.send(signal.SIGTERM)
        assert [program.code() for program in programs] == [128 + signal.SIGTERM] * 3
    found = roots(receiver.take().traces)

    first, dropped, *_ = ticks_of(found, "skip")
    assert (len(first.children), reason(dropped)) == (1, "overlap")

    first, waited, dropped, *_ = ticks_of(found, "queue")
    assert (len(first.children), reason(dropped)) == (1, "overlap")
    assert waited.children[0].span.start_time_unix_nano >= first.span.end_time_unix_nano

    at_once = ticks_of(found, "parallel")[:3]
    runs = [run for tick in at_once for run in tick.children]
    assert len(runs) == 3
    begun, ended = zip(
        *((run.span.start_time_unix_nano, run.span.end_time_unix_nano) for run in runs), strict=True
    )
    assert max(begun) < min(ended)


@contextmanager
def held(folder: Path, policy: str, receiver: OwnReceiver) -> Iterator[Billing]:
    """Run the program with a policy; its runs wait for the prices."""
    order(folder, "first")
    variables = {"OVERLAP": policy, "OTEL_RESOURCE_ATTRIBUTES": f"overlap={policy}"}
    with HttpTarget(PRICES) as prices:
        prices.go.clear()
        with Billing(
            folder, prices, CRON=EACH_OTHER_SECOND, **variables, **sent(receiver)
        ) as program:
            yield program


def ticks_of(found: list[Node], policy: str) -> list[Node]:
    """Return the spans of a program's ticks, in the order in which they were due."""
    own = [tick for tick in found if tick.resource["overlap"] == string(policy)]
    return sorted(own, key=lambda tick: str(tick.attributes["dotflow.tick.due"].value))


def reason(tick: Node) -> str:
    """Return why a tick was skipped."""
    return str(tick.attributes["dotflow.tick.skipped"].value)


# --- the dead man's switch ---------------------------------------------------------------


def test_the_alert(tmp_path: Path, prices: HttpTarget) -> None:
    """It fires where the process is gone and where no run completes, and ends when one does.

    The rules are the shipped ones and the example's, but for the number of seconds.
    """
    rule = yaml.safe_load((SCHEDULE / "rules.yml").read_text("utf-8"))
    rule["groups"][0]["rules"][0]["expr"] = f"vector({PERIOD})"
    own = tmp_path / "rules.yml"
    own.write_text(yaml.safe_dump(rule), "utf-8")
    address = {job: f"127.0.0.1:{free_port()}" for job in ("failing", "gone")}
    targets = {job: f"http://{each}/metrics" for job, each in address.items()}
    with (
        Prometheus(tmp_path / "prometheus", rules=[*RULES, own], targets=targets) as prometheus,
        HttpTarget(PRICES) as others,
        Billing(tmp_path / "failing", others, METRICS=address["failing"]),
    ):
        with Billing(tmp_path / "gone", prices, METRICS=address["gone"]) as gone:
            prometheus.awaited(f"count(job_workflow:dotflow_period:seconds == {PERIOD}) == 2")
            prometheus.awaited(f"count({LAST_SUCCESS} > time() - {PERIOD}) == 2")
            assert overdue(prometheus) == {}
            gone.send(signal.SIGKILL)
        others.answer = 500
        fired = eventually(lambda: len(found := overdue(prometheus)) == 2 and found, "two alerts")
        # Of the one nothing is left that could be asked for; the other is well but for its runs.
        prometheus.awaited('absent(dotflow_workflow_started_total{job="gone"})')
        prometheus.awaited('up{job="failing"} == 1')
        prometheus.awaited('dotflow_workflow_failed_total{job="failing"} > 1')

        others.answer = 200
        with Billing(tmp_path / "gone", prices, METRICS=address["gone"]):
            eventually(lambda: overdue(prometheus) == {}, "the end of both alerts")
    assert {alert["state"] for alert in fired.values()} == {"firing"}
    assert fired["gone"]["labels"] == {
        "alertname": "DotflowWorkflowOverdue",
        "job": "gone",
        "workflow": "billing",
        "severity": "critical",
    }
    summary = r"billing of (gone|failing) has not completed for \d+\.?\d*s"
    for alert in fired.values():
        assert re.fullmatch(summary, alert["annotations"]["summary"])


def overdue(prometheus: Prometheus) -> dict[str, dict[str, Any]]:
    """Return the alerts of schedules that have not completed a run, by job."""
    return {
        alert["labels"]["job"]: alert
        for alert in prometheus.alerts()
        if alert["labels"]["alertname"] == "DotflowWorkflowOverdue"
    }


# --- how it is run -----------------------------------------------------------------------


def test_the_configuration_of_prometheus(tmp_path: Path) -> None:
    """It reads the shipped rules and the example's, and scrapes where the program serves."""
    for name in ("prometheus.yml", "rules.yml"):
        shutil.copy(SCHEDULE / name, tmp_path)
    shutil.copytree(ROOT / "grafana" / "rules", tmp_path / "monitoring" / "rules")
    verdict = promtool("check", "config", tmp_path / "prometheus.yml")
    assert verdict.ok, verdict.said
    assert re.findall(r"(\d+) rules found", verdict.said)[-1:] == ["1"]
    config = yaml.safe_load((SCHEDULE / "prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "billing"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]


def test_the_manifest_of_the_deployment() -> None:
    """One pod at a time, process 1 the program itself, and what it keeps outlives it."""
    manifest = yaml.safe_load((SCHEDULE / "deployment.yaml").read_text("utf-8"))
    assert (manifest["apiVersion"], manifest["kind"]) == ("apps/v1", "Deployment")
    spec = manifest["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    labels = spec["template"]["metadata"]["labels"]
    assert labels.items() >= spec["selector"]["matchLabels"].items()
    assert labels["app.kubernetes.io/part-of"] == "dotflow"  # which the PodMonitor looks for
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "billing.py", "/billing"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/billing"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9464}]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["METRICS"] == "0.0.0.0:9464"
    assert pod["terminationGracePeriodSeconds"] == 60


def test_the_unit_of_systemd() -> None:
    """The service begins again whatever ended it, and is given time for the run that goes on."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(SCHEDULE / "billing.service")
    service = unit["Service"]
    assert (service["Restart"], service["KillMode"]) == ("always", "mixed")
    assert (service["TimeoutStopSec"], service["SuccessExitStatus"]) == ("60", "143")
    assert service["ExecStart"].endswith("billing.py /var/lib/billing")
    assert service["StateDirectory"] == "billing"


def test_the_command_of_the_readme() -> None:
    """The expression that newcomers try comes each ten seconds, as it is said there."""
    (cron,) = re.findall(r"CRON='(.+?)'", (SCHEDULE / "README.md").read_text("utf-8"))
    assert next_tick(cron, 1.0, UTC) == 10.0
