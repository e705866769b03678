"""The server of pages as programs see it, and the commands `report` and `ui`."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from browsing import served
from command_line import PROGRAM, command, environment, in_process
from made_history import MadeAttempt, MadeHistory, MadeLine, MadeTask
from waiting import wait_for

from dotflow_otel.pages.report import script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command_line import Done

STATIC = Path(__file__).parents[2] / "dotflow_otel" / "pages" / "static"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a history of two runs: one completed, then one failed."""
    path = tmp_path / "history.db"
    with MadeHistory(path) as made:
        made.add("billing", MadeTask("charge", 0.0, 2.0), ended=2.0)
        error = "LookupError: no such table"
        attempts = [MadeAttempt(100.0, 101.0, error), MadeAttempt(101.0, 104.0, error)]
        failed = MadeTask("charge", 100.0, 104.0, error=error, attempts=attempts)
        made.add("billing", failed, started=100.0, ended=104.0, count=2)
    return path


class Answer:
    """What a server has answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.text = response.read().decode()

    @property
    def json(self) -> Any:
        """The JSON that it is."""
        return json.loads(self.text)


def ask(url: str, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask a server."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


# --- the server ---------------------------------------------------------------------------


@pytest.fixture
def url(path: Path) -> Iterator[str]:
    """Return where the history is served."""
    with served(path, jaeger="http://jaeger:16686") as found:
        yield found


def test_runs(url: str) -> None:
    """The list has each run's facts, the latest first."""
    failed, completed = ask(url, "/api/runs").json["runs"]
    assert (failed["workflow"], failed["status"], failed["tasks"]) == ("billing", "failed", 2)
    assert (failed["failed"], failed["skipped"], failed["retried"]) == (1, 1, 1)
    assert (failed["ended"], failed["error"]) == (4 * 10**9, "no such table")
    assert (completed["status"], completed["duration"]) == ("completed", 2.0)


def test_a_run(url: str) -> None:
    """A run comes with its spans and links; what is reckoned of it comes apart."""
    given = ask(url, "/api/runs/failed").json
    assert given["links"] == {"Jaeger": f"http://jaeger:16686/trace/{given['run']['trace']}"}
    kinds = [(span["kind"], span["label"]) for span in given["part"]["spans"]]
    assert kinds == [
        ("workflow", "billing"),
        ("task", "charge"),
        ("attempt", "attempt 1"),
        ("attempt", "attempt 2"),
    ]
    task = given["part"]["spans"][1]
    assert (task["start"], task["end"], task["error"]) == (
        0,
        4 * 10**9,
        "LookupError: no such table",
    )
    # A stack trace that several spans have is there once.
    assert [span["events"][0]["stack"] for span in given["part"]["spans"][1:]] == [0, 0, 0]
    assert len(given["part"]["texts"]) == 1
    analysis = ask(url, f"/api/runs/{given['run']['id']}/analysis").json
    first = analysis["why"][0]
    assert first["title"] == "What failed first"
    assert first["lines"][0] == {
        "text": "charge failed after 4.00 s, in attempt 2: LookupError: no such table",
        "depth": 0,
        "span": task["id"],
    }
    assert analysis["tasks"][task["id"]]["seconds"] == 4.0


def test_a_comparison(url: str) -> None:
    """Two runs are compared by their tasks."""
    failed, completed = ask(url, "/api/runs").json["runs"]
    given = ask(url, f"/api/compare?a={completed['id']}&b={failed['id']}").json
    (task,) = given["tasks"]
    assert (task["name"], task["before"], task["after"]) == ("charge", 2 * 10**9, 4 * 10**9)


def test_headers(url: str) -> None:
    """A page may run its own script and nothing else, ask nobody else, and stand in no frame."""
    page = ask(url, "/")
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'"
    )
    assert "<!--" not in page.text  # places that a report alone fills
    for place in ("/", "/static/page.js", "/api/runs", "/nothing"):
        headers = ask(url, place).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    assert ask(url, "/static/page.js").headers["content-type"].startswith("text/javascript")
    assert ask(url, "/static/page.css").headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_read_only(url: str, method: str) -> None:
    """Nothing can be done but to read."""
    for place in ("/", "/api/runs", "/api/runs/failed"):
        assert ask(url, place, method).status == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("127.0.0.1", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("[::1]:{port}", 200),
        ("runs.localhost:{port}", 200),
        ("192.0.2.7:{port}", 200),
        (socket.gethostname(), 200),
        ("evil.example:{port}", 421),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("", 421),
    ],
)
def test_host(url: str, host: str, status: int) -> None:
    """Who asks for another machine gets nothing: a page whose name was made to lead here."""
    port = str(urlsplit(url).port)
    for place in ("/", "/api/runs", "/api/events"):
        if place == "/api/events" and status == 200:
            continue  # it has no end
        assert ask(url, place, Host=host.format(port=port)).status == status


