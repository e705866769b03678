"""`ServerDefault`: what it reports, and that no server can hurt a run."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from log_records import own_records

from dotflow.abc.noop import is_noop
from dotflow.abc.server import Server
from dotflow.providers import delivery as delivery_module
from dotflow.providers import server_endpoint
from dotflow.providers.delivery import Delivery
from dotflow.providers.server_default import ServerDefault
from dotflow.providers.server_endpoint import Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "secret-0123"  # noqa: S105 - of no real server
LONG = 10.0
HOOKS = ("create_workflow", "update_workflow", "create_task", "update_task")


class Received(NamedTuple):
    """A request that the server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    client: tuple[str, int]


class Handler(BaseHTTPRequestHandler):
    """Keeps requests, and answers as the test says."""

    server: Backend
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        got = Received(self.command, self.path, headers, body, self.client_address)
        self.server.received.append(got)
        assert self.server.go.wait(LONG)
        answers = self.server.answers
        self.send_response(answers.pop(0) if answers else self.server.answer)
        for name, value in self.server.answer_headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection |= self.server.hang_up

    def do_CONNECT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.tunnels.append((self.path, headers))
        self.send_error(403)

    def finish(self) -> None:
        super().finish()
        with suppress(OSError):  # the client was faster
            self.connection.shutdown(socket.SHUT_RDWR)
        self.server.closed.set()

    do_PATCH = do_POST  # noqa: N815 - the name that http.server looks for
    do_GET = do_POST  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


