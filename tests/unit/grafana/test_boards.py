"""The boards' JSON: up to date, complete, in order, and true to the table of metrics."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import grafana_board
import pytest
from grafana_board import BOARDS, panels, queries, read
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards.canvas import fitted, width_of
from boards.drawing import drawn
from boards.files import FOLDER, texts, write
from dotflow.core.exception import InvalidOption
from dotflow_otel.conventions import HISTOGRAM, METRICS, WORKFLOW_FAILED, WORKFLOW_LOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCES = {"prometheus": "${datasource}", "jaeger": "${traces}", "loki": "${logs}"}


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return each board in turn."""
    return read(request.param)


# --- the files --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [str(file.relative_to(FOLDER)) for file in texts()])
def test_files_are_up_to_date(name: str) -> None:
    """What is committed is what the code builds: `make dashboards` changes nothing."""
    assert (FOLDER / name).read_text(encoding="utf-8") == texts()[FOLDER / name]


def test_there_are_no_other_boards() -> None:
    """A board, or a drawing, that is no longer built is not shipped."""
    made = {*(FOLDER / "dashboards").iterdir(), *(FOLDER / "pictures").glob("*.svg")}
    assert made == set(texts())


def test_only_stale_files_are_written(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building writes what is missing or old, tells which, and leaves the rest alone."""
    monkeypatch.setattr("boards.files.FOLDER", tmp_path)
    first = list(write())
    assert {file.parent.name for file in first} == {"dashboards", "pictures"}
    assert len(first) == 2 * len(BOARDS)
    assert list(write()) == []
    first[0].write_text("old", encoding="utf-8")
    assert list(write()) == first[:1]


# --- what Grafana needs -----------------------------------------------------------------


def test_boards_have_known_uids() -> None:
    """Alerts and links call the boards by these."""
    assert [read(uid)["uid"] for uid in BOARDS] == list(BOARDS)
    titles = [read(uid)["title"] for uid in BOARDS]
    assert titles == ["dotflow / Overview", "dotflow / Workflow", "dotflow / Fleet"]


def test_a_board_has_grafanas_form(board: dict[str, Any]) -> None:
    """What is read with the types of Grafana 11.6 and written again is the same."""
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert again == board
    assert "id" not in board  # Grafana's own, of one installation


def test_panels_have_ids_of_their_own(board: dict[str, Any]) -> None:
    """No two panels of a board, rows included, have one id."""
    ids = [panel["id"] for panel in board["panels"]]
    ids += [panel["id"] for row in board["panels"] for panel in row.get("panels", ())]
    assert len(ids) == len(set(ids))
    assert min(ids) == 1


def test_panels_do_not_overlap(board: dict[str, Any]) -> None:
    """No place of the grid is taken twice, and nothing sticks out of its 24 columns."""
    places = [panel["gridPos"] for panel in board["panels"]]
    places += [panel["gridPos"] for row in board["panels"] for panel in row.get("panels", ())]
    assert [each for each in places if each["x"] < 0 or each["x"] + each["w"] > 24] == []
    assert [pair for pair in combinations(places, 2) if _overlap(*pair)] == []


def _overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or above)


def test_lines_have_no_holes(board: dict[str, Any]) -> None:
    """Every column of the grid is covered down to the end, rows included."""
    places = [panel["gridPos"] for panel in [*board["panels"], *_closed(board)]]
    height = max(each["y"] + each["h"] for each in places)
    assert sum(each["w"] * each["h"] for each in places) == 24 * height


def _closed(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in board["panels"]:
        yield from row.get("panels", ())


def test_data_sources_are_variables(board: dict[str, Any]) -> None:
    """No board names a data source of its own: the reader picks them at the top."""
    used = [
        (source["type"], source["uid"])
        for each in _dictionaries(board)
        if isinstance(source := each.get("datasource"), dict)
    ]
    assert used
    assert set(used) <= set(SOURCES.items())
    picked = {
        (variable["query"], f"${{{variable['name']}}}")
        for variable in board["templating"]["list"]
        if variable["type"] == "datasource"
    }
    assert set(used) <= picked


def test_a_panels_queries_are_of_its_data_source(board: dict[str, Any]) -> None:
    """A panel and its queries agree on where to ask."""
    for panel in panels(board):
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _dictionaries(each)


# --- what people need -------------------------------------------------------------------


def test_panels_tell_what_they_show(board: dict[str, Any]) -> None:
    """Every panel has a title, a description, a unit, and at least one query."""
    for panel in panels(board):
        assert panel["title"]
        assert len(panel["description"]) > 15
        assert panel["description"][-1] in ".?"
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
    assert board["description"].endswith(".")


def test_numbers_come_first(board: dict[str, Any]) -> None:
    """A board begins with a row of numbers, which fit a laptop's first screen."""
    row, *numbers = board["panels"][:7]
    assert row["type"] == "row"
    assert {panel["type"] for panel in numbers} == {"stat"}


def test_titles_are_unique(board: dict[str, Any]) -> None:
    """No two panels of a board have one title, but for a table and the number of its rows."""
    titles = [panel["title"] for panel in panels(board) if panel["type"] != "table"]
    assert len(titles) == len(set(titles))


def test_histograms_are_heatmaps_with_exemplars() -> None:
    """Durations of runs and of tasks are drawn as heatmaps of their buckets, with exemplars."""
    drawn = [query for query in queries() if query.panel["type"] == "heatmap"]
    assert len(drawn) == 3
    for query in drawn:
        assert query.target["format"] == "heatmap"
        assert query.target["exemplar"] is True
        assert query.legend_labels == {"le"}
        assert "_bucket{" in query.expression


def test_counts_are_not_shown_twice() -> None:
    """Bars and cells of counts are as far apart as the windows that they count in, or nearly.

    In a window of rates, four scrapes long at least, a run would be in four bars of a scrape each.
    """
    counting = [
        query.panel
        for query in queries()
        if query.panel["type"] == "heatmap"
        or query.panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle") == "bars"
    ]
    assert len(counting) >= 10
    assert {panel["interval"] for panel in counting} == {"1m"}


def test_logs_are_optional() -> None:
    """Only one row asks for logs: its title says what it needs, and it is closed."""
    (query,) = queries("loki")
    assert query.board == "dotflow-workflow"
    rows = [panel for panel in read(query.board)["panels"] if panel.get("collapsed")]
    assert [row["title"] for row in rows] == ["Logs (optional: needs a Loki data source)"]
    assert rows[0]["panels"] == [query.panel]


def test_traces_are_of_the_workflow() -> None:
    """Jaeger is asked for the workflow's root spans: the newest, and the newest with an error."""
    asked = [query.target for query in queries("jaeger")]
    assert [target.get("tags") for target in asked] == [None, "error=true"]
    for target in asked:
        assert target["queryType"] == "search"
        assert target["service"] == "$job"
        assert target["operation"] == "workflow $workflow"


# --- links ------------------------------------------------------------------------------


def test_boards_link_to_each_other(board: dict[str, Any]) -> None:
    """At the top of a board are links to the others, that keep the time and the variables."""
    others = [uid for uid in BOARDS if uid != board["uid"]]
    assert [link["url"] for link in board["links"]] == [f"/d/{uid}" for uid in others]
    assert all(link["keepTime"] and link["includeVars"] for link in board["links"])


def _links(board: dict[str, Any]) -> list[str]:
    found = [each["url"] for each in _dictionaries(board["panels"]) if "url" in each]
    assert found
    return found


def test_links_to_boards_fit_them(board: dict[str, Any]) -> None:
    """A link from a series or row leads to a board, and sets variables that it has."""
    for url in _links(board):
        target = re.fullmatch(r"/d/([\w-]+)\?(.+)", url)
        if target is None:
            assert url.startswith("/explore?")
            continue
        has = {variable["name"] for variable in read(target[1])["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", target[2])) <= has
        assert set(re.findall(r"\$\{(\w+):queryparam\}", target[2])) <= has
        assert "${__url_time_range}" in target[2]


def test_links_to_traces_are_of_grafanas_form() -> None:
    """A link from a task opens Explore on the traces with that task; one from a trace, on it."""
    found: list[dict[str, Any]] = []
    for url in _links(read("dotflow-workflow")):
        if url.startswith("/explore?"):
            (panes,) = parse_qs(urlsplit(url).query)["panes"]
            found.append(json.loads(panes)["traces"])
    assert {pane["datasource"] for pane in found} == {"${traces}"}
    asked = [{**pane["queries"][0]} for pane in found]
    assert {"${__value.raw}"} == {query["query"] for query in asked if "query" in query}
    services = {query["service"] for query in asked if "service" in query}
    assert services == {"${job:percentencode}"}
    operations = {query["operation"] for query in asked if "operation" in query}
    assert operations == {
        "task ${__data.fields.Task:percentencode}",
        "task ${__field.labels.task:percentencode}",
    }


# --- the table of metrics ---------------------------------------------------------------


def _sample_names() -> dict[str, str]:
    names = {metric.name: metric.name for metric in METRICS if metric.kind != HISTOGRAM}
    of_buckets = [metric.name for metric in METRICS if metric.kind == HISTOGRAM]
    return names | {f"{name}_bucket": name for name in of_buckets}


def test_every_metric_is_on_a_board() -> None:
    """What is measured is shown."""
    shown = {name for query in queries() for name in _metrics(query.expression)}
    assert shown == {metric.name for metric in METRICS}


@pytest.mark.parametrize("uid", BOARDS)
def test_lost_runs_are_on_every_board(uid: str) -> None:
    """Runs whose process was killed are beside those that failed, whichever board is open."""
    shown = [_metrics(query.expression) for query in queries() if query.board == uid]
    assert {WORKFLOW_FAILED.name, WORKFLOW_LOST.name} <= set().union(*shown)


def _metrics(expression: str) -> set[str]:
    known = _sample_names()
    return {known[name] for name in re.findall(r"\bdotflow_\w+", expression)}


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.panel["title"])
def test_queries_ask_for_labels_that_there_are(query: grafana_board.Query) -> None:
    """A selector, or a grouping, names labels of its metric only."""
    labels = {metric.name: {"job", "instance", *metric.labels} for metric in METRICS}
    known = _sample_names()
    selectors = re.findall(r"(dotflow_\w+)(?:\{([^}]*)\})?", query.expression)
    assert selectors
    for name, matchers in selectors:
        assert set(re.findall(r'(\w+)=~?"', matchers)) <= labels[known[name]]
    (has, *_) = (labels[known[name]] for name, _ in selectors)
    for grouping in re.findall(r"by \(([^)]*)\)", query.expression):
        assert set(grouping.split(", ")) <= has | {"le"}