def test_a_given_name(path: Path) -> None:
    """A name that was given is one of this machine's."""
    with served(path, names=["Build-7.example"]) as url:
        port = urlsplit(url).port
        assert ask(url, "/", Host=f"build-7.example:{port}").status == 200
        assert ask(url, "/", Host=f"build-8.example:{port}").status == 421


def test_what_is_not_there(url: str) -> None:
    """An unknown run or page is told of; nothing outside of the page's files is given."""
    answer = ask(url, "/api/runs/nothing")
    assert answer.status == 404
    assert answer.json["error"].startswith("The history has no run 'nothing'.")
    assert ask(url, "/api/compare").status == 404
    for place in (
        "/nothing",
        "/static/page.html",
        "/static/..%2Fserver.py",
        "/static/../server.py",
    ):
        assert ask(url, place).status == 404
    assert ask(url, "/api/runs/failed/events?after=1x").status == 400
    assert ask(url, f"/api/runs/failed/events?after={10**30}").status == 400


def test_a_history_that_goes(url: str, path: Path) -> None:
    """While the file is gone or damaged, that is told; the server goes on."""
    aside = path.rename(path.with_name("aside.db"))
    answer = ask(url, "/api/runs")
    assert answer.status == 503
    assert "is not there" in answer.json["error"]
    path.write_text("no database at all, but long enough to be taken for one" * 100)
    assert ask(url, "/api/runs").status == 503
    aside.replace(path)
    assert len(ask(url, "/api/runs").json["runs"]) == 2


def events(response: http.client.HTTPResponse) -> Iterator[Any]:
    """Return what a stream of events tells."""
    for line in response:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@contextmanager
def watched(url: str, place: str, **headers: str) -> Iterator[Iterator[Any]]:
    """Watch something."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", place, headers=headers)
    try:
        yield events(connection.getresponse())
    finally:
        connection.close()


def test_watching_runs(url: str, path: Path) -> None:
    """Who watches the list is told of all runs, then of those that are new."""
    with watched(url, "/api/events") as told:
        first = next(told)
        assert len(first["runs"]) == len(first["ids"]) == 2
        with MadeHistory(path) as made:
            made.keys = count(100)
            made.add("newer", started=200.0, ended=201.0, run_id="NEWER")
        second = next(told)
        assert [run["workflow"] for run in second["runs"]] == ["newer"]
        assert second["ids"][0] == "NEWER"


def test_watching_a_run(url: str) -> None:
    """Who watches a run that has ended is told all of it, and the stream ends."""
    with watched(url, "/api/runs/failed/events") as told:
        (whole,) = told
        assert whole["run"]["status"] == "failed"
        assert "analysis" in whole


def test_watching_again(tmp_path: Path) -> None:
    """Who has lost the connection goes on after what was told last, which its browser says."""
    path = tmp_path / "history.db"
    with MadeHistory(path) as made:
        process = made.process(beat=10.0**9, gone=False)
        lines = [MadeLine(1.0, "said")]
        made.add("billing", ended=None, process=process, lines=lines)
    with served(path) as url:
        with watched(url, "/api/runs/latest/events") as told:
            assert [line["event"] for line in next(told)["part"]["lines"]] == ["said"]
        position = ask(url, "/api/runs/latest").json["position"]
        again = {"Last-Event-ID": str(position)}
        with watched(url, "/api/runs/latest/events?after=0", **again) as told:
            assert next(told)["part"]["lines"] == []


KILLED = """
import sys, time
from dotflow import DotFlow, action
from dotflow_otel import observe

@action
def waits():
    print("waits", flush=True)
    time.sleep(120)

flow = DotFlow(config=observe("shop", history=sys.argv[1], level="ERROR"), name="killed")
flow.task.add(waits)
flow.start()
"""


def test_watching_a_run_that_is_killed(tmp_path: Path) -> None:
    """Who watches a run whose process is killed is told that it is lost, and what was in flight."""
    path = tmp_path / "killed.db"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        with served(path) as url:
            wait_for(lambda: len(ask(url, "/api/runs/latest").json["part"]["spans"]) == 2)
            given = ask(url, "/api/runs/latest").json
            assert given["run"]["status"] == "running"
            place = f"/api/runs/latest/events?after={given['position']}"
            with watched(url, place) as told:
                process.kill()
                process.wait(20)
                *parts, last = told
        assert {part["run"]["status"] for part in parts} <= {"running"}
        assert last["run"]["status"] == "lost"
        assert last["analysis"]["why"][0]["title"].startswith("In flight when it was lost")
    finally:
        process.kill()
        process.communicate()


# --- the page's files ------------------------------------------------------------------------


def test_no_markup_is_made_of_text() -> None:
    """The page's program makes elements, never markup, and evaluates nothing."""
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|"
        r"setAttribute\(\"on|javascript:|\.srcdoc|DOMParser|createContextualFragment"
    )
    files = sorted(STATIC.glob("*.js"))
    assert len(files) == 11
    for file in files:
        assert forbidden.findall(file.read_text(encoding="utf-8")) == []