class Backend(ThreadingHTTPServer):
    """A server on the loopback device."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[Received] = []
        self.answer = 200
        self.answers: list[int] = []  # before that one
        self.tunnels: list[tuple[str, dict[str, str]]] = []
        self.hang_up = False
        self.closed = threading.Event()
        self.answer_headers: dict[str, str] = {"Content-Length": "0"}
        self.go = threading.Event()
        self.go.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Thing:
    """A workflow or task, as far as the provider looks at it."""

    def __init__(self, **facts: Any) -> None:
        self.workflow_id = "etl/daily"
        self.task_id = "T1"
        self.facts = facts

    def result(self, max: int | None = None) -> dict[str, Any]:  # noqa: A002 - as Task names it
        return {**self.facts, "max": max}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server is configured, no proxy is in between, and nothing waits long."""
    for name in ("SERVER_BASE_URL", "SERVER_USER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(delivery_module, "LINGER", 0.01)
    monkeypatch.setattr(server_endpoint, "BACKOFF", 0.01)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """A server that the environment names."""
    with Backend() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("SERVER_BASE_URL", server.url + "/")
        monkeypatch.setenv("SERVER_USER_TOKEN", TOKEN)
        yield server
        server.go.set()
        server.shutdown()
        thread.join(LONG)


def write_config(home: Path, text: str) -> None:
    """Make the configuration file."""
    (home / ".dotflow").mkdir()
    (home / ".dotflow" / "config.json").write_text(text, encoding="utf-8")


def tell_all(server: ServerDefault) -> None:
    """Call each hook once."""
    server.create_workflow(workflow=Thing(kind="flow"))
    server.create_task(task=Thing(kind="new"))  # type: ignore[arg-type]
    server.update_workflow(workflow="etl/daily", status="In progress")
    server.update_task(task=Thing(kind="done"))  # type: ignore[arg-type]


def test_constants() -> None:
    """The limits are those of 1.x, and the class is a `Server`."""
    assert (ServerDefault.MAX_RESULT_SIZE, ServerDefault.TIMEOUT) == (5_000_000, 15.0)
    assert isinstance(ServerDefault(), Server)


def test_inactive_without_configuration() -> None:
    """Without a server every hook is marked as doing nothing, and does nothing."""
    server = ServerDefault()
    assert all(is_noop(getattr(server, hook)) for hook in HOOKS)
    tell_all(server)
    assert server.flush(0)


def test_override_is_kept_where_inactive() -> None:
    """A subclass's own hook is called also where no server is configured."""
    told: list[str] = []

    class Mine(ServerDefault):
        def update_task(self, task: Any) -> None:
            told.append(task)
            super().update_task(task)

        def create_task(self, task: Any) -> None:
            super().create_task(task)

        def create_workflow(self, workflow: Any) -> None:
            super().create_workflow(workflow)

        def update_workflow(self, workflow: Any, status: str = "") -> None:
            super().update_workflow(workflow, status)

    server = Mine()
    server.update_task("t")
    server.create_task("t")
    server.create_workflow("w")
    server.update_workflow("w")
    assert told == ["t"]
    assert not is_noop(server.update_task)


@pytest.mark.parametrize("name", ["SERVER_BASE_URL", "SERVER_USER_TOKEN"])
def test_inactive_with_half_a_configuration(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Both address and token are needed; an empty or blank one is none."""
    monkeypatch.setenv("SERVER_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SERVER_USER_TOKEN", TOKEN)
    for value in ("", " "):
        monkeypatch.setenv(name, value)
        assert is_noop(ServerDefault().create_task)


def test_requests(backend: Backend) -> None:
    """Each hook makes one request, in order, with token, type, quoted path and body."""
    server = ServerDefault()
    assert not any(is_noop(getattr(server, hook)) for hook in HOOKS)
    tell_all(server)
    assert server.flush(LONG)
    start = "/cli/workflows"
    size = ServerDefault.MAX_RESULT_SIZE
    assert [(got.method, got.path, got.body) for got in backend.received] == [
        ("POST", start, {"kind": "flow", "max": None}),
        ("POST", f"{start}/etl%2Fdaily/tasks", {"kind": "new", "max": size}),
        ("PATCH", f"{start}/etl%2Fdaily", {"status": "In progress"}),
        ("PATCH", f"{start}/etl%2Fdaily/tasks/T1", {"kind": "done", "max": size}),
    ]
    for got in backend.received:
        assert got.headers["authorization"] == f"Bearer {TOKEN}"
        assert got.headers["content-type"] == "application/json"


def test_order_of_many(backend: Backend) -> None:
    """Requests arrive in the order of the calls."""
    server = ServerDefault()
    for number in range(30):
        server.update_workflow("w", status=str(number))
    assert server.flush(LONG)
    assert [got.body["status"] for got in backend.received] == [str(n) for n in range(30)]


def test_body_is_of_the_moment_of_the_call(backend: Backend) -> None:
    """What changes after the call is not in the request, however late it goes out."""
    backend.go.clear()
    server = ServerDefault()
    server.update_workflow("w", status="first")
    thing = Thing(rows=[1])
    server.update_task(thing)  # type: ignore[arg-type]
    thing.facts["rows"].append(2)
    backend.go.set()
    assert server.flush(LONG)
    assert backend.received[1].body["rows"] == [1]


def test_configuration_file(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment has none, address and token come from the file."""
    monkeypatch.delenv("SERVER_BASE_URL")
    monkeypatch.setenv("SERVER_USER_TOKEN", "")
    cloud = {"base_url": backend.url, "token": "of-the-file"}
    write_config(tmp_path, json.dumps({"cloud": cloud}))
    server = ServerDefault()
    server.update_workflow("w", status="x")
    assert server.flush(LONG)
    assert backend.received[0].headers["authorization"] == "Bearer of-the-file"


def test_environment_stands_over_the_file(backend: Backend, tmp_path: Path) -> None:
    """The environment's values are used where there are both."""
    cloud = {"base_url": "http://127.0.0.1:1", "token": "of-the-file"}
    write_config(tmp_path, json.dumps({"cloud": cloud}))
    server = ServerDefault()
    server.update_workflow("w", status="x")
    assert server.flush(LONG)
    assert backend.received[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("{", "is no JSON"),
        ('{"cloud": 5}', "must hold"),
        ("[]", "must hold"),
        ("{}", None),
        ('{"cloud": {"base_url": null, "token": null}}', None),
    ],
)
def test_broken_configuration_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, logged: str | None
) -> None:
    """A malformed file is warned of and the provider stays inactive."""
    write_config(tmp_path, text)
    assert is_noop(ServerDefault().create_task)
    assert [record.levelno for record in own_records(caplog)] == [logging.WARNING] * bool(logged)
    assert logged is None or logged in caplog.text


