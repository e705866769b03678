"""What every panel asks, a real Prometheus answers, with a real service's data in it."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import grafana_board
import pytest
from backends.prometheus import Prometheus
from busy_service import WORKFLOW, BusyService

from dotflow_otel.conventions import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERIES = grafana_board.queries()
JOB = "shop"
# `All` in what may have several values, as the boards begin; one value in the rest.
EVERYTHING = dict.fromkeys(("job", "workflow", "task", "mode", "instance"), ".*")
VALUES = {
    "dotflow-overview": EVERYTHING,
    "dotflow-workflow": EVERYTHING | {"job": JOB, "workflow": WORKFLOW},
    "dotflow-fleet": EVERYTHING | {"objective": "99"},
}


class Filled(NamedTuple):
    """A Prometheus with data in it, and whose they are."""

    prometheus: Prometheus
    service: BusyService
    since: float


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Return a Prometheus that saw every outcome happen, between its scrapes and before them."""
    since = time.time()
    folder = tmp_path_factory.mktemp("service")
    with (
        BusyService(folder) as service,
        Prometheus(tmp_path_factory.mktemp("prometheus")) as prometheus,
    ):
        service.run()
        prometheus.scrape(service.url, JOB)
        _scraped(prometheus, rounds=1)
        service.run()
        _scraped(prometheus, rounds=2)
        yield Filled(prometheus, service, since)


def _scraped(prometheus: Prometheus, rounds: int) -> None:
    # A scrape has the last that a round counts, and one more came after it.
    prometheus.awaited(f"dotflow_telemetry_dropped_total >= {rounds}")
    scrapes = f'count_over_time(dotflow_workers{{job="{JOB}"}}[1h])'
    (before,) = prometheus.awaited(scrapes)
    prometheus.awaited(f"{scrapes} > {before.value + 1}")


def _name(query: grafana_board.Query) -> str:
    return f"{query.board}-{query.panel['title']}-{query.target['refId']}"


@pytest.mark.parametrize("query", QUERIES, ids=_name)
def test_a_query_returns_series(query: grafana_board.Query, filled: Filled) -> None:
    """A panel shows something: a number for each series that its legend can name."""
    found = _answers(filled, query)
    assert found, query.expression
    for labels in found:
        assert query.legend_labels <= labels.keys()


def _answers(filled: Filled, query: grafana_board.Query) -> list[dict[str, str]]:
    # The labels of the series that have a number, asked for as the panel asks.
    expression = query.filled(VALUES[query.board])
    if query.target.get("instant"):
        samples = filled.prometheus.query(expression)
        return [sample.labels for sample in samples if math.isfinite(sample.value)]
    assert query.target["range"]
    now = time.time()
    series = filled.prometheus.query_range(expression, now - 60, now, 1)
    return [each.labels for each in series if any(math.isfinite(value) for _, value in each.points)]


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("Runs started", 16),  # 7 of each of two rounds, and two that go on
        ("Runs completed", 8),
        ("Runs failed", 6),
        ("Success ratio", 8 / 14),
        ("In progress", 2),
    ],
)
def test_numbers_are_right(title: str, value: float, filled: Filled) -> None:
    """The numbers count what happened before the first scrape as well as what happened after."""
    (query,) = (
        query
        for query in QUERIES
        if query.board == "dotflow-overview" and query.panel["title"] == title
    )
    (sample,) = filled.prometheus.query(query.filled(EVERYTHING))
    # `increase` goes on to the ends of its window, by half a scrape of a few.
    assert sample.value == pytest.approx(value, rel=0.2)


EXEMPLARS = [query for query in QUERIES if query.target.get("exemplar")]


def test_exemplars_lead_to_traces(filled: Filled) -> None:
    """Where a panel asks for exemplars there are some, and each leads to a span."""
    spans = {
        (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
        for span in filled.service.spans.get_finished_spans()
    }
    found: dict[tuple[str, int], set[tuple[str, str]]] = {}
    for query in EXEMPLARS:
        ids = found.setdefault((query.board, query.panel["id"]), set())
        for exemplar in _exemplars(filled, query):
            ids.add((exemplar["trace_id"], exemplar["span_id"]))
    assert len(found) >= 10
    assert [panel for panel, ids in found.items() if not ids] == []
    assert set().union(*found.values()) <= spans


def _exemplars(filled: Filled, query: grafana_board.Query) -> list[dict[str, str]]:
    expression = query.filled(VALUES[query.board])
    given = filled.prometheus.query_exemplars(expression, filled.since, time.time() + 1)
    return [exemplar.labels for exemplar in given]


@pytest.mark.parametrize("uid", grafana_board.BOARDS)
def test_variables_have_values(uid: str, filled: Filled) -> None:
    """Every variable that lists the values of a label finds some."""
    of_labels = [
        variable
        for variable in grafana_board.read(uid)["templating"]["list"]
        if variable["type"] == "query"
    ]
    for variable in of_labels:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found
        selector = grafana_board.fill(found[1], VALUES[uid])
        values = {labels.get(found[2]) for labels in filled.prometheus.series(selector)}
        assert values - {None}, selector
        assert found[2] == variable["name"]


def test_the_service_has_every_metric(filled: Filled) -> None:
    """The data that the queries were run on has every metric of the table."""
    suffix = {"histogram": "_count"}
    missing = [
        metric.name
        for metric in METRICS
        if not filled.prometheus.query(metric.name + suffix.get(metric.kind, ""))
    ]
    assert missing == []
