"""Takes the README's pictures of the pages: real runs of a made-up shop, in a real browser.

    make pictures

The shop's workflow runs a number of times, once with a slow part and once with one that fails; a
browser without a window then looks at the pages of these runs.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from browsing import Window, served, started_browser
from opentelemetry import trace

from dotflow import Context, DotFlow, action
from dotflow_otel import LogStructlog, observe

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from dotflow import Config

FOLDER: Final = Path(__file__).parent
REGIONS: Final = ("north", "south", "east", "west")
USUAL_RUNS: Final = 6
VIEW: Final = {"width": 1120, "height": 816}

log = logging.getLogger("shop")
tracer = trace.get_tracer("shop")


def work(name: str, seconds: float) -> None:
    """Take some time, in a span."""
    with tracer.start_as_current_span(name):
        time.sleep(seconds * random.uniform(0.9, 1.1))  # noqa: S311 - no secret


@action
def extract(initial_context: Context) -> dict[str, str]:
    """Read a region's orders."""
    wish = dict(initial_context.storage)
    work("select orders", 0.14)
    log.info("read %d orders of %s", 1240, wish["region"])
    return wish


@action(retry=2, retry_delay=0.08)
def clean(previous_context: Context) -> dict[str, str]:
    """Leave out what is no order; the east's replica answers at the second call only."""
    wish = previous_context.storage
    flag = Path(wish["folder"], f"{wish['run']}-{wish['region']}")
    work("validate", 0.05)
    if wish["region"] == "east" and not flag.exists():
        flag.touch()
        raise ConnectionError("the replica closed the connection")
    return dict(wish)


@action(retry=2, retry_delay=0.05)
def convert(previous_context: Context) -> dict[str, str]:
    """Convert prices, which fails for a currency without a rate."""
    wish = previous_context.storage
    work("fetch rates", 0.4 if wish["slow"] == wish["region"] else 0.09)
    if wish["failing"] == wish["region"]:
        log.warning("no rate for XAU on this day")
        raise LookupError("no exchange rate for 'XAU'")
    return dict(wish)


@action
def load(previous_context: Context) -> int:
    """Write the orders."""
    work("insert orders", 0.1)
    log.info("wrote %d orders of %s", 1180, previous_context.storage["region"])
    return 1180


def run_shop(config: Config, folder: Path, run: int, slow: str = "", failing: str = "") -> None:
    """Run the workflow once."""
    flow = DotFlow(config=config, name="orders")
    for region in REGIONS:
        wish = {"region": region, "folder": str(folder), "run": str(run)}
        wish |= {"slow": slow, "failing": failing}
        flow.task.add([extract, clean, convert, load], initial_context=wish, group_name=region)
    flow.start(mode="parallel")


def run_bill(config: Config) -> None:
    """Run another workflow."""
    flow = DotFlow(config=config, name="invoices")
    wish = {"region": "all", "slow": "", "failing": ""}
    flow.task.add([extract, load], initial_context=wish)
    flow.start()


def take(browser: Browser, url: str) -> None:
    """Take the pictures."""

    def window(dark: bool) -> Window:
        scheme = "dark" if dark else "light"
        return Window(browser, viewport=VIEW, color_scheme=scheme)

    def picture(page: Page, name: str) -> None:
        page.mouse.move(1, 1)
        page.wait_for_timeout(400)
        page.screenshot(path=FOLDER / f"{name}.png")

    light, dark = window(dark=False), window(dark=True)
    page = light.open(url)
    page.click(".row:has-text('failed') .cell-workflow a")
    page.wait_for_selector(".why:visible")
    page.click(".why button:has-text('failed after')")
    page.click(".details .stack summary")  # whose paths are of this machine
    picture(page, "page")
    page = dark.open(url)
    slow, usual = (page.locator(".row:has-text('orders') input").nth(n) for n in (0, 2))
    for each in (slow, usual):
        each.check()
    page.click("text=Compare two")
    page.wait_for_selector(".compare .row")
    picture(page, "comparison")
    light.close()
    dark.close()


def main() -> None:
    """Run the workflow, and take the pictures."""
    os.environ |= {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    try:
        with tempfile.TemporaryDirectory() as name, started_browser() as browser:
            folder = Path(name)
            path = folder / "history.db"
            lines = LogStructlog(output="file", path=folder / "shop.log", format="json")
            config = observe("shop", history=path, log=lines)
            for number in range(USUAL_RUNS):
                run_shop(config, folder, number)
                if number % 2:
                    run_bill(config)
            run_shop(config, folder, USUAL_RUNS, failing="west")
            run_shop(config, folder, USUAL_RUNS + 1, slow="south")
            time.sleep(1)  # until the last run is recorded as well
            with served(path, jaeger="http://localhost:16686") as url:
                take(browser, url)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        sys.exit(f"no pictures of pages: {missing}")


if __name__ == "__main__":
    main()
