"""The pages of runs in a real browser: clicked, by keys, dark, narrow, large, live, hostile."""

from __future__ import annotations

import re
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from browsing import Window, reported, served, started_browser, wait_for_text
from made_history import MadeAttempt, MadeHistory, MadeLine, MadeSpan, MadeTask
from observed import RecordedRuns

from dotflow import DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

TRUNCATED = "ValueError: truncated image"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Chromium, without a window on the screen."""
    with started_browser() as found:
        yield found


@pytest.fixture
def window(browser: Browser) -> Iterator[Callable[..., Window]]:
    """Return what opens a window; those that were opened are closed, and had no fault."""
    opened: list[Window] = []

    def open_window(**options: Any) -> Window:
        opened.append(Window(browser, **options))
        return opened[-1]

    yield open_window
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a history: six quick runs, a failed one, a slow one, a lost one."""
    path = tmp_path_factory.mktemp("pages") / "history.db"
    with MadeHistory(path) as made:
        for number in range(6):
            add_orders(made, -3600.0 * (9 - number))
        add_orders(made, -7200.0, error="LookupError: no rate for 'XAU'")
        add_orders(made, -3600.0, slow=3.0)
        lost = MadeTask("load", 1.0, None, attempts=[MadeAttempt(1.0, None, pid=12)])
        process = made.process(beat=4.0)
        made.add("billing", lost, started=0.0, ended=None, mode="parallel", process=process)
    return path


