"""Contract section 14: the default providers, StorageFile, LogDefault and ServerDefault."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.providers import (
    LogDefault,
    MetricsDefault,
    NotifyDefault,
    SchedulerDefault,
    ServerDefault,
    StorageDefault,
    StorageFile,
    TracerDefault,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dotflow import Task


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


def _task(config: Config, step: Any = ok) -> Task:
    flow = DotFlow(config=config)
    flow.task.add(step)
    return flow.task.queue[0]


def test_providers_that_do_nothing(quiet: Config) -> None:
    """Every method of the default notify, scheduler, tracer and metrics returns None."""
    task = _task(quiet)
    scheduler: Any = SchedulerDefault()
    results: list[Any] = [
        NotifyDefault().hook_status_task(task=task),
        scheduler.start(workflow=lambda: None),
        scheduler.stop(),
        TracerDefault().start_workflow(workflow_id="w", mode="x"),
        TracerDefault().end_workflow(workflow_id="w", duration=1.0, failed=False),
        TracerDefault().start_task(task=task),
        TracerDefault().end_task(task=task),
        MetricsDefault().workflow_started(workflow_id="w", mode="x"),
        MetricsDefault().workflow_completed("w", 1.0),
        MetricsDefault().workflow_failed("w", 1.0),
        MetricsDefault().task_completed(task=task),
        MetricsDefault().task_failed(task=task),
        MetricsDefault().task_retried(task=task),
    ]
    assert set(results) == {None}


class TestStorages:
    """The two storages, beyond what the storage suite asks of every storage."""

    def test_keys(self, quiet: Config, tmp_path: Path) -> None:
        """The key is <workflow id>-<task id>, in StorageFile followed by .json."""
        task = _task(quiet)
        key = f"{task.workflow_id}-{task.task_id}"
        assert StorageDefault().key(task=task) == key
        assert StorageFile(path=tmp_path).key(task=task) == f"{key}.json"

    def test_default_storage_keeps_the_object(self) -> None:
        """StorageDefault gives back the object that was stored, no copy of it."""
        storage, value = StorageDefault(), object()
        storage.post(key="k", context=Context(storage=value))
        assert storage.get(key="k").storage is value

    def test_path(self, tmp_path: Path) -> None:
        """StorageFile makes <path>/tasks, and tells it as its path; text or Path."""
        for given in (tmp_path / "a" / "b", str(tmp_path / "c")):
            storage = StorageFile(path=given)
            assert str(storage.path) == f"{given}/tasks"
            assert storage.path.is_dir()

    def test_default_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a path StorageFile writes below the base directory."""
        from dotflow.settings import Settings

        monkeypatch.chdir(tmp_path)
        assert StorageFile().path == Settings.START_PATH / "tasks"

    def test_corrupt_file(self, tmp_path: Path) -> None:
        """A corrupt file raises an error that names it; an absent key gives an empty Context."""
        storage = StorageFile(path=tmp_path)
        storage.post(key="k.json", context=Context(storage=1))
        [document] = [path for path in storage.path.rglob("*.json") if path.is_file()]
        document.write_text("{ not json")
        with pytest.raises(Exception, match=document.name):
            storage.get(key="k.json")
        assert storage.get(key="absent.json").storage is None

    def test_values_stay_what_they_were(self, tmp_path: Path) -> None:
        """Lists, tuples, sets, bytes, dates, int keys and nested contexts come back unchanged."""
        value = {
            1: [1, 2],
            "t": (1, (2,)),
            "s": {1, 2},
            "b": b"\x00\xff",
            "d": datetime(2020, 1, 2, 3, 4, 5),
            "n": None,
            "f": 1.5,
        }
        storage = StorageFile(path=tmp_path)
        storage.post(key="k.json", context=Context(storage=value))
        assert storage.get(key="k.json").storage == value
        storage.post(key="l.json", context=Context(storage=[Context(storage=1, task_id="x")]))
        [inner] = storage.get(key="l.json").storage
        assert (inner.storage, inner.task_id) == (1, "x")


