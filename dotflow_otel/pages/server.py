"""The pages of all runs, served from a history that others may be writing to.

It only reads. What it sends is for its own pages, whose policy lets them ask nobody else; and it
answers only those who have asked for this machine by an address or a name that is its own, so that
a page from elsewhere, whose name was made to lead here, reads nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from dotflow.core.exception import DotflowError
from dotflow_otel.analysis.timing import compare
from dotflow_otel.analysis.tree import view_of
from dotflow_otel.history.reader import History, RunNotFound
from dotflow_otel.history.store import RUNNING, HistoryUnusable
from dotflow_otel.pages.report import (
    comparison_document,
    facts_of,
    part_of,
    policy,
    run_analysis,
    run_document,
    script,
    shell,
    style,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

# Seconds between two looks at the history for those who watch, and between two at the clock.
_LOOKS: Final = 0.5
_ASKS: Final = 0.1
# After so many seconds of silence a comment is sent, by which a gone reader is noticed.
_SILENCE: Final = 15.0
# How many may watch at a time, and how many runs the list has.
_WATCHERS: Final = 64
_RUNS: Final = 1000
# Seconds that an answer may take that is under way when the server ends.
_GRACE: Final = 3

_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_POLICY: Final = (
    policy(script="'self'", style="'self'", connect="'self'") + "; frame-ancestors 'none'"
)

# What changes by itself while a run goes on, and is not news.
_AGES: Final = frozenset({"age", "duration", "last"})


class CannotServe(DotflowError, OSError):
    """Pages cannot be served at an address."""

    def __init__(self, host: str = "", port: int = 0, reason: OSError | None = None) -> None:
        found = _reason_text(reason)
        super().__init__(
            f"Pages cannot be served on {host!r}, port {port}: {found}. Give an address of this "
            "machine and a port that no other program listens on; port 0 takes any that is free."
        )


def _reason_text(reason: OSError | None) -> str:
    if reason is None:
        return ""
    # Of a name that leads nowhere the number is none of the system's.
    is_system = reason.errno is not None and not isinstance(reason, socket.gaierror)
    return os.strerror(reason.errno or 0) if is_system else reason.strerror or str(reason)


class PageServer:
    """Serves the pages of a history.

    It listens from the beginning; `run` answers.

    Args:
        path: The history.
        host: The address to listen on.
        port: The port; 0: any that is free.
        links: The addresses of Jaeger and Grafana.
        names: Names of this machine that it may be asked for by, beside `localhost` and its own.

    Attributes:
        url: Where the list of runs is.
        is_local: Whether only programs of this machine reach it.

    Raises:
        HistoryUnusable: The history cannot be read.
        CannotServe: It cannot listen there.
    """

    def __init__(
        self,
        path: Path,
        host: str,
        port: int,
        links: Mapping[str, str],
        names: Sequence[str] = (),
    ) -> None:
        with History(path):
            pass  # seen to be one that can be read
        self._socket = _listening(host, port)
        address = self._socket.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.is_local = ip_address(address[0].partition("%")[0]).is_loopback
        self.url = f"http://{shown}:{address[1]}/"
        app = _own_requests_only(Pages(path, links, self._is_ending).app(), [host, *names])
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    def run(self) -> None:
        """Answer until a signal ends it, or `stop` does; then pass the signal on."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Make `run` return, from any thread."""
        self._server.should_exit = True

    def _is_ending(self) -> bool:
        return self._server.should_exit