def test_unreadable_configuration_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read is warned of, too."""
    (tmp_path / ".dotflow" / "config.json").mkdir(parents=True)
    assert is_noop(ServerDefault().create_task)
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "logged"),
    [
        ("SERVER_BASE_URL", "file:///tmp/x", "must begin with http"),
        ("SERVER_USER_TOKEN", "secret\nX-Other: 1", "characters that no token has"),
        ("SERVER_USER_TOKEN", "s\u00e9cret", "characters that no token has"),
    ],
)
def test_unusable_configuration(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
    logged: str,
) -> None:
    """Other schemes, and tokens that no header can hold, are warned of and not used."""
    monkeypatch.setenv("SERVER_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SERVER_USER_TOKEN", TOKEN)
    monkeypatch.setenv(name, value)
    assert is_noop(ServerDefault().create_task)
    assert logged in caplog.text
    assert "secret" not in caplog.text


def test_server_that_answers_500(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """An error of the server is logged with its code, and the next request goes out."""
    backend.answer = 500
    server = ServerDefault()
    tell_all(server)
    assert server.flush(LONG)
    assert len(backend.received) == 4
    assert [(r.name, r.levelname) for r in own_records(caplog)] == [("dotflow", "WARNING")] * 4
    assert own_records(caplog)[0].message == "POST /cli/workflows: the server answered 500"
    assert TOKEN not in caplog.text


def test_redirect_is_not_followed(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """A redirect is an error: following it would hand the token to somebody else."""
    backend.answer = 302
    backend.answer_headers["Location"] = f"{backend.url}/elsewhere"
    server = ServerDefault()
    server.create_workflow(Thing())
    assert server.flush(LONG)
    assert [got.path for got in backend.received] == ["/cli/workflows"]
    assert "answered 302" in caplog.text


def test_server_that_is_down(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is not there is logged when it is noted and when each is given up, no token."""
    monkeypatch.setenv("SERVER_BASE_URL", f"http://{TOKEN}:1/")
    server = ServerDefault()
    tell_all(server)
    assert server.flush(LONG)
    messages = [record.message for record in own_records(caplog)]
    assert len(messages) == 1 + 4
    assert messages[0].startswith("POST /cli/workflows: the server failed (gaierror: ")
    assert messages[0].endswith("; it is tried again")
    assert all(message.endswith(", 5 times") for message in messages[1:])
    assert TOKEN not in caplog.text