def add_orders(made: MadeHistory, at: float, slow: float = 1.0, error: str | None = None) -> None:
    """Add a run of four tasks on two workers, the second of which is retried."""
    spans = [
        MadeSpan("select rows", at + 0.2, at + 0.6),
        MadeSpan("insert rows", at + 0.6, at + 0.9),
    ]
    broken = "ConnectionError: the replica closed the connection"
    tasks = [
        MadeTask(
            "read", at, at + 1.0,
            attempts=[MadeAttempt(at + 0.1, at + 1.0, None, 11, 0.1, spans)],
        ),
        MadeTask(
            "clean", at + 1.0, at + 2.0,
            attempts=[
                MadeAttempt(at + 1.0, at + 1.3, broken, 11),
                MadeAttempt(at + 1.5, at + 2.0, None, 12, 0.05),
            ],
        ),
        MadeTask(
            "enrich", at + 2.0, at + 2.0 + slow, error=error,
            attempts=[MadeAttempt(at + 2.0, at + 2.0 + slow, error, 12)],
        ),
    ]  # fmt: skip
    lines = [
        MadeLine(at, "workflow.started"),
        MadeLine(at + 0.3, "read 12 rows", fields={"rows": 12}, task=0),
        MadeLine(at + 1.3, "task.retried", 30, {"task": "clean", "attempt": 1}, task=1),
        MadeLine(at + 2.0 + slow, "enriched" if error is None else "task.failed", 40, task=2),
    ]
    if error is None:
        tasks.append(MadeTask("publish", at + 2.0 + slow, at + 2.5 + slow))
    else:
        skipped = {"task": "publish", "task_id": "T0009"}
        lines.append(MadeLine(at + 2.0 + slow, "task.skipped", 30, skipped))
    made.add(
        "orders", *tasks, started=at, ended=at + 2.5 + slow, mode="parallel", count=4, lines=lines
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(history: Path) -> Iterator[str]:
    """Return where the history is served."""
    with served(history, jaeger="http://localhost:16686") as url:
        yield url


def names(page: Page) -> list[str]:
    """Return the names of the rows of the waterfall, in order."""
    return page.locator(".waterfall:visible .row .label").all_inner_texts()


def selected(page: Page) -> str:
    """Return the name of the row that is chosen in the waterfall."""
    return page.locator(".waterfall .row[aria-selected=true] .label").inner_text()


# --- one run ------------------------------------------------------------------------------


def test_a_report(window: Callable[..., Window], history: Path, tmp_path: Path) -> None:
    """One file shows all of a run, asks nobody for anything, and leads to Jaeger and Grafana."""
    links = {"jaeger": "http://localhost:16686", "grafana": "http://localhost:3000"}
    address = reported(history, "latest:orders", tmp_path / "run.html", **links)
    opened = window(offline=True)
    page = opened.open(address)
    assert page.title() == "orders: completed · dotflow"
    assert page.inner_text("h1 .badge") == "completed"
    assert names(page) == [
        "orders",
        "read",
        "attempt 1",
        "select rows",
        "insert rows",
        "clean",
        "attempt 1",
        "attempt 2",
        "enrich",
        "publish",
    ]
    counts = {
        tab.split()[0]: tab.split()[1] for tab in page.locator("[role=tab]").all_inner_texts()
    }
    assert counts == {"Waterfall": "11", "Workers": "3", "Tasks": "4", "Errors": "1", "Logs": "4"}
    assert "enrich took 3.00 s, 3.0 x (median 1.00 s, spread" in page.inner_text(".why")
    assert page.get_attribute("a:text('Jaeger')", "href").startswith(
        "http://localhost:16686/trace/"
    )  # type: ignore[union-attr]
    assert "var-workflow=orders" in (page.get_attribute("a:text('Grafana')", "href") or "")
    assert opened.hosts == set()


def test_clicks(window: Callable[..., Window], server: str) -> None:
    """A click on a span shows what is known of it; one on its arrow folds what is below."""
    page = window().open(f"{server}runs/latest:orders")
    page.click(".row:has-text('clean') .label")
    details = page.locator(".details")
    assert details.locator("h2").inner_text() == "completed\nclean"
    assert details.locator("tbody tr").count() == 2
    assert "dotflow.task.name" in details.inner_text()
    details.locator("tbody button >> nth=0").click()
    assert details.locator("h2").inner_text() == "failed\nattempt 1"
    assert "the replica closed the connection" in details.locator(".stack pre").inner_text()
    page.click(".details .close")
    assert not details.is_visible()
    page.click(".waterfall .row:has-text('read') >> nth=0 >> .fold")
    assert names(page)[:3] == ["orders", "read", "clean"]
    assert (
        page.get_attribute(".waterfall .row:has-text('read') >> nth=0", "aria-expanded") == "false"
    )
    page.click("[role=tab]:has-text('Errors')")
    assert page.locator(".errors .card h3").all_inner_texts() == ["failed\nConnectionError"]
    page.click(".errors .where button")
    assert selected(page) == "attempt 1"
    page.click(".why button:has-text('enrich took')")
    assert selected(page) == "enrich"
    page.click("text=Its lines")
    assert page.locator(".lines .row .event-name").all_inner_texts() == ["enriched"]
    page.click(".chip button")
    assert page.locator(".lines .row").count() == 4
    page.select_option(".lines select", "30")
    assert page.locator(".lines .row .event-name").all_inner_texts() == ["task.retried", "enriched"]


def test_zoom(window: Callable[..., Window], server: str) -> None:
    """The time is zoomed by buttons, keys, dragging and the overview, and as a whole again."""
    page = window().open(f"{server}runs/latest:orders")

    def ticks() -> list[str]:
        page.wait_for_timeout(100)
        return page.locator(".waterfall:visible .axis span").all_inner_texts()

    whole = ticks()
    assert whole[:2] == ["0", "1 s"]
    page.click("[aria-label='Zoom in']")
    assert ticks() != whole
    page.click("[aria-label='The whole run']")
    assert ticks() == whole
    page.focus(".waterfall")
    page.keyboard.press("+")
    zoomed = ticks()
    assert zoomed != whole
    page.keyboard.press("]")
    assert ticks() != zoomed
    page.keyboard.press("0")
    assert ticks() == whole
    area = page.locator(".waterfall .row .cell-time >> nth=1").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] * 0.4, area["y"] + 8)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + 8, steps=4)
    page.mouse.up()
    assert ticks()[0].endswith(" s")
    assert ticks() != whole
    assert not page.is_visible(".details")  # what was dragged is no click
    page.locator(".handle-from").focus()
    assert page.get_attribute(".handle-from", "aria-valuetext") == "2.20 s"
    page.keyboard.press("Home")
    page.locator(".handle-to").focus()
    page.keyboard.press("End")
    assert ticks() == whole
    page.dblclick(".waterfall .row:has-text('insert rows') .bar")
    assert ticks()[0] == "600 ms"