class TestLogDefault:
    """The default log."""

    def test_simple_line(self, tmp_path: Path, quiet: Config) -> None:
        """A line: time, level, logger below dotflow, and ID <workflow> - <task> - <status>."""
        path = tmp_path / "logs" / "flow.log"
        log = LogDefault(output="file", path=path)
        task = _task(quiet)
        log.info(task=task)
        [line] = path.read_text().splitlines()
        assert " - INFO [dotflow" in line
        assert f"ID {task.workflow_id} - {task.task_id} - Not started" in line

    def test_error_line_ends_with_the_traceback(self, tmp_path: Path) -> None:
        """At ERROR the last traceback follows in the next lines."""
        path = tmp_path / "flow.log"
        flow = DotFlow(config=Config(log=LogDefault(output="file", path=path)))
        flow.task.add(bad)
        flow.start()
        text = path.read_text()
        assert " - ERROR [dotflow" in text
        after = text.partition(" - ERROR [")[2].splitlines()
        assert after[1].startswith("Traceback (most recent call last)")
        assert "ValueError: no" in text

    def test_lines_of_a_run(self, tmp_path: Path) -> None:
        """A run's lines, in order; the file is appended to, its directories are made."""
        path = tmp_path / "a" / "b" / "flow.log"
        for _ in range(2):
            flow = DotFlow(config=Config(log=LogDefault(output="file", path=str(path))))
            flow.task.add(ok)
            flow.start()
        statuses = [
            status
            for line in path.read_text().splitlines()
            for status in ("Not started", "In progress", "Completed")
            if f" - {status}" in line and "ID " in line
        ]
        assert statuses == ["Not started", "In progress", "Completed"] * 2

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            ("DEBUG", ["d", "i", "w", "e"]),
            ("info", ["i", "w", "e"]),
            ("Warning", ["w", "e"]),
            ("ERROR", ["e"]),
            ("nonsense", ["i", "w", "e"]),
        ],
    )
    def test_level(self, level: str, expected: list[str], tmp_path: Path) -> None:
        """The level is read without regard to case; an unknown one is INFO."""
        path = tmp_path / "flow.log"
        log = LogDefault(level=level, output="file", path=path)
        log.debug(note="d")
        log.info(note="i")
        log.warning(note="w")
        log.error(note="e")
        notes = [
            line.partition("{'note': '")[2][0]
            for line in path.read_text().splitlines()
            if "{" in line
        ]
        assert notes == expected

    @pytest.mark.parametrize(
        ("output", "console", "file"),
        [("console", True, False), ("file", False, True), ("both", True, True)],
    )
    def test_output(
        self,
        output: str,
        console: bool,
        file: bool,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Console is stderr; the path is used for file and both only; nothing goes to the root."""
        path = tmp_path / "flow.log"
        root = logging.getLogger()
        got: list[logging.LogRecord] = []
        handler = logging.Handler()
        handler.emit = got.append  # type: ignore[method-assign, assignment]
        root.addHandler(handler)
        LogDefault(output=output, path=path).info(note="hello")
        root.removeHandler(handler)
        captured = capsys.readouterr()
        assert ("hello" in captured.err, captured.out, path.exists()) == (console, "", file)
        assert got == []

    def test_json_lines(self, tmp_path: Path) -> None:
        """Each line is pure JSON with the documented fields; None and zero are left out."""
        path = tmp_path / "flow.log"
        flow = DotFlow(
            config=Config(log=LogDefault(output="file", path=path, format="json")),
            workflow_id="etl",
        )

        @action(retry=2, retry_delay=0)
        def fails() -> None:
            raise KeyError("k")

        flow.task.add(fails)
        flow.start()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [line for line in lines if "status" in line]
        assert [(line["level"], line["status"]) for line in lines] == [
            ("INFO", "Not started"),
            ("INFO", "In progress"),
            ("WARNING", "Retry"),
            ("ERROR", "Failed"),
        ]
        assert {(line["workflow_id"], line["task_id"]) for line in lines} == {
            ("etl", flow.task.queue[0].task_id)
        }
        assert [line.get("retry_count") for line in lines] == [None, None, 1, 1]
        assert [line.get("error") for line in lines] == [
            None,
            None,
            None,
            {"exception": "KeyError", "message": "'k'"},
        ]
        assert "duration" not in lines[0]
        assert lines[3]["duration"] == pytest.approx(flow.task.queue[0].duration, abs=0.01)
        for line in lines:
            moment = datetime.fromisoformat(line["timestamp"])
            assert moment.utcoffset() is not None
            assert moment.utcoffset().total_seconds() == 0  # type: ignore[union-attr]

    def test_instances_are_apart_and_leave_nothing(self, tmp_path: Path) -> None:
        """Two logs write to their own files, and a hundred leave no loggers behind."""
        import gc

        one = LogDefault(output="file", path=tmp_path / "one.log")
        other = LogDefault(output="file", path=tmp_path / "other.log")
        one.info(note="first")
        other.info(note="second")
        assert (tmp_path / "one.log").read_text().count("\n") == 1
        assert "first" in (tmp_path / "one.log").read_text()
        assert "second" in (tmp_path / "other.log").read_text()
        before = len(logging.root.manager.loggerDict)
        for number in range(100):
            LogDefault(output="file", path=tmp_path / f"{number}.log").info(note="x")
        gc.collect()
        assert len(logging.root.manager.loggerDict) <= before + 1


class _Endpoint:
    def __init__(self) -> None:
        self.requests: queue.Queue[tuple[str, str, Any, str | None]] = queue.Queue()
        self.delay = 0.0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                time.sleep(endpoint.delay)
                endpoint.requests.put(
                    (self.command, self.path, json.loads(body), self.headers.get("Authorization"))
                )
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_PATCH = handle_any  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def take(self, count: int) -> list[tuple[str, str, Any, str | None]]:
        """Wait for so many requests."""
        return [self.requests.get(timeout=10) for _ in range(count)]

    def close(self) -> None:
        """End the server."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[_Endpoint]:
    """Return an HTTP server that keeps what it is told."""
    made = _Endpoint()
    yield made
    made.close()


class TestServerDefault:
    """The default server."""

    def test_constants(self) -> None:
        """MAX_RESULT_SIZE is 5 000 000, TIMEOUT 15 seconds."""
        assert (ServerDefault.MAX_RESULT_SIZE, ServerDefault.TIMEOUT) == (5_000_000, 15.0)

    def test_without_url_or_token_it_does_nothing(
        self, endpoint: _Endpoint, quiet: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With one of the two missing or empty no request is made."""
        monkeypatch.setenv("SERVER_BASE_URL", endpoint.url)
        for token in (None, ""):
            if token is not None:
                monkeypatch.setenv("SERVER_USER_TOKEN", token)
            flow = DotFlow(config=Config(server=ServerDefault(), log=quiet.log))
            flow.task.add(ok)
            flow.start()
        time.sleep(0.1)
        assert endpoint.requests.empty()

    def _requests(self, endpoint: _Endpoint, quiet: Config, token: str) -> None:
        flow = DotFlow(config=Config(server=ServerDefault(), log=quiet.log), name="billing")
        flow.task.add(ok)
        flow.start()
        base, task_id = f"/cli/workflows/{flow.workflow_id}", flow.task.queue[0].task_id
        requests = endpoint.take(5)
        assert [request[:2] for request in requests] == [
            ("POST", "/cli/workflows"),
            ("POST", f"{base}/tasks"),
            ("PATCH", base),
            ("PATCH", f"{base}/tasks/{task_id}"),
            ("PATCH", base),
        ]
        assert {request[3] for request in requests} == {f"Bearer {token}"}
        bodies = [request[2] for request in requests]
        assert (bodies[0]["workflow_id"], bodies[0]["name"]) == (str(flow.workflow_id), "billing")
        assert (bodies[1]["task_id"], bodies[1]["status"]) == (task_id, "Not started")
        assert bodies[2] == {"status": "In progress"}
        assert (bodies[3]["status"], bodies[3]["current_context"]) == ("Completed", '"ok"')
        assert bodies[4] == {"status": "Completed"}

    def test_requests_of_a_run(
        self, endpoint: _Endpoint, quiet: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The five requests of a run with one task: method, path, token and body, in order."""
        monkeypatch.setenv("SERVER_BASE_URL", endpoint.url)
        monkeypatch.setenv("SERVER_USER_TOKEN", "a-token")
        self._requests(endpoint, quiet, "a-token")

    def test_configuration_in_the_home_directory(
        self, endpoint: _Endpoint, quiet: Config, tmp_path: Path
    ) -> None:
        """Url and token come from ~/.dotflow/config.json where the environment has none."""
        (tmp_path / ".dotflow").mkdir()
        (tmp_path / ".dotflow" / "config.json").write_text(
            json.dumps({"cloud": {"base_url": endpoint.url, "token": "kept-token"}})
        )
        self._requests(endpoint, quiet, "kept-token")

    def test_slow_server_does_not_slow_the_run(
        self, endpoint: _Endpoint, quiet: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Requests are made off the critical path."""
        monkeypatch.setenv("SERVER_BASE_URL", endpoint.url)
        monkeypatch.setenv("SERVER_USER_TOKEN", "a-token")
        endpoint.delay = 1.0
        begun = time.monotonic()
        flow = DotFlow(config=Config(server=ServerDefault(), log=quiet.log))
        flow.task.add([ok, ok])
        flow.start()
        # One after the other the seven requests would take 7 s.
        assert time.monotonic() - begun < 5
        endpoint.delay = 0
        endpoint.take(7)

    def test_requests_are_flushed_at_exit(self, endpoint: _Endpoint, script: Any) -> None:
        """A program that ends right after its run has told the server everything."""
        endpoint.delay = 0.02
        done = script(
            """
            from dotflow import DotFlow, action

            @action
            def step(): return 1

            flow = DotFlow()
            flow.task.add(step)
            flow.start()
            """,
            SERVER_BASE_URL=endpoint.url,
            SERVER_USER_TOKEN="a-token",  # noqa: S106 - no secret
        )
        assert done.returncode == 0, done.stderr
        assert endpoint.requests.qsize() == 5

    def test_unreachable_server_is_logged(
        self,
        quiet: Config,
        monkeypatch: pytest.MonkeyPatch,
        records: list[logging.LogRecord],
    ) -> None:
        """Request errors are logged and do not reach the run."""
        monkeypatch.setenv("SERVER_BASE_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("SERVER_USER_TOKEN", "a-token")
        flow = DotFlow(config=Config(server=ServerDefault(), log=quiet.log))
        flow.task.add(ok)
        flow.start()
        assert flow.result_storage() == ["ok"]
        limit = time.monotonic() + 5
        while not records and time.monotonic() < limit:
            time.sleep(0.01)
        assert records
        assert not any("a-token" in record.getMessage() for record in records)