def _listening(host: str, port: int) -> socket.socket:
    try:
        (family, *_, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = error if isinstance(error, OSError) else OSError(str(error))
        raise CannotServe(host, port, reason) from error


class Pages:
    """The application.

    Args:
        path: The history.
        links: The addresses of Jaeger and Grafana.
        is_ending: Whether the server is about to end.
    """

    def __init__(self, path: Path, links: Mapping[str, str], is_ending: Callable[[], bool]) -> None:
        self._path = path
        self._links = links
        self._is_ending = is_ending
        self._watchers = 0
        code, looks = script(), style()
        self._files = {
            "page.js": Response(code, media_type="text/javascript"),
            "page.css": Response(looks, media_type="text/css"),
        }
        page = shell(
            {
                "style": '<link rel="stylesheet" href="/static/page.css">',
                "script": '<script src="/static/page.js"></script>',
            }
        )
        self._page = Response(
            page, media_type="text/html", headers={"Content-Security-Policy": _POLICY}
        )

    def app(self) -> ASGIApp:
        """Return it as an ASGI application."""
        routes = [
            Route("/", self._shell),
            Route("/runs/{run}", self._shell),
            Route("/compare", self._shell),
            Route("/static/{name}", self._file),
            Route("/api/runs", self._runs),
            Route("/api/runs/{run}", self._run),
            Route("/api/runs/{run}/analysis", self._analysis),
            Route("/api/compare", self._compare),
            Route("/api/events", self._watch_runs),
            Route("/api/runs/{run}/events", self._watch_run),
        ]
        handlers: dict[Any, Callable[..., Any]] = {
            RunNotFound: _refused(404),
            HistoryUnusable: _refused(503),
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _shell(self, _request: Request) -> Response:
        return self._page

    async def _file(self, request: Request) -> Response:
        return self._files.get(request.path_params["name"]) or Response(status_code=404)

    # --- what the pages ask for ---------------------------------------------------------------

    async def _runs(self, _request: Request) -> Response:
        return await self._read(lambda history: {"runs": _list(history)})

    async def _run(self, request: Request) -> Response:
        reference = request.path_params["run"]

        def read(history: History) -> dict[str, Any]:
            run = history.run(reference)
            # Of a run that goes on: the lines until a position, from which it is followed. Spans
            # that come twice do no harm.
            position, lines = 0, None
            if run.status == RUNNING:
                _, lines, position = history.recorded(run)
            document = run_document(history, run, self._links, analysed=False, lines=lines)
            return {**document, "position": position}

        return await self._read(read)

    async def _analysis(self, request: Request) -> Response:
        # Separate, for it reads the runs before as well: the page is of use before it comes.
        reference = request.path_params["run"]
        return await self._read(lambda history: run_analysis(history, history.run(reference)))

    async def _compare(self, request: Request) -> Response:
        references = [request.query_params.get(name, "") for name in ("a", "b")]

        def read(history: History) -> dict[str, Any]:
            runs = [history.run(reference) for reference in references]
            views = [view_of(run, history.spans(run)) for run in runs]
            return comparison_document(compare(*views))

        return await self._read(read)

    async def _read(self, read: Callable[[History], dict[str, Any]]) -> Response:
        def answer() -> str:
            with History(self._path) as history:
                return _json(read(history))

        return Response(await run_in_threadpool(answer), media_type="application/json")

    # --- what they watch ----------------------------------------------------------------------

    async def _watch_runs(self, _request: Request) -> Response:
        return self._watched(_RunsWatch(self._path))

    async def _watch_run(self, request: Request) -> Response:
        # After a break the browser says what it received last.
        after = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        # No key of SQLite is longer.
        if not (after.isascii() and after.isdecimal() and len(after) < 20):  # noqa: PLR2004
            return JSONResponse({"error": f"after={after!r} is no position."}, 400)
        watch = _RunWatch(self._path, request.path_params["run"], int(after), self._links)
        return self._watched(watch)

    def _watched(self, watch: _Watch) -> Response:
        if self._watchers >= _WATCHERS:
            return JSONResponse({"error": "Too many pages are open."}, 503)
        return StreamingResponse(self._events(watch), media_type="text/event-stream")

    async def _events(self, watch: _Watch) -> AsyncIterator[str]:
        loop = asyncio.get_running_loop()
        self._watchers += 1
        try:
            # After a break the browser asks again so soon, in milliseconds.
            yield "retry: 2000\n\n"
            said = looked = -_LOOKS
            while not (self._is_ending() or watch.is_over):
                await asyncio.sleep(_ASKS)
                if loop.time() - looked < _LOOKS:
                    continue
                try:
                    news = await run_in_threadpool(watch.news)
                except DotflowError:
                    return  # the page asks again, and then learns why
                looked = loop.time()
                if news is not None or looked - said > _SILENCE:
                    found = f"id: {watch.position}\ndata: {news}\n\n"
                    yield ": still here\n\n" if news is None else found
                    said = looked
        finally:
            self._watchers -= 1


class _Watch:
    """What has changed of something, each time it is asked.

    Attributes:
        is_over: Whether nothing more will change.
        position: From where it can be asked again.
    """

    is_over = False
    position = 0

    def news(self) -> str | None:
        """Return JSON of what has changed, if anything has."""
        raise NotImplementedError


class _RunsWatch(_Watch):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        self._is_first = True
        self._stamp: tuple[object, ...] = ()

    def news(self) -> str | None:
        # While nobody writes, only a run that goes on may change: its process may be gone.
        stamp = _stamp(self._path)
        goes_on = any(run["status"] == RUNNING for run in self._known.values())
        if stamp == self._stamp and not goes_on:
            return None
        self._stamp = stamp
        with History(self._path) as history:
            listed = _list(history)
        found = {
            run["id"]: {name: value for name, value in run.items() if name not in _AGES}
            for run in listed
        }
        changed = [run for run in listed if self._known.get(run["id"]) != found[run["id"]]]
        are_others = found.keys() != self._known.keys()
        # A page that lost its connection may know none of what happened meanwhile.
        is_news = bool(changed) or are_others or self._is_first
        self._known, self._is_first = found, False
        return (
            _json({"runs": changed, "ids": [*found] if are_others else None}) if is_news else None
        )


class _RunWatch(_Watch):
    def __init__(self, path: Path, run: str, after: int, links: Mapping[str, str]) -> None:
        self._path = path
        self._run = run
        self.position = after
        self._links = links
        self._counted: tuple[object, ...] = ()

    def news(self) -> str | None:
        with History(self._path) as history:
            run = history.run(self._run)
            if run.status != RUNNING:
                self.is_over = True
                return _json(run_document(history, run, self._links))
            recorded = history.recorded(run, self.position)
            counted = run[7:13]
            is_news = recorded.position != self.position or counted != self._counted
            self.position, self._counted = recorded.position, counted
            if not is_news:
                return None
            if not run.is_sampled:
                # The ends of such spans come apart from these, to be put together.
                return _json(run_document(history, run, self._links, analysed=False))
            part = part_of(run, recorded.spans, recorded.lines)
            return _json({"run": facts_of(run), "part": part})


def _stamp(path: Path) -> tuple[object, ...]:
    """Return what changes whenever something is written to a history."""
    found: list[object] = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return (*found,)


def _list(history: History) -> list[dict[str, Any]]:
    return [facts_of(run) for run in history.runs(limit=_RUNS)]


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _refused(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status)

    return answer


# --- who may ask ------------------------------------------------------------------------------


def _own_requests_only(app: ASGIApp, given: Sequence[str]) -> ASGIApp:
    """Make an application answer only who asks for this machine."""
    names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in given)}

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_ALWAYS, *message["headers"]]
            await send(message)

        hosts = [value for name, value in scope["headers"] if name == b"host"]
        answers: Any = app
        if len(hosts) != 1 or not _is_own(hosts[0].decode("latin-1"), names):
            found = {"error": "This server does not go by that name: ask for it by its address."}
            answers = JSONResponse(found, 421)
        await answers(scope, receive, send_with_headers)

    return guarded


def _is_own(host: str, names: set[str]) -> bool:
    # An address leads where it says; only a name can be made to lead here.
    name = host.lower()
    name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    if name in names or name.endswith(".localhost"):
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