def test_search(window: Callable[..., Window], server: str) -> None:
    """What is searched for is marked; Enter goes from match to match, and around."""
    page = window().open(f"{server}runs/latest:orders")
    page.keyboard.press("/")
    page.keyboard.type("ROWS")
    wait_for_text(page, ".found", "2")
    assert page.locator(".row.match .label").all_inner_texts() == ["select rows", "insert rows"]
    page.keyboard.press("Enter")
    assert (selected(page), page.inner_text(".found")) == ("select rows", "1 of 2")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert selected(page) == "select rows"
    page.keyboard.press("Shift+Enter")
    assert selected(page) == "insert rows"
    page.check("#only")
    assert names(page) == ["orders", "read", "attempt 1", "select rows", "insert rows"]
    page.fill("input[type=search]", "nothing like it")
    wait_for_text(page, ".found", "none")
    assert names(page) == []
    page.fill("input[type=search]", "")
    page.check("#wrong")
    assert names(page) == ["orders", "clean", "attempt 1"]
    page.uncheck("#wrong")
    page.click("[role=tab]:has-text('Logs')")
    page.fill("input[type=search]", "rows=12")
    wait_for_text(page, ".lines .bar-of-tools", "1 of 4 lines")


def test_keyboard(window: Callable[..., Window], server: str) -> None:
    """All can be done by keys, and what has the focus is seen to."""
    page = window().open(f"{server}runs/latest:orders")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert {
        "Search spans and lines",
        "Zoom in",
        "Spans of the run",
        "Width of the names",
        "First moment that is shown",
    } <= set(reached)
    page.focus(".waterfall")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert selected(page) == "read"
    assert (
        page.evaluate(
            "getComputedStyle(document.querySelector('.waterfall'), '::after').borderTopWidth"
        )
        == "2px"
    )
    active = page.get_attribute(".waterfall", "aria-activedescendant")
    assert page.locator(f"#{active} .label").inner_text() == "read"
    page.keyboard.press("ArrowLeft")
    assert names(page)[:3] == ["orders", "read", "clean"]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert selected(page) == "attempt 1"
    page.keyboard.press("End")
    assert selected(page) == "publish"
    page.keyboard.press("Home")
    assert selected(page) == "orders"
    page.keyboard.press("_")
    assert names(page) == ["orders", "read", "clean", "enrich", "publish"]
    page.keyboard.press("*")
    assert len(names(page)) == 11
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "details"
    page.keyboard.press("Escape")
    assert not page.is_visible(".details")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "treegrid"
    page.keyboard.press("?")
    assert page.is_visible("dialog.keys")
    page.keyboard.press("Escape")
    page.keyboard.press("3")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert page.locator(".details h2").inner_text() == "completed\npublish"
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.is_visible(".details")


def test_tasks(window: Callable[..., Window], server: str) -> None:
    """The tasks can be sorted, and stand beside the runs before."""
    page = window().open(f"{server}runs/latest:orders")
    page.wait_for_selector(".why:visible")
    page.click("[role=tab]:has-text('Tasks')")
    assert page.locator(".table .row .cell-task").all_inner_texts() == [
        "read",
        "clean",
        "enrich",
        "publish",
    ]
    page.click(".sort:has-text('Took')")
    assert page.locator(".table .row .cell-took").all_inner_texts() == [
        "3.00 s",
        "1.00 s",
        "900 ms",
        "500 ms",
    ]
    assert page.get_attribute("[role=columnheader]:has-text('Took')", "aria-sort") == "descending"
    assert page.locator(".table .row .cell-past").all_inner_texts() == [
        "3.00×",
        "1.00×",
        "1.00×",
        "1.00×",
    ]
    assert page.locator(".ratio.unusual").count() == 1
    assert "in 7 runs before" not in (page.get_attribute(".ratio.unusual", "title") or "")