def test_server_that_hangs(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls return at once, a flush ends in time, and a try is given up after TIMEOUT."""
    monkeypatch.setattr(ServerDefault, "TIMEOUT", 0.5)
    monkeypatch.setattr(server_endpoint, "ATTEMPTS", 2)
    backend.go.clear()
    server = ServerDefault()
    server.update_workflow("w", status="x")
    # Where either had waited for the answer, the request would be given up by now.
    assert not server.flush(0.02)
    assert server.flush(LONG)
    assert own_records(caplog)[-1].message.endswith("(TimeoutError: timed out), 2 times")


@pytest.mark.parametrize("answer", [408, 429, 502, 503, 504])
def test_answers_that_pass_are_tried_again(
    backend: Backend, caplog: pytest.LogCaptureFixture, answer: int
) -> None:
    """The same request goes out again until the server is well, and the next one after it."""
    backend.answers += [answer, answer]
    server = ServerDefault()
    server.update_workflow("w", status="first")
    server.update_workflow("w", status="second")
    assert server.flush(LONG)
    assert [got.body["status"] for got in backend.received] == ["first"] * 3 + ["second"]
    assert [record.message for record in own_records(caplog)] == [
        f"PATCH /cli/workflows/w: the server answered {answer}; it is tried again"
    ]


def test_waits_between_tries(monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
    """The waits double, each less by up to a half, and there are five tries at most."""
    waits: list[float] = []
    monkeypatch.setattr(server_endpoint, "BACKOFF", 0.5)
    monkeypatch.setattr(server_endpoint, "pause", waits.append)
    backend.answer = 503
    server = ServerDefault()
    server.update_workflow("w", status="x")
    assert server.flush(LONG)
    assert len(backend.received) == 5
    # Before each try it looks whether the server wants it to wait.
    between = waits[1::2]
    assert len(between) == 4
    for wait, most in zip(between, (0.5, 1, 2, 4), strict=True):
        assert most / 2 <= wait <= most


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after(
    monkeypatch: pytest.MonkeyPatch,
    backend: Backend,
    caplog: pytest.LogCaptureFixture,
    as_date: bool,
) -> None:
    """Nothing is sent before the time that the server names, in seconds or as a date."""
    waits: list[float] = []
    clock = 1000.0

    def pause(seconds: float) -> None:
        nonlocal clock
        waits.append(seconds)
        clock += max(seconds, 0)

    monkeypatch.setattr(server_endpoint, "pause", pause)
    monkeypatch.setattr(server_endpoint, "monotonic", lambda: clock)
    until = formatdate(time.time() + 120, usegmt=True)
    backend.answer_headers["Retry-After"] = until if as_date else "120"
    # A refusal for good names a time as well: the next request waits for it.
    backend.answers += [503, 400]
    server = ServerDefault()
    server.update_workflow("w", status="first")
    server.update_workflow("w", status="second")
    assert server.flush(LONG)
    assert [got.body["status"] for got in backend.received] == ["first", "first", "second"]
    # Less the wait of the backoff; a date is told in whole seconds.
    assert [wait for wait in waits if wait > 1] == pytest.approx([120, 120], abs=2.5)


@pytest.mark.parametrize("value", ["soon", "-5", "", "1e9999", "Wed, 99 Foo"])
def test_unreadable_retry_after(backend: Backend, value: str) -> None:
    """What is no time is passed over."""
    backend.answer_headers["Retry-After"] = value
    backend.answers.append(503)
    server = ServerDefault()
    server.update_workflow("w", status="x")
    assert server.flush(LONG)
    assert len(backend.received) == 2


def test_one_connection_for_all(backend: Backend) -> None:
    """What waits goes out over one connection, which is closed when nothing comes any more."""
    server = ServerDefault()
    for number in range(10):
        server.update_workflow("w", status=str(number))
    assert server.flush(LONG)
    assert len({got.client for got in backend.received}) == 1
    assert backend.closed.wait(LONG)
    server.update_workflow("w", status="again")
    assert server.flush(LONG)
    assert len({got.client for got in backend.received}) == 2


def test_connection_that_the_server_closed(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that the server has closed meanwhile costs no try and no line of the log."""
    monkeypatch.setattr(delivery_module, "LINGER", 1.0)
    monkeypatch.setattr(server_endpoint, "ATTEMPTS", 1)
    server = ServerDefault()
    backend.hang_up = True
    for status in ("first", "second"):
        server.update_workflow("w", status=status)
        assert server.flush(LONG)
        assert backend.closed.wait(LONG)
        backend.closed.clear()
    assert [got.body["status"] for got in backend.received] == ["first", "second"]
    assert not own_records(caplog)


def test_long_answer_is_not_read(backend: Backend) -> None:
    """An answer beyond 64 KB is not waited for; the next request has a connection of its own."""
    backend.answer_headers["Content-Length"] = "65537"
    server = ServerDefault()
    server.update_workflow("w", status="first")
    server.update_workflow("w", status="second")
    assert server.flush(LONG)
    assert [got.body["status"] for got in backend.received] == ["first", "second"]
    assert len({got.client for got in backend.received}) == 2


def test_proxy_of_the_environment(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the proxy that the environment names, with its login."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", backend.url.replace("//", "//me:pass@"))
    monkeypatch.setenv("SERVER_BASE_URL", "http://reports.invalid/base/")
    server = ServerDefault()
    server.update_workflow("w", status="x")
    assert server.flush(LONG)
    (got,) = backend.received
    assert got.path == "http://reports.invalid/base/cli/workflows/w"
    assert got.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="


def test_proxy_of_the_environment_for_https(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To a server with TLS a proxy is asked for a tunnel; one that refuses it gets no token."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.setattr(server_endpoint, "ATTEMPTS", 1)
    monkeypatch.setenv("https_proxy", backend.url.replace("http://", "me:pass@"))
    monkeypatch.setenv("SERVER_BASE_URL", "https://reports.invalid")
    server = ServerDefault()
    server.update_workflow("w", status="x")
    assert server.flush(LONG)
    ((target, headers),) = backend.tunnels
    assert (target, headers["proxy-authorization"]) == ("reports.invalid:443", "Basic bWU6cGFzcw==")
    assert "authorization" not in headers
    refused = "failed (OSError: Tunnel connection failed: 403 Forbidden)"
    assert own_records(caplog)[-1].message == f"PATCH /cli/workflows/w: the server {refused}"


@pytest.mark.parametrize("url", ["https://", "http://host:port", "http://[::1", "ftp://host"])
def test_unusable_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """An address that names no host, or no port where it has one, is warned of and not used."""
    monkeypatch.setenv("SERVER_BASE_URL", url)
    monkeypatch.setenv("SERVER_USER_TOKEN", TOKEN)
    assert is_noop(ServerDefault().create_task)
    assert [record.message for record in own_records(caplog)] == [
        "The server's base url is not used: it must begin with http:// or https://, and name a host"
    ]


def test_count_of_dropped(backend: Backend) -> None:
    """What finds the queue full, 64 MB here, is not sent and can be asked for."""
    server = ServerDefault()
    assert server.dropped == 0
    server.update_workflow("w", status="x" * 64_000_000)
    assert server.dropped == 1
    assert server.flush(LONG)
    assert backend.received == []


def test_exit_delivers_and_is_bounded() -> None:
    """The interpreter flushes at its exit, and leaves a server that hangs after its bound."""
    code = (
        "import sys\n"
        "from dotflow.providers.server_default import ServerDefault\n"
        "server = ServerDefault(flush_timeout=float(sys.argv[1]))\n"
        "[server.update_workflow('w', status=str(n)) for n in range(5)]\n"
    )
    with Backend() as backend:
        thread = threading.Thread(target=backend.serve_forever, args=(0.01,))
        thread.start()
        env = {**os.environ, "SERVER_BASE_URL": backend.url, "SERVER_USER_TOKEN": TOKEN}

        def run(bound: str) -> tuple[str, float]:
            begun = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", code, bound],
                env=env,
                check=True,
                capture_output=True,
                text=True,
                timeout=30,
            )
            return done.stderr, time.monotonic() - begun

        delivered, _ = run("10")
        assert [got.body["status"] for got in backend.received] == list("01234")
        assert delivered == ""
        backend.go.clear()
        left, took = run("0.1")
        assert left == "5 requests were not delivered to the server\n"
        assert took < 5
        backend.go.set()
        backend.shutdown()
        thread.join(LONG)


class Receiver:
    """Takes requests when it is let."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.threads: list[threading.Thread] = []
        self.go = threading.Event()

    def __call__(self, request: Request) -> None:
        self.threads.append(threading.current_thread())
        assert self.go.wait(LONG)
        self.got.append(request)


def request(number: int, size: int = 1) -> Request:
    """A request with a body of that size."""
    return Request("POST", (str(number),), b"x" * size)


@pytest.mark.parametrize("bound", [{"max_items": 3}, {"max_bytes": 3}])
def test_full_queue_drops_what_comes(
    bound: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the bound on number or bytes the newest is dropped, counted, and logged once."""
    receiver = Receiver()
    delivery = Delivery(receiver, **bound)
    for number in range(6):
        delivery.put(request(number))
    assert (delivery.pending, delivery.dropped) == (3, 3)
    assert len(own_records(caplog)) == 1
    receiver.go.set()
    assert delivery.flush(LONG)
    delivery.put(request(6))
    assert delivery.flush(LONG)
    assert [got.path for got in receiver.got] == [("0",), ("1",), ("2",), ("6",)]
    assert (delivery.pending, delivery.dropped) == (0, 3)


def test_thread_ends_when_idle() -> None:
    """The thread is a daemon, ends when nothing comes any more, and a new one begins."""
    receiver = Receiver()
    delivery = Delivery(receiver)
    receiver.go.set()
    for number in range(2):
        delivery.put(request(number))
        assert delivery.flush(LONG)
        receiver.threads[number].join(LONG)
        assert not receiver.threads[number].is_alive()
    first, second = receiver.threads
    assert (first.daemon, second.daemon, first is second) == (True, True, False)
    assert len(receiver.got) == 2


def test_bad_request_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """What the receiver raises is logged; the next request is sent."""
    got: list[Request] = []

    def send(one: Request) -> None:
        got.append(one)
        raise ValueError("broken")

    delivery = Delivery(send)
    delivery.put(request(1))
    delivery.put(request(2))
    assert delivery.flush(LONG)
    assert len(got) == 2
    assert [record.levelname for record in own_records(caplog)] == ["ERROR", "ERROR"]


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started any more, the request is dropped and nothing is raised."""
    delivery = Delivery(Receiver())

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    delivery.put(request(1))
    assert (delivery.pending, delivery.dropped) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fork() -> None:
    """A real forked child has nothing pending, delivers its own requests, and exits at once."""
    code = (
        "import os, threading, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from dotflow.providers.delivery import Delivery\n"
        "from dotflow.providers.server_endpoint import Request\n"
        "got, go = [], threading.Event()\n"
        "delivery = Delivery(lambda r: (go.wait(10), got.append(r.method)))\n"
        "delivery.put(Request('parent', (), b''))\n"
        "if child := os.fork():\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    go.set()\n"
        "    assert delivery.flush(10) and got == ['parent']\n"
        "else:\n"
        "    assert delivery.pending == 0 and delivery.flush(0)\n"
        "    go = threading.Event(); go.set()\n"
        "    delivery.put(Request('child', (), b''))\n"
        "    assert delivery.flush(10) and got == ['child'], got\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_exit_shares_one_bound(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several servers that hang take together no longer than one, and each is told of."""
    receiver = Receiver()
    hanging = {Delivery(receiver, flush_timeout=1) for _ in range(5)}
    monkeypatch.setattr(delivery_module, "deliveries", hanging)
    for delivery in hanging:
        delivery.put(request(1))
    begun = time.monotonic()
    delivery_module.flush_at_exit()
    assert time.monotonic() - begun < 4
    assert len(own_records(caplog)) == 5
    receiver.go.set()
    assert all(delivery.flush(LONG) for delivery in hanging)
