"""What grafana/ has for other programs: each file is checked by its own, or by its structure.

No container is started: that the images exist and do with these files what they should is not
tested here, and grafana/README.md says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from backends.promtool import amtool, promtool
from needed import tool
from wire.receivers import OwnReceiver

from dotflow_otel.conventions import METRICS, TASK_NAME, WORKFLOW_NAME

if TYPE_CHECKING:
    from wire.otlp import Received

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
DATA_SOURCES = GRAFANA / "provisioning" / "datasources" / "dotflow.yml"
PROVIDERS = GRAFANA / "provisioning" / "dashboards" / "dotflow.yml"


def read(file: Path) -> Any:
    """Read a file of YAML."""
    return yaml.safe_load(file.read_text("utf-8"))


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml."""
    found: dict[str, dict[str, Any]] = read(GRAFANA / "compose.yaml")["services"]
    return found


@pytest.fixture
def sources() -> dict[str, dict[str, Any]]:
    """The data sources, by uid."""
    return {source["uid"]: source for source in read(DATA_SOURCES)["datasources"]}


@pytest.fixture
def collector() -> dict[str, Any]:
    """The configuration of the Collector."""
    found: dict[str, Any] = read(GRAFANA / "collector.yml")
    return found


# --- by their own programs --------------------------------------------------------------


def test_prometheus() -> None:
    """Promtool finds the configuration right, and the rules that it names."""
    verdict = promtool("check", "config", GRAFANA / "prometheus.yml")
    assert verdict.ok, verdict.said
    assert f"{len(list((GRAFANA / 'rules').glob('*.yml')))} rule files found" in verdict.said


def test_alertmanager() -> None:
    """Amtool finds the configuration right."""
    verdict = amtool("check-config", GRAFANA / "alertmanager.yml")
    assert verdict.ok, verdict.said


@pytest.mark.parametrize(
    ("severity", "waits"), [("critical", "10s"), ("warning", "30s")], ids=["critical", "warning"]
)
def test_alerts_have_a_way(severity: str, waits: str) -> None:
    """Every severity leads to the webhook; what is critical sooner."""
    file = GRAFANA / "alertmanager.yml"
    verdict = amtool("config", "routes", "test", f"--config.file={file}", f"severity={severity}")
    assert verdict.ok
    assert verdict.said.splitlines()[-1] == "webhook"
    (critical,) = read(file)["route"]["routes"]
    route = critical if severity == "critical" else read(file)["route"]
    assert route["group_wait"] == waits