# --- the drawings -----------------------------------------------------------------------


@pytest.mark.parametrize("uid", BOARDS)
def test_a_drawing_shows_every_panel(uid: str) -> None:
    """The drawing has each panel's title, and says that it is no screenshot."""
    text = (FOLDER / "pictures" / f"{uid}.svg").read_text(encoding="utf-8")
    written = [each.text for each in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - our own
    for panel in panels(read(uid)):
        assert panel["title"] in written
    assert any("not a screenshot of Grafana" in (line or "") for line in written)


def test_a_drawing_of_an_unknown_kind_is_refused() -> None:
    """A new kind of panel needs a sign: the message says where."""
    board = read("dotflow-overview")
    board["panels"][1]["type"] = "piechart"
    with pytest.raises(InvalidOption, match=r"panel='piechart' .*boards/icons\.py"):
        drawn(board)


def test_long_texts_are_cut() -> None:
    """A text that does not fit ends with dots, and no line is wider than its place."""
    lines = fitted("how long the oldest run in progress has been going " * 5, 200, 12, 3)
    assert len(lines) == 3
    assert lines[-1].endswith(" …")
    assert all(width_of(line, 12) <= 200 for line in lines)
    assert fitted("no room", 200, 12, 0) == ()


def test_what_the_readme_names_is_there() -> None:
    """Pictures, links and make targets of the boards' README are there."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) >= len(BOARDS)
    assert [link for link in links if not (FOLDER / link).exists()] == []
    makefile = (FOLDER.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^ *|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert all(f"`{uid}`" in text for uid in BOARDS)


def test_the_picture_of_prometheus_is_modest() -> None:
    """It is a PNG that a README can load."""
    picture = (FOLDER / "pictures" / "prometheus.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000
