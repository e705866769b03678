"""A real browser, and the pages that it looks at: a server of a history, or a report."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from needed import tool
from waiting import wait_for

from dotflow_otel.history.reader import History
from dotflow_otel.pages.report import report, run_document
from dotflow_otel.pages.server import PageServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

# Nothing of it goes to the network but what a page asks for.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@contextmanager
def started_browser() -> Iterator[Browser]:
    """Start Chromium without a window."""
    path = tool("Chromium", shutil.which("chromium"), "apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Window:
    """A window of a browser, with all that it says and asks for.

    Args:
        browser: The browser.
        options: Of the context: `viewport`, `color_scheme`, `reduced_motion`.

    Attributes:
        page: What is looked at.
        faults: What the page complained of, in its console or by an exception.
        hosts: Whom it asked for anything, but for this machine.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        options = {"viewport": {"width": 1200, "height": 800}, **options}
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(15_000)
        self.page: Page = self._context.new_page()
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._request)
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog {dialog.message}"))

    def open(self, address: str) -> Page:
        """Look at an address, and wait until the page has drawn itself."""
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self.page

    def close(self) -> None:
        """Close the window; see that nothing went wrong in it."""
        self._context.close()
        assert self.faults == []
        assert self.hosts <= {"127.0.0.1"}

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "file"}:
            self.hosts.add(parts.hostname or request.url)


@contextmanager
def served(path: Path, names: Sequence[str] = (), **links: str) -> Iterator[str]:
    """Serve the pages of a history; return their address."""
    server = PageServer(path, "127.0.0.1", 0, links, names)
    thread = Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def reported(path: Path, run: str, file: Path, **links: str) -> str:
    """Write the report of a run to a file; return its address."""
    with History(path) as history:
        page = report(run_document(history, history.run(run), links))
    file.write_text(page, encoding="utf-8")
    return file.as_uri()


def wait_for_text(page: Page, selector: str, text: str, seconds: float = 20) -> None:
    """Wait until something on a page has a text, or says it as part of one."""
    wait_for(
        lambda: text in (page.text_content(selector) or "") or page.wait_for_timeout(20), seconds
    )