def test_inhibitions_name_alerts() -> None:
    """The alerts that silence others, and those silenced, are alerts of ours."""
    groups = read(GRAFANA / "rules" / "dotflow-alerts.yml")["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    for rule in read(GRAFANA / "alertmanager.yml")["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            pattern = re.fullmatch(r'alertname=~?"(.*)"', matcher)
            assert pattern is not None
            assert [name for name in alerts if re.fullmatch(pattern[1], name)]


def test_compose() -> None:
    """Docker's own parser takes the file. It starts nothing."""
    docker, alone = shutil.which("docker"), shutil.which("docker-compose")
    plugged = docker is not None and _succeeds(docker, "compose", "version")
    program = docker if plugged else alone
    found = tool("docker compose", program, "apt-get install docker-compose")
    command = [found, "compose"] if plugged else [found]
    done = subprocess.run(
        [*command, "-f", GRAFANA / "compose.yaml", "config", "--services"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        "alertmanager",
        "collector",
        "grafana",
        "jaeger",
        "loki",
        "prometheus",
        "pushgateway",
    }


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- by their structure -----------------------------------------------------------------


def test_images_are_pinned(services: dict[str, dict[str, Any]]) -> None:
    """Each image has a version of three numbers."""
    for service in services.values():
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"])


def test_ports_are_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    """Nobody but this machine reaches what is started; no two ports clash."""
    ports = [port for service in services.values() for port in service["ports"]]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)
    assert len(set(ports)) == len(ports)


def test_mounted_files_are_there(services: dict[str, dict[str, Any]]) -> None:
    """What is mounted is in this folder, and nothing in a container may change it."""
    for service in services.values():
        for volume in service.get("volumes", ()):
            here, _, mode = volume.split(":")
            assert (GRAFANA / here).exists(), here
            assert mode == "ro"


def test_commands_name_mounted_files(services: dict[str, dict[str, Any]]) -> None:
    """The configuration that a command names is the one that is mounted."""
    for service in services.values():
        mounted = {volume.split(":")[1] for volume in service.get("volumes", ())}
        for argument in service.get("command", ()):
            name, _, value = argument.partition("=")
            if name.startswith("--config"):
                assert value in mounted


def test_prometheus_keeps_exemplars(services: dict[str, dict[str, Any]]) -> None:
    """Without this flag no dot leads to a trace."""
    assert "--enable-feature=exemplar-storage" in services["prometheus"]["command"]


def test_addresses_are_of_services(services: dict[str, dict[str, Any]]) -> None:
    """Who is spoken to by name is a service, or this machine; who does so may look that up."""
    inside = {"collector:8889", "jaeger:16686", "jaeger:4317"}
    published = {
        f"{name}:{port.rpartition(':')[2]}"
        for name, service in services.items()
        for port in service["ports"]
    }
    texts = {file: file.read_text("utf-8") for file in GRAFANA.rglob("*.y*ml")}
    pattern = re.compile(rf"\b(?:{'|'.join(services)}):\d+\b")
    named = {
        address
        for file, text in texts.items()
        if file.name != "compose.yaml" and not file.is_relative_to(GRAFANA / "rules")
        for address in pattern.findall(text)
    }
    assert named
    assert named <= published | inside
    for name, service in services.items():
        file = GRAFANA / f"{name}.yml"
        if file in texts and "host.docker.internal" in texts[file]:
            assert service["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_data_sources_lead_to_each_other(sources: dict[str, dict[str, Any]]) -> None:
    """From an exemplar to its trace, from a trace to logs and metrics, from a log to its trace."""
    (exemplar,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplar == {"name": "trace_id", "datasourceUid": "jaeger"}
    jaeger = sources["jaeger"]["jsonData"]
    assert jaeger["tracesToLogsV2"]["datasourceUid"] == "loki"
    assert jaeger["tracesToMetrics"]["datasourceUid"] == "prometheus"
    (derived,) = sources["loki"]["jsonData"]["derivedFields"]
    assert (derived["datasourceUid"], derived["matcherRegex"]) == ("jaeger", "trace_id")
    assert [uid for uid, source in sources.items() if source.get("isDefault")] == ["prometheus"]


def test_boards_find_their_data_sources(sources: dict[str, dict[str, Any]]) -> None:
    """Each kind of data source that a variable of a board picks from is provisioned."""
    kinds = {
        variable["query"]
        for file in (GRAFANA / "dashboards").glob("*.json")
        for variable in json.loads(file.read_text("utf-8"))["templating"]["list"]
        if variable["type"] == "datasource"
    }
    assert kinds == {"prometheus", "jaeger", "loki"}
    assert kinds <= {source["type"] for source in sources.values()}


def test_boards_are_provisioned(services: dict[str, dict[str, Any]]) -> None:
    """Grafana is told of the folder that the boards are mounted at."""
    (provider,) = read(PROVIDERS)["providers"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./dashboards"] == provider["options"]["path"]
    assert mounts["./provisioning"] == "/etc/grafana/provisioning"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (GRAFANA / "dashboards" / Path(home).name).is_file()


def test_a_trace_leads_to_our_metrics(sources: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """The attributes of our spans become labels of our metrics, in queries that parse."""
    linked = sources["jaeger"]["jsonData"]["tracesToMetrics"]
    tags = {tag["key"]: tag["value"] for tag in linked["tags"]}
    assert tags == {WORKFLOW_NAME: "workflow", TASK_NAME: "task"}
    labels = {metric.name: metric.labels for metric in METRICS}
    rules = []
    for query in linked["queries"]:
        (name,) = re.findall(r"dotflow_\w+(?=\{)", query["query"])
        assert set(tags.values()) <= set(labels[name.removesuffix("_bucket")])
        text = query["query"].replace("$$__tags", 'workflow="a", task="b"')
        assert "$" not in text
        rules.append({"record": "a:b:c", "expr": text, "labels": {"n": query["name"]}})
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}), "utf-8")
    verdict = promtool("check", "rules", file)
    assert verdict.ok, verdict.said


def test_collector_is_wired(collector: dict[str, Any]) -> None:
    """Every part of a pipeline is configured, and every part that is configured is in one."""
    used: dict[str, set[str]] = {"receivers": set(), "processors": set(), "exporters": set()}
    for pipeline in collector["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            used[kind] |= set(names)
    connectors = set(collector["connectors"])
    assert connectors == {"spanmetrics"} <= used["receivers"] & used["exporters"]
    for kind, names in used.items():
        assert names - connectors == set(collector[kind])


def test_collector_counts_before_it_samples(collector: dict[str, Any]) -> None:
    """Metrics of spans are of all spans; what failed is kept whatever the share of the rest."""
    pipelines = collector["service"]["pipelines"]
    assert "tail_sampling" not in pipelines["traces/counted"].get("processors", ())
    assert pipelines["traces/kept"]["processors"][0] == "tail_sampling"
    failed = collector["processors"]["tail_sampling"]["policies"][0]
    assert failed["type"] == "status_code"
    assert failed["status_code"] == {"status_codes": ["ERROR"]}


def test_collector_listens_where_compose_says(
    collector: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    """Both protocols of OTLP are published, and Prometheus scrapes what the Collector offers."""
    protocols = collector["receivers"]["otlp"]["protocols"]
    ports = {protocol["endpoint"].rpartition(":")[2] for protocol in protocols.values()}
    published = {port.rpartition(":")[2] for port in services["collector"]["ports"]}
    assert ports == published == {"4317", "4318"}
    offered = collector["exporters"]["prometheus"]["endpoint"].rpartition(":")[2]
    jobs = {job["job_name"]: job for job in read(GRAFANA / "prometheus.yml")["scrape_configs"]}
    assert jobs["collector"]["static_configs"] == [{"targets": [f"collector:{offered}"]}]
    assert jobs["collector"]["honor_labels"] is jobs["pushgateway"]["honor_labels"] is True


def demo(folder: Path, **variables: str) -> Received:
    """Run the demo with its one variable, and others; give what is sent."""
    with OwnReceiver() as receiver:
        done = subprocess.run(
            [sys.executable, ROOT / "examples" / "weather.py", folder],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint("http/protobuf"),
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return receiver.take()


def attributes(resource: Any) -> dict[str, str]:
    """Return the attributes of a resource that are text."""
    return {each.key: each.value.string_value for each in resource.attributes}


def test_the_demo_sends_with_one_variable(tmp_path: Path) -> None:
    """`OTEL_EXPORTER_OTLP_ENDPOINT=... make demo` sends its spans where the Collector listens."""
    received = demo(tmp_path)
    resources = [span for request in received.traces for span in request.resource_spans]
    names = {
        span.name
        for resource in resources
        for scope in resource.scope_spans
        for span in scope.spans
    }
    assert {"workflow weather", "workflow months"} <= names
    # prometheus.yml calls the demo's job so as well.
    assert {attributes(each.resource)["service.name"] for each in resources} == {"weather"}
    assert not received.metrics
    assert not received.logs


def test_the_demo_sends_metrics_and_logs_too(tmp_path: Path) -> None:
    """With two more variables; who receives them can tell the service and the process."""
    received = demo(tmp_path, OTEL_METRICS_EXPORTER="otlp", OTEL_LOGS_EXPORTER="otlp")
    of_metrics = [each for request in received.metrics for each in request.resource_metrics]
    of_logs = [each for request in received.logs for each in request.resource_logs]
    sent = {
        metric.name
        for each in of_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    }
    assert {"dotflow.task.started", "dotflow.workflow.last_success_timestamp"} <= sent
    assert any(scope.log_records for each in of_logs for scope in each.scope_logs)
    told = [attributes(each.resource) for each in (*of_metrics, *of_logs)]
    assert {each["service.name"] for each in told} == {"weather"}
    assert len({each["service.instance.id"] for each in told}) == 1
