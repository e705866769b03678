"""Metrics of one service in several processes, added up by whoever shows them."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families
from waiting import wait_for

from dotflow.core.exception import InvalidOption
from dotflow_otel import MetricsPrometheus, metrics_app, serve_metrics, worker_exited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A process that does as it is told, line by line.
PROCESS = """
    import sys
    from prometheus_client import CollectorRegistry, Counter
    from dotflow.core.run import Run
    from dotflow_otel import MetricsPrometheus

    metrics = MetricsPrometheus(CollectorRegistry() if "own" in sys.argv else None)
    Counter("app_requests", "Of the application.").inc()
    runs = {}
    print("ready", flush=True)
    for line in sys.stdin:
        what, name, *started = line.split()
        if what == "start":
            runs[name] = Run(name, name, "billing", "sequential", 1, float(started[0]))
            metrics.run_started(runs[name])
        else:
            metrics.run_finished(runs.pop(name).finished(1.0, failed=what == "fail"))
        metrics.workers_changed(2, len(runs))
        print("done", flush=True)
"""

BILLING = {"workflow": "billing"}
MODE = {**BILLING, "mode": "sequential"}
OLDEST = "dotflow_workflow_oldest_start_timestamp_seconds"


class Process:
    """A process of the service, told what to do."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROCESS), *arguments],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def wait_for(self, word: str) -> None:
        """Wait until it says so."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word

    def tell(self, line: str) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self.wait_for("done")

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the multiprocess mode, which this process then reads."""
    made = tmp_path / "metrics"
    made.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(made))
    return made


@pytest.fixture
def processes(folder: Path) -> Iterator[Callable[..., list[Process]]]:
    """Start processes, and end them."""
    started: list[Process] = []

    def start(count: int, *arguments: str) -> list[Process]:
        started.extend(Process(folder, *arguments) for _ in range(count))
        for process in started:
            process.wait_for("ready")
        return started

    yield start
    for process in started:
        process.kill()


class Scrape:
    """What a server shows at one moment."""

    def __init__(self, url: str) -> None:
        with urlopen(url, timeout=10) as response:  # noqa: S310
            text = response.read().decode()
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of one series, None where there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def of(self, name: str) -> list[float]:
        """Return the values of all series of a name."""
        return [value for (found, _), value in self.samples.items() if found == name]


def scrape(registry: CollectorRegistry | None = None) -> Scrape:
    """Read what `serve_metrics` shows in this process, which counts nothing itself."""
    with serve_metrics(0, registry=registry) as server:
        return Scrape(server.url)


def test_processes_are_added_up(processes: Callable[..., list[Process]]) -> None:
    """Counters, histograms and what is in progress are sums over processes, without a pid."""
    first, second, third = processes(3)
    first.tell("start a 300")
    second.tell("start b 200")
    third.tell("start c 100")
    third.tell("complete c")
    third.tell("start d 400")
    third.tell("fail d")
    seen = scrape()
    assert seen.value("dotflow_workflow_started_total", **MODE) == 4
    assert seen.value("dotflow_workflow_completed_total", **MODE) == 1
    assert seen.value("dotflow_workflow_failed_total", **MODE) == 1
    assert seen.value("dotflow_workflow_in_progress", **MODE) == 2
    assert seen.value("dotflow_workflow_duration_seconds_count", **MODE, status="failed") == 1
    assert (seen.of("dotflow_workers"), seen.of("dotflow_workers_busy")) == ([6], [2])
    (success,) = seen.of("dotflow_workflow_last_success_timestamp_seconds")
    assert 0 <= time.time() - success < 60
    assert not [labels for _, labels in seen.samples if "pid" in dict(labels)]


def test_the_oldest_start_is_that_of_all(processes: Callable[..., list[Process]]) -> None:
    """It is the least over the processes that have a run in progress, and 0 if none has."""
    first, second, third = processes(3)
    seen = []
    for process, line in (
        (third, "start c 500"),
        (third, "complete c"),
        (first, "start a 300"),
        (second, "start b 200"),
        (second, "complete b"),
        (first, "fail a"),
    ):
        process.tell(line)
        seen.append(scrape().of(OLDEST))
    assert seen == [[500], [0], [300], [200], [300], [0]]


def test_a_dead_process(processes: Callable[..., list[Process]]) -> None:
    """What a process had in progress goes when it is told to have exited; its counts stay."""
    first, second = processes(2)
    first.tell("start a 100")
    second.tell("start b 200")
    first.kill()
    assert scrape().of(OLDEST) == [100]
    worker_exited(first.pid)
    seen = scrape()
    assert seen.of(OLDEST) == [200]
    assert seen.value("dotflow_workflow_in_progress", **MODE) == 1
    assert seen.of("dotflow_workers") == [2]
    assert seen.value("dotflow_workflow_started_total", **MODE) == 2