def test_a_failed_run(window: Callable[..., Window], server: str) -> None:
    """A failed run says what failed first and what did not run, which has a row as well."""
    page = window().open(server)
    page.click(".row:has-text('failed') .cell-workflow a")
    page.wait_for_selector(".waterfall")
    page.wait_for_selector(".why:visible")
    why = page.inner_text(".why")
    assert "enrich failed after 3.00 s: LookupError: no rate for 'XAU'" in why
    assert "1 task did not run: publish" in why
    assert names(page)[-1] == "publish"
    assert page.locator(".row[data-status=skipped] .took").inner_text() == "skipped"


def test_a_lost_run(window: Callable[..., Window], server: str) -> None:
    """A lost run shows what was in flight, until its last heartbeat."""
    page = window().open(f"{server}runs/latest:billing")
    page.wait_for_selector(".why:visible")
    assert page.inner_text("h1 .badge") == "lost"
    assert re.search(r"load: attempt 1 since [\d:]+, for 3.00 s", page.inner_text(".why"))
    assert page.locator(".row[data-status=lost] .took").all_inner_texts() == ["4.00 s", "3.00 s"]


def test_an_unknown_run(window: Callable[..., Window], server: str) -> None:
    """The page of a run that is not there says so, below what every page has at its top."""
    opened = window()
    page = opened.open(f"{server}runs/nothing")
    (fault,) = opened.faults  # the browser's own, of the answer to what the page asked for
    assert "404" in fault
    opened.faults.clear()
    assert "The history has no run 'nothing'." in page.inner_text("main[role=alert]")
    assert page.locator(".masthead .actions button").count() == 1
    page.click(".masthead a:has-text('All runs')")
    page.wait_for_selector(".row .cell-workflow a")


# --- how it looks ---------------------------------------------------------------------------


def background(page: Page) -> list[int]:
    """Return the colour behind the page, as red, green and blue."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]


def test_dark_and_light(window: Callable[..., Window], server: str) -> None:
    """The page is as dark as the system's, until its button says otherwise; that it keeps."""
    assert min(background(window(color_scheme="light").open(server))) > 200
    page = window(color_scheme="dark").open(server)
    assert max(background(page)) < 60
    page.click("#theme")
    assert min(background(page)) > 200
    page.reload()
    page.wait_for_selector("#theme")
    assert min(background(page)) > 200
    assert page.get_attribute("#theme", "aria-label") == "Dark colours"


def contrast(one: list[int], other: list[int]) -> float:
    """Return the contrast of two colours, as WCAG reckons it."""

    def light(colour: list[int]) -> float:
        parts = [value / 255 for value in colour]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(window: Callable[..., Window], server: str, scheme: str) -> None:
    """Texts stand out from what is behind them."""
    page = window(color_scheme=scheme).open(server)
    probe = """(name) => {
        const made = document.createElement("span");
        made.style.color = `var(--${name})`;
        document.body.append(made);
        const canvas = document.createElement("canvas").getContext("2d");
        canvas.fillStyle = getComputedStyle(made).color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }"""
    surfaces = [page.evaluate(probe, name) for name in ("page", "surface", "raised")]
    texts = (
        "text",
        "soft",
        "accent",
        "completed",
        "failed",
        "running",
        "lost",
        "retried",
        "restored",
        "skipped",
    )
    found = {
        name: min(contrast(page.evaluate(probe, name), each) for each in surfaces) for name in texts
    }
    assert {name: round(ratio, 2) for name, ratio in found.items() if ratio < 4.5} == {}


def test_figures_beside_a_gap(window: Callable[..., Window], tmp_path: Path) -> None:
    """How long a span took is never written over the line of what it waited before."""
    path = tmp_path / "history.db"
    with MadeHistory(path) as made:
        attempts = [
            MadeAttempt(4.0, 4.01, "ValueError: no", 11, 3.9),
            MadeAttempt(9.98, 10.0, "ValueError: no", 12, 4.0),
        ]
        task = MadeTask("load", 0.1, 10.0, error="ValueError: no", attempts=attempts)
        made.add("orders", task, started=0.0, ended=10.0, mode="parallel")
    with served(path) as url:
        page = window().open(f"{url}runs/latest")
        page.wait_for_selector(".waterfall .row .gap")
        rows = page.evaluate(GAPS_AND_FIGURES)
        assert len(rows) == 2
        for gap_begins, gap_ends, figure_begins, figure_ends in rows:
            assert figure_ends <= gap_begins or figure_begins >= gap_ends