def test_nothing_comes_from_elsewhere() -> None:
    """No file of the page names another host, but for the names of SVG's elements."""
    for file in STATIC.iterdir():
        found = set(re.findall(r"https?://[^\s\"'`)]+", file.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org/2000/svg"}
        assert "@import" not in file.read_text(encoding="utf-8")


# --- the commands ----------------------------------------------------------------------------


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Return what runs a command in this process."""
    return in_process(tmp_path, monkeypatch, capsys)


class Tags(HTMLParser):
    """What a page has, and what of it would be fetched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.fetched += [found[name] or "" for name in ("src", "href") if name in found]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""


def test_report(run: Callable[..., Done], path: Path, tmp_path: Path) -> None:
    """The report is one file, which fetches nothing and lets nothing be fetched."""
    done = run("report", "failed", "--history", str(path), "-o", "run.html")
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(r"note: billing: the page of run \w+ is run\.html\n", done.err)
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.tags.count("script") == 2
    assert [each.partition(",")[0] for each in tags.fetched] == ["data:image/svg+xml"]
    assert "connect-src 'none'" in tags.policy
    assert re.search(r"script-src 'sha256-[\w+/]{43}=';", tags.policy)
    assert "unsafe" not in tags.policy
    assert [each.name for each in tmp_path.iterdir() if "dotflow" in each.name] == []


def test_report_to_stdout(run: Callable[..., Done], path: Path, tmp_path: Path) -> None:
    """With -o - the page goes to stdout, alone, and in UTF-8 whatever the language is set to."""
    done = run("report", "latest", "--history", str(path), "-o", "-")
    assert done.out.startswith("<!doctype html>")
    assert (done.code, done.err) == (0, "")
    plain = subprocess.run(
        [*PROGRAM, "report", "latest", "--history", str(path), "-o", "-"],
        env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert script() in plain.stdout.decode("utf-8")


def test_report_by_default(run: Callable[..., Done], path: Path, tmp_path: Path) -> None:
    """Without -o the file has the run's id in its name; it is of the latest run."""
    done = run("report", "--history", str(path))
    (file,) = tmp_path.glob("dotflow-*.html")
    assert done.err.endswith(f"is {file.name}\n")
    assert stat.S_IMODE(file.stat().st_mode) & 0o400
    assert '"status":"failed"' in file.read_text(encoding="utf-8")


def test_links(
    run: Callable[..., Done], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses of Jaeger and Grafana come from options, or from variables."""
    monkeypatch.setenv("DOTFLOW_JAEGER_URL", "http://jaeger:16686/")
    monkeypatch.setenv("DOTFLOW_GRAFANA_URL", "http://other:3000")
    given = ("report", "--history", str(path), "-o", "-", "--grafana", "https://grafana.example/g")
    page = run(*given).out
    assert '"Jaeger":"http://jaeger:16686/trace/0000' in page
    assert '"Grafana":"https://grafana.example/g/d/dotflow-workflow/?var-workflow=billing' in page


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("report", "nothing"), "The history has no run 'nothing'."),
        (("report", "-o", ""), "--output is empty"),
        (("report", "-o", "."), "'.' is a folder: give the path of a file."),
        (("report", "-o", "no/such.html"), "cannot be written to 'no/such.html': No such"),
        (("report", "--jaeger", "javascript:alert(1)"), "jaeger"),
        (("report", "--grafana", "localhost:3000"), "grafana"),
        (("report", "--jaeger", "http://[::1"), "jaeger"),
        (("ui", "--host", "192.0.2.7"), "Pages cannot be served on '192.0.2.7', port 0:"),
        (("ui", "--host", "no such host"), "Pages cannot be served on 'no such host', port 0:"),
        (("ui", "--jaeger", "ftp://jaeger"), "jaeger"),
        (("ui", "--port", "70000"), "65535"),
    ],
)  # fmt: skip
def test_wrong_use(
    run: Callable[..., Done], path: Path, args: tuple[str, ...], message: str
) -> None:
    """What cannot be is one line that says what to do, and exit code 2."""
    more = ("--port", "0") if args[0] == "ui" and "--port" not in args else ()
    done = run(*args, "--history", str(path), *more)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err


@pytest.mark.parametrize("name", ["report", "ui"])
@pytest.mark.parametrize("kind", ["missing", "damaged", "newer"])
def test_an_unusable_history(
    run: Callable[..., Done], tmp_path: Path, name: str, kind: str
) -> None:
    """Without a history that can be read it is one line and code 2; the file stays as it is."""
    file = tmp_path / "history.db"
    if kind == "damaged":
        file.write_bytes(b"no database" * 1000)
    elif kind == "newer":
        with MadeHistory(file) as made:
            made.connection.execute("PRAGMA user_version = 999")
    before = file.read_bytes() if file.exists() else None
    done = run(name, "--history", str(file))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert (file.read_bytes() if file.exists() else None) == before


def test_what_is_there_is_kept(run: Callable[..., Done], path: Path, tmp_path: Path) -> None:
    """A file that is there stays as it is where no page can be made."""
    file = tmp_path / "run.html"
    file.write_text("precious")
    assert run("report", "nothing", "--history", str(path), "-o", str(file)).code == 2
    assert file.read_text() == "precious"
    link = tmp_path / "link.html"
    link.symlink_to(file)
    assert run("report", "--history", str(path), "-o", str(link)).code == 0
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_closed_pipe(path: Path, tmp_path: Path) -> None:
    """Who reads a part of the page only, ends nothing with an error."""
    shell = f"{' '.join(PROGRAM)} report --history {path} -o - | head -c 20"
    done = subprocess.run(
        ["/bin/sh", "-c", shell],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("<!doctype html>\n<htm", "")


@contextmanager
def ui(path: Path, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve pages in a process of its own; return that, and the address."""
    process = subprocess.Popen(
        [*PROGRAM, "ui", "--history", str(path), "--port", "0", *args],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+/", line)
        assert found, line + process.stderr.read()
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_end_of_ui(path: Path, number: signal.Signals, code: int) -> None:
    """A signal ends it in order, also while pages are watched, and quickly."""
    with ui(path) as (process, url):
        assert urlsplit(url).hostname == "127.0.0.1"
        assert ask(url, "/").status == 200
        with watched(url, "/api/events") as told:
            next(told)
            began = time.monotonic()
            process.send_signal(number)
            assert list(told) == []
            out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (code, "", "")
        assert time.monotonic() - began < 5


def test_a_port_in_use(path: Path, run: Callable[..., Done]) -> None:
    """Where another program listens already, that is said."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("ui", "--history", str(path), "--port", str(port))
    assert done.code == 2
    assert f"port {port}: Address already in use. Give" in done.err


def test_a_wider_host(path: Path) -> None:
    """Who lets other machines in is told that they can read the runs."""
    process = subprocess.Popen(
        [*PROGRAM, "ui", "--history", str(path), "--port", "0", "--host", "0.0.0.0"],  # noqa: S104
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        assert "whoever reaches 0.0.0.0 can read the runs of" in process.stderr.readline()
    finally:
        process.kill()
        process.communicate()


def test_without_its_libraries(path: Path, tmp_path: Path) -> None:
    """Without the extra it is one line that says what to install; `report` needs none of it."""
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError(name='starlette')")
    done = command(tmp_path, "ui", "--history", str(path))
    assert done.code == 2
    assert "The module 'starlette' is not installed" in done.err
    assert "dotflow[ui]" in done.err
    assert command(tmp_path, "report", "--history", str(path)).code == 0


def test_what_is_loaded(tmp_path: Path) -> None:
    """The commands' table loads none of what they need."""
    code = (
        "import sys; from dotflow_otel.cli import COMMANDS; print(*COMMANDS); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    commands, modules = done.stdout.splitlines()
    assert {"report", "ui"} <= set(commands.split())
    assert {"starlette", "uvicorn", "rich", "typer", "sqlite3", "opentelemetry"}.isdisjoint(
        modules.split()
    )


def test_many_watchers(url: str) -> None:
    """So many may watch, and no more; each that goes makes room."""
    places = [watched(url, "/api/events") for _ in range(64)]
    opened = [place.__enter__() for place in places]
    for told in opened:
        next(told)
    assert ask(url, "/api/events").status == 503
    for place in places:
        place.__exit__(None, None, None)

    def has_room() -> bool:
        with watched(url, "/api/events") as told:
            return next(told, None) is not None

    wait_for(has_room, 30)


def test_environment_is_not_needed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual place of the history is found by the command as well."""
    folder = tmp_path / ".dotflow"
    folder.mkdir()
    path.rename(folder / "history.db")
    assert command(tmp_path, "report", "latest", "-o", os.devnull).code == 0