def test_a_registry_of_ones_own(processes: Callable[..., list[Process]]) -> None:
    """Of a registry that is passed in, its own metrics are shown, of all processes.

    So a scrape does not depend on which process answers. What is in no file is this one's.
    """
    first, second = processes(2, "own")
    first.tell("start a 100")
    second.tell("start b 200")
    registry = CollectorRegistry()
    MetricsPrometheus(registry)
    Gauge("app_here", "Of this process.", registry=registry).set(7)
    seen = scrape(registry)
    assert seen.value("dotflow_workflow_started_total", **MODE) == 2
    assert seen.of(OLDEST) == [100]
    assert seen.of("app_here") == [7]
    assert seen.of("app_requests_total") == []
    assert scrape().of("app_requests_total") == [2]


def test_some_of_the_metrics(processes: Callable[..., list[Process]]) -> None:
    """A scrape that asks for names gets the series of these, of all processes."""
    first, second = processes(2)
    first.tell("start a 100")
    second.tell("start b 200")
    second.tell("complete b")
    with serve_metrics(0) as server:
        seen = Scrape(
            f"{server.url}?name[]=dotflow_workflow_started_total"
            "&name[]=dotflow_workflow_duration_seconds_count&name[]=absent"
        )
        nothing = Scrape(f"{server.url}?name[]=absent")
    assert {name for name, _ in seen.samples} == {
        "dotflow_workflow_started_total",
        "dotflow_workflow_duration_seconds_count",
    }
    assert seen.value("dotflow_workflow_started_total", **MODE) == 2
    assert nothing.samples == {}


@pytest.mark.parametrize("show", [metrics_app, MetricsPrometheus, lambda: serve_metrics(0)])
def test_a_missing_folder(
    show: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there is an error that names the variable, the folder, the mend."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    with pytest.raises(InvalidOption, match=r"PROMETHEUS_MULTIPROC_DIR='.*gone'.*make this folder"):
        show()


def test_worker_exited_without_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the mode is off, the hook that gunicorn calls does nothing."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    worker_exited(1)


# --- gunicorn ---------------------------------------------------------------------------

SERVICE = """
    import os, time
    from pathlib import Path
    from dotflow import Config, DotFlow, action
    from dotflow.testing import Recording
    from dotflow_otel import MetricsPrometheus, metrics_app

    config = Config(metrics=MetricsPrometheus(), log=Recording().providers["log"])
    show = metrics_app()

    @action
    def quick(): pass

    @action
    def hang():
        Path("hanging").write_text(str(os.getpid()))
        time.sleep(60)

    def app(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return show(environ, start_response)
        flow = DotFlow(config=config, name="billing")
        flow.task.add(hang if path == "/hang" else quick)
        flow.start()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""

SETTINGS = """
    from pathlib import Path
    from dotflow_otel import worker_exited

    bind = "127.0.0.1:0"
    workers = 2
    graceful_timeout = 1
    loglevel = "error"

    def when_ready(server):
        port = server.LISTENERS[0].sock.getsockname()[1]
        Path("port.new").write_text(str(port))
        Path("port.new").rename("port")

    def child_exit(server, worker):
        worker_exited(worker.pid)
"""


@pytest.fixture
def service(folder: Path, tmp_path: Path) -> Iterator[str]:
    """Return the address of a service under gunicorn, with two workers."""
    if importlib.util.find_spec("gunicorn") is None:
        assert "CI" not in os.environ, "CI tests under gunicorn"
        pytest.skip("gunicorn is not installed")
    (tmp_path / "service.py").write_text(textwrap.dedent(SERVICE))
    (tmp_path / "settings.py").write_text(textwrap.dedent(SETTINGS))
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "settings.py", "service:app"],
        cwd=tmp_path,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    try:
        wait_for(lambda: (tmp_path / "port").exists() or server.poll() is not None)
        yield f"http://127.0.0.1:{(tmp_path / 'port').read_text()}"
    finally:
        server.terminate()
        server.wait(20)


def ask(url: str) -> int:
    """Have the service run a workflow; give the id of the worker that did."""
    with urlopen(url, timeout=10) as response:  # noqa: S310
        return int(response.read())


def test_a_service_under_gunicorn(service: str, tmp_path: Path) -> None:
    """Any worker shows the totals of all; one that is killed takes along what it had begun."""
    pids: list[int] = []
    wait_for(lambda: pids.append(ask(service)) or len(set(pids)) == 2)
    hanging = subprocess.Popen(
        [sys.executable, "-c", f"import urllib.request as r; r.urlopen({service + '/hang'!r})"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for((tmp_path / "hanging").exists)
        wait_for((tmp_path / "hanging").read_text)
        url = f"{service}/metrics"
        assert Scrape(url).value("dotflow_workflow_in_progress", **MODE) == 1
        os.kill(int((tmp_path / "hanging").read_text()), signal.SIGKILL)
        hanging.wait(20)
    finally:
        hanging.kill()
    wait_for(lambda: Scrape(url).value("dotflow_workflow_in_progress", **MODE) == 0)
    wait_for(lambda: pids.append(ask(service)) or len(set(pids)) == 3)
    task = {**BILLING, "task": "quick"}
    for _ in range(6):
        seen = Scrape(url)
        assert seen.value("dotflow_workflow_started_total", **MODE) == len(pids) + 1
        assert seen.value("dotflow_workflow_completed_total", **MODE) == len(pids)
        assert seen.value("dotflow_task_completed_total", **task) == len(pids)
        assert seen.of(OLDEST) == [0]