# Where the line of a wait and the figure beside it begin and end, at one time: rows are drawn anew.
GAPS_AND_FIGURES = """
    [...document.querySelectorAll(".waterfall .row:has(.gap)")].map((row) =>
        [".gap", ".took"].map((each) => row.querySelector(each).getBoundingClientRect())
            .flatMap((each) => [each.left, each.right]))
"""

# Where the cells that are shown of the first row end, at one time: rows are drawn anew.
CELL_ENDS = """
    [...document.querySelector(".list .row").querySelectorAll(".cell")]
        .map((each) => each.getBoundingClientRect()).filter((each) => each.width)
        .map((each) => each.right)
"""


def test_narrow(window: Callable[..., Window], server: str) -> None:
    """In a narrow window nothing is wider than it, and details come below."""
    opened = window(viewport={"width": 400, "height": 800})
    for place in ("", "runs/latest:orders"):
        page = opened.open(f"{server}{place}")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 400
        if not place:
            ends = page.evaluate(CELL_ENDS)
            assert len(ends) == 4
            assert max(ends) <= 390
    page.click(".row:has-text('clean') .label")
    rows, details = (page.locator(each).bounding_box() for each in (".panel:visible", ".details"))
    assert rows is not None
    assert details is not None
    assert details["y"] >= rows["y"] + rows["height"] - 1
    assert details["width"] > 340
    page.click("[role=tab]:has-text('Logs')")
    assert page.locator(".lines .row").count() == 4
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 400


UNNAMED = """
    [...document.querySelectorAll("button, input, select, a, [tabindex='0']")]
        .filter((each) => !each.getAttribute("aria-label") && !each.textContent.trim())
        .filter((each) => !each.labels?.length)
        .map((each) => each.outerHTML)
"""


def test_names_for_those_who_listen(window: Callable[..., Window], server: str) -> None:
    """What can be used has a name, ids are there once, and rows tell how many there are."""
    opened = window()
    for place in ("", "runs/latest:orders"):
        page = opened.open(f"{server}{place}")
        unnamed = page.evaluate(UNNAMED)
        assert unnamed == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        assert len(ids) == len(set(ids))
    assert page.get_attribute(".waterfall", "aria-rowcount") == "11"
    row = page.locator(".waterfall .row >> nth=3")
    assert (row.get_attribute("aria-level"), row.get_attribute("aria-rowindex")) == ("4", "5")


# --- the list, and two runs -------------------------------------------------------------------


def test_filters(window: Callable[..., Window], server: str) -> None:
    """Runs are found by words, workflow and status; the address keeps what was chosen."""
    opened = window()
    page = opened.open(server)
    assert page.locator(".row").count() == 9
    page.select_option("[aria-label=Status]", "failed")
    assert page.locator(".row .cell-workflow").all_inner_texts() == ["orders"]
    assert page.url.endswith("?status=failed")
    page.reload()
    page.wait_for_selector(".row")
    assert page.locator(".row").count() == 1
    page.select_option("[aria-label=Status]", "")
    page.select_option("[aria-label=Workflow]", "billing")
    assert page.locator(".row .badge").all_inner_texts() == ["lost"]
    page.select_option("[aria-label=Workflow]", "")
    page.fill("[aria-label='Search runs']", "no rate")
    wait_for_text(page, ".bar-of-tools", "1 of 9 runs")
    page.click(".row .cell-workflow")
    page.wait_for_selector(".waterfall")
    assert page.title() == "orders: failed · dotflow"
    page.go_back()
    page.wait_for_selector(".runs")
    assert page.input_value("[aria-label='Search runs']") == "no rate"


