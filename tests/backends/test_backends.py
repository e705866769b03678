"""The backends that the other tests rely on: they start, answer, and tell what is wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
from backends.alertmanager import Alertmanager
from backends.prometheus import Prometheus
from backends.promtool import amtool, backfill, promtool
from prometheus_client import CollectorRegistry, Counter, push_to_gateway

from dotflow_otel import serve_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from backends.pushgateway import Pushgateway


def test_prometheus_scrapes(prometheus: Prometheus) -> None:
    """A target is scraped at once: its samples, labels and exemplars can be asked for."""
    registry = CollectorRegistry()
    counter = Counter("things_total", "Things.", ["kind"], registry=registry)
    counter.labels("a").inc(3, {"trace_id": "abc"})
    begin = time.time()
    with serve_metrics(0, registry=registry) as server:
        prometheus.scrape(server.url, "shop", team="web")
        (sample,) = prometheus.awaited("things_total")
        (series,) = prometheus.query_range("things_total", begin, time.time() + 1)
        (exemplar,) = prometheus.query_exemplars("things_total", begin - 60, time.time() + 1)
    instance = server.url.removeprefix("http://").removesuffix("/metrics")
    labels = {"kind": "a", "job": "shop", "team": "web", "instance": instance}
    assert sample == ({"__name__": "things_total", **labels}, 3)
    assert series.labels == {"__name__": "things_total", **labels}
    assert {value for _, value in series.points} == {3}
    assert exemplar.labels == {"trace_id": "abc"}
    assert prometheus.series("things_total") == [series.labels]


def test_prometheus_has_history(tmp_path: Path) -> None:
    """Samples of hours ago are there from the start, for `rate` to have something to rate."""
    now = int(time.time())
    lines = ["# TYPE things counter"]
    lines += [f"things_total {age} {now - 7200 + age}" for age in range(0, 7200, 60)]
    data = backfill("\n".join([*lines, "# EOF", ""]), tmp_path / "data")
    with Prometheus(tmp_path / "prometheus", data=data) as prometheus:
        (sample,) = prometheus.query("rate(things_total[1h])", now - 600)
    assert sample == ({}, pytest.approx(1))


def test_prometheus_refuses_a_wrong_query(prometheus: Prometheus) -> None:
    """A query with a mistake raises, so that it is not taken for one without a result."""
    with pytest.raises(HTTPError, match="400"):
        prometheus.query("rate(")


def test_pushgateway_keeps(pushgateway: Pushgateway) -> None:
    """What was pushed is there, by job."""
    registry = CollectorRegistry()
    Counter("things_total", "Things.", registry=registry).inc()
    push_to_gateway(pushgateway.address, "nightly", registry)
    (group,) = pushgateway.groups()
    assert group["labels"]["job"] == "nightly"


def test_alertmanager_starts(tmp_path: Path) -> None:
    """An Alertmanager starts with a configuration, and knows no alert."""
    config = {"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}
    with Alertmanager(tmp_path / "alertmanager", config) as alertmanager:
        assert alertmanager.alerts() == []


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The failure tells what the server logged."""
    with (
        pytest.raises(AssertionError, match="undefined receiver"),
        Alertmanager(tmp_path / "alertmanager", {"route": {"receiver": "nobody"}}),
    ):
        pass


@pytest.mark.parametrize("check", [promtool, amtool])
def test_tools_tell_what_is_wrong(check: object, tmp_path: Path) -> None:
    """Both tools refuse a configuration that is none."""
    file = tmp_path / "config.yml"
    file.write_text("colour: red\n", encoding="utf-8")
    verdict = (
        promtool("check", "config", file) if check is promtool else amtool("check-config", file)
    )
    assert not verdict.ok
    assert "colour" in verdict.said
