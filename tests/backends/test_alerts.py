"""Alerts of a real Prometheus, from the rules as they are shipped to who is notified."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from backends.alertmanager import Alertmanager
from backends.prometheus import Prometheus
from backends.service import Service
from backends.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from backends.webhook import Webhook

GRAFANA = Path(__file__).parents[2] / "grafana"
RULES = sorted((GRAFANA / "rules").glob("*.yml"))
BOARD = re.compile(r"http://localhost:3000/d/dotflow-(overview|workflow|fleet)(\?\w[\w-]+=.*)?")


def alertmanager_config(webhook: str) -> dict[str, Any]:
    """Return the shipped configuration, but for the webhook's address and the waiting."""
    config: dict[str, Any] = yaml.safe_load((GRAFANA / "alertmanager.yml").read_text("utf-8"))
    config["receivers"][0]["webhook_configs"][0]["url"] = webhook
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "500ms"
    return config


def test_a_failing_workflow_notifies(tmp_path: Path, webhook: Webhook) -> None:
    """Runs fail, Prometheus finds that too many do, Alertmanager tells who is to know.

    The rules are the shipped ones, windows and all: a process whose first scrape shows three
    failed runs of three burns its budget in every window. Only what waits is shortened: the
    interval of scrapes and evaluations, and `group_wait`. (The windows of days keep their own
    interval, of minutes, so the alerts that need them come too late for this test.)
    """
    config = alertmanager_config(webhook.url)
    with (
        Alertmanager(tmp_path / "alertmanager", config) as alertmanager,
        Prometheus(
            tmp_path / "prometheus", rules=RULES, alertmanager=alertmanager.address
        ) as prometheus,
        Service("failing.py", OTEL_TRACES_EXPORTER="none") as service,
    ):
        prometheus.scrape(service.said["url"], "shop")
        received = webhook.received.get(timeout=PATIENCE)
        (alert,) = [
            alert
            for alert in received["alerts"]
            if alert["labels"]["alertname"] == "DotflowErrorBudgetGoneIn2Days"
        ]
        # The slower alert fires as well, but says nothing more, and is not sent.
        names = {alert["labels"]["alertname"] for alert in prometheus.alerts()}

    assert received["receiver"] == "webhook"
    assert (received["status"], alert["status"]) == ("firing", "firing")
    assert alert["labels"] == {
        "alertname": "DotflowErrorBudgetGoneIn2Days",
        "job": "shop",
        "workflow": "billing & tax",
        "severity": "critical",
    }
    shown = alert["annotations"]
    assert shown["summary"] == "billing & tax of shop: 100% of the runs failed in 1h"
    assert "First look on the board at which task fails" in shown["description"]
    assert shown["dashboard_url"] == (
        "http://localhost:3000/d/dotflow-workflow?var-job=shop&var-workflow=billing+%26+tax"
    )
    assert names >= {"DotflowErrorBudgetGoneIn2Days", "DotflowErrorBudgetGoneIn5Days"}
    assert [each["labels"]["alertname"] for each in received["alerts"]] == [
        "DotflowErrorBudgetGoneIn2Days"
    ]


@pytest.fixture
def always(tmp_path: Path) -> Path:
    """Return the alerts, each made to fire at once for one set of labels."""
    content = yaml.safe_load((GRAFANA / "rules" / "dotflow-alerts.yml").read_text("utf-8"))
    labels = {
        "job": "shop",
        "instance": "a:1",
        "workflow": "billing",
        "task": "load",
        "provider": "Log",
        "hook": "info",
        "signal": "traces",
    }
    expression = "vector(0.5)"
    for label, value in labels.items():
        expression = f'label_replace({expression}, "{label}", "{value}", "", "")'
    for group in content["groups"]:
        for rule in group["rules"]:
            rule["expr"] = expression
            rule.pop("for", None)
    file = tmp_path / "always.yml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_every_alert_tells_what_to_do(tmp_path: Path, always: Path) -> None:
    """Summaries, descriptions and links are filled in, whatever the alert; none is left open."""
    settings = GRAFANA / "rules" / "dotflow-settings.yml"
    with Prometheus(tmp_path / "prometheus", rules=[settings, always]) as prometheus:
        # The first evaluation may come before the settings'.
        alerts = eventually(
            lambda: [
                alert
                for alert in prometheus.alerts()
                if alert["annotations"]["dashboard_url"].startswith("http")
            ],
            "alerts that know where Grafana is",
        )
        prometheus.awaited('count(ALERTS{alertstate="firing"}) == 16')
        alerts = prometheus.alerts()
    assert len(alerts) == 16
    for alert in alerts:
        shown = alert["annotations"]
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert BOARD.fullmatch(shown["dashboard_url"])
        assert "First " in shown["description"] or "first " in shown["description"]
        for text in shown.values():
            assert not re.search(r"\{\{|<no value>|<error", text)
            assert "=&" not in text