def test_comparison(window: Callable[..., Window], server: str) -> None:
    """Two runs that are chosen stand side by side, what got slower first."""
    page = window().open(f"{server}?workflow=orders")
    page.check(".row >> nth=0 >> input")
    assert page.is_disabled("text=Compare two")
    page.check(".row >> nth=2 >> input")
    page.click("text=Compare two")
    page.wait_for_selector(".compare .row")
    assert page.locator(".large").all_inner_texts()[:2] == ["3.50 s", "5.50 s"]
    first = page.locator(".row >> nth=0")
    assert first.locator(".cell-task").inner_text() == "enrich"
    assert first.locator(".change").inner_text().split() == ["+2.00", "s", "3.00×", "slower"]


# --- large, live and hostile ------------------------------------------------------------------


def resized(number: int) -> MadeTask:
    """Return one of very many tasks, with three spans."""
    at, error = number / 100, TRUNCATED if number % 97 == 5 else None
    spans = [MadeSpan("decode", at, at + 0.2)]
    attempt = MadeAttempt(at, at + 0.4, error, 5000 + number % 8, 0.001, spans)
    return MadeTask(f"resize {number:04}", at, at + 0.5, f"group {number % 8}", error, [attempt])


def test_a_large_run(window: Callable[..., Window], tmp_path: Path) -> None:
    """A run of 5,000 spans and 10,000 lines is of use at once, and has few elements."""
    tasks = [resized(number) for number in range(1667)]
    lines = [
        MadeLine(number / 500, f"line {number}", task=number % 1667) for number in range(10_000)
    ]
    path = tmp_path / "large.db"
    with MadeHistory(path) as made:
        made.add("thumbnails", *tasks, started=0.0, ended=18.0, mode="parallel", lines=lines)
    address = reported(path, "latest", tmp_path / "large.html")
    opened = window()
    began = time.monotonic()
    page = opened.open(address)
    page.fill("input[type=search]", "resize 0777")
    wait_for_text(page, ".found", "1")
    page.keyboard.press("Enter")
    assert selected(page) == "resize 0777"
    # Two seconds is what it may take on a machine that does nothing else.
    assert time.monotonic() - began < 8
    assert page.evaluate("document.querySelectorAll('*').length") < 2000
    assert page.inner_text("#tab-waterfall") == "Waterfall\n5,002"
    page.fill("input[type=search]", "")
    page.focus(".waterfall")
    page.keyboard.press("End")
    assert selected(page) == "resize 1666"
    page.click("[role=tab]:has-text('Logs')")
    page.focus(".lines .table")
    page.keyboard.press("End")
    assert page.locator(".lines .row.active .event-name").inner_text() == "line 9999"
    page.click("[role=tab]:has-text('Errors')")
    assert page.locator(".errors .card").count() == 1
    assert "× 18" in page.inner_text(".errors .card h3")


class Gate:
    """What a run waits at, one step after another."""

    def __init__(self) -> None:
        self.begun = Event()
        self.opened = Event()


gate = Gate()


@action
def first() -> int:
    """Return at once."""
    return 1


@action
def waits() -> int:
    """Wait until the test has looked."""
    gate.begun.set()
    assert gate.opened.wait(60)
    return 2


def test_a_live_run(window: Callable[..., Window], tmp_path: Path) -> None:
    """A run that goes on is seen to, in the list and on its page; and its end, without a reload."""
    gate.begun.clear()
    gate.opened.clear()
    with RecordedRuns(tmp_path / "history.db") as recorded:
        recorded.run(first, name="before")
        flow = DotFlow(config=recorded.config, name="live")
        flow.task.add([first, waits, first])
        thread = Thread(target=flow.start)
        with served(recorded.path) as url:
            listed = window().open(url)
            assert listed.locator(".row").count() == 1
            thread.start()
            try:
                assert gate.begun.wait(20)
                wait_for_text(listed, ".table .list", "live")
                wait_for_text(listed, ".row >> nth=0", "running")
                page = window().open(f"{url}runs/latest")
                wait_for_text(page, ".waterfall .list", "waits")
                assert page.inner_text("h1 .badge") == "running"
                assert page.inner_text(".numbers dt >> nth=0") == "Running for"
                assert page.locator(".row[data-status=running] .label").all_inner_texts() == [
                    "live",
                    "waits",
                ]
                page.wait_for_selector("html[data-live=on]", state="attached")
                before = page.inner_text(".numbers dd >> nth=0")
                page.wait_for_timeout(1200)
                assert page.inner_text(".numbers dd >> nth=0") != before
                page.click(".row:has-text('waits') .label")
                events = page.locator(".lines .event-name").all_text_contents()
                assert events.count("workflow.started") == 1
                assert events.count("task.started") == 2
            finally:
                gate.opened.set()
                thread.join(20)
            wait_for_text(page, "h1 .badge", "completed")
            assert page.inner_text(".numbers dt >> nth=0") == "Took"
            assert names(page) == ["live", "first", "waits", "first"]
            assert page.locator(".row[data-status=running]").count() == 0
            assert selected(page) == "waits"
            assert page.locator(".details .kind .badge").inner_text() == "completed"
            assert page.get_attribute("html", "data-live") == "ended"
            wait_for_text(listed, ".row >> nth=0", "completed")


SCRIPT = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
HOSTILE = {
    "markup": SCRIPT,
    "end of script": "</script><script>window.hit = 3</script><!--",
    "long": "a" * 10_000,
    "right to left": "\u202egnp.exe\u2066 \u05d0\u05d1\u05d2",
    "control": "a\x00b\x1b[31mc\rd\u200be",
    "template": "${window.hit = 4}{{constructor.constructor('window.hit=5')()}}",
    "address": "javascript:window.hit=6",
    "lines": "one\ntwo\u2028three",
    "words": "constructor __proto__ toString",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts(window: Callable[..., Window], tmp_path: Path, kind: str) -> None:
    """Whatever names, errors, attributes and lines are, they are shown as text and do nothing."""
    text = HOSTILE[kind]
    error = f"ValueError: {text}"
    attempt = MadeAttempt(1.0, 2.0, error, spans=[MadeSpan(text, 1.0, 1.5, error)])
    task = MadeTask(text, 1.0, 2.0, text, error, [attempt, MadeAttempt(2.0, 3.0, error)])
    line = MadeLine(1.0, text, 40, {text: text, "exception": text, "list": [text]}, task=0)
    path = tmp_path / "hostile.db"
    with MadeHistory(path) as made:
        made.add(text, task, started=0.0, ended=4.0, lines=[line])
    report = reported(path, "latest", tmp_path / "run.html")
    with served(path) as url:
        for address in (report, f"{url}runs/latest", url, f"{url}compare?a=latest&b=latest"):
            page = window(viewport={"width": 1000, "height": 700}).open(address)
            assert page.get_attribute("html", "data-ready") == "true"
            if "/compare" not in address and address != url:
                page.click(".waterfall .row >> nth=1 >> .label")
                for tab in "2345":
                    page.keyboard.press(tab)
                page.click(".lines .row")
                if kind == "markup":
                    assert SCRIPT in page.inner_text(".details h2")
                    assert SCRIPT in page.inner_text(".details dl >> nth=0")
                if kind == "right to left":
                    assert "\\u202egnp.exe\\u2066" in page.inner_text(".details h2")
            assert page.evaluate("window.hit") is None
            assert page.locator("img").count() == 0
            assert page.evaluate("document.scrollingElement.scrollWidth") <= 1000
            assert "\u202e" not in page.inner_text("body")


def test_reduced_motion(window: Callable[..., Window], tmp_path: Path) -> None:
    """Who wants no motion sees none; others see that a run goes on."""
    path = tmp_path / "history.db"
    with MadeHistory(path) as made:
        here = made.process(beat=10.0**9, gone=False)
        made.add("billing", MadeTask("load", 1.0, None), ended=None, process=here)
    for motion, moving in (("reduce", 0), ("no-preference", 1)):
        page = window(reduced_motion=motion).open(reported(path, "latest", tmp_path / "run.html"))
        assert page.inner_text("h1 .badge") == "running"
        assert min(page.evaluate("document.getAnimations().length"), 1) == moving
