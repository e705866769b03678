"""What the contract tests share: providers of the 1.x kind that write down their calls."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from dask_processes import DaskProcesses

from dotflow import Config, Context
from dotflow.abc.log import Log
from dotflow.abc.metrics import Metrics
from dotflow.abc.notify import Notify
from dotflow.abc.scheduler import Scheduler
from dotflow.abc.server import Server
from dotflow.abc.storage import Storage
from dotflow.abc.tracer import Tracer
from dotflow.providers import ExecutorDask, ExecutorLocal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow import DotFlow, Task
    from dotflow.core.workflow import Manager

ROOT = Path(__file__).resolve().parents[2]
IN_PROCESS = ("sequential", "sequential_group", "background")
LIMIT = 120
MODES = (*IN_PROCESS, "parallel")


class Event(NamedTuple):
    """One call of a provider, with what the provider could see at that moment."""

    name: str
    task: str | None
    status: str | None
    seen: dict[str, Any]


class Recorder:
    """All calls of all providers of one config, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stored: dict[str, Context] = {}
        self.scheduled: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        self._lock = threading.Lock()

    def add(self, name: str, task: Task | None = None, **seen: Any) -> None:
        """Write one call down."""
        if task is not None:
            seen |= _snapshot(task)
        event = Event(name, getattr(task, "name", None), getattr(task, "status", None), seen)
        with self._lock:
            self.events.append(event)

    def names(self, task: str | None = None, without: tuple[str, ...] = ()) -> list[str]:
        """Return the names of the calls, of one task only where its name is given."""
        return [
            event.name
            for event in self.events
            if (task is None or event.task == task) and event.name not in without
        ]

    def of(self, name: str, status: str | None = None) -> list[Event]:
        """Return the calls of one hook, with one status only where that is given."""
        return [
            event for event in self.events if event.name == name and status in (None, event.status)
        ]

    def count(self, name: str, status: str | None = None) -> int:
        """Count the calls of one hook."""
        return len(self.of(name, status))

    def clear(self) -> None:
        """Forget the calls, and keep what is stored."""
        self.events.clear()

    def config(self, **other: Any) -> Config:
        """Return a config all of whose providers write down their calls here."""
        slots: dict[str, Any] = {
            "storage": RecordingStorage(self),
            "notify": RecordingNotify(self),
            "log": RecordingLog(self),
            "server": RecordingServer(self),
            "scheduler": RecordingScheduler(self),
            "tracer": RecordingTracer(self),
            "metrics": RecordingMetrics(self),
        }
        return Config(**(slots | other))


def _snapshot(task: Task) -> dict[str, Any]:
    return {
        "task": task,
        "task_id": task.task_id,
        "workflow_id": task.workflow_id,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "duration": task.duration,
        "retry_count": task.retry_count,
        "errors": len(task.errors),
        "previous": task.previous_context.storage,
        "current": task.current_context.storage,
    }


class RecordingStorage(Storage):
    """A storage as the documentation of 1.x shows it: these three methods and no other."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._names: dict[str, str] = {}

    # 1.x storages take no more than this.
    def post(self, key: str, context: Context) -> None:  # type: ignore[override]
        """Store."""
        self._recorder.stored[key] = context
        self._write_down("storage.post", key, context=context)

    def get(self, key: str) -> Context:
        """Return."""
        self._write_down("storage.get", key)
        return self._recorder.stored.get(key, Context())

    def key(self, task: Task) -> str:
        """Name."""
        key = f"{task.workflow_id}-{task.task_id}"
        self._names[key] = task.name
        return key

    def _write_down(self, name: str, key: str, **seen: Any) -> None:
        # The reserved records of a workflow are no task's, and not in the table of calls.
        if key in self._names:
            seen |= {"key": key}
            self._recorder.events.append(Event(name, self._names[key], None, seen))


class RecordingNotify(Notify):
    """A notifier of 1.x."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def hook_status_task(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("notify", task)


class RecordingLog(Log):
    """A log of 1.x: it overrides the four methods."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def info(self, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("log.info", kwargs.get("task"))

    def error(self, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("log.error", kwargs.get("task"))

    def warning(self, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("log.warning", kwargs.get("task"))

    def debug(self, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("log.debug", kwargs.get("task"))


class SilentLog(Log):
    """A log that says nothing."""

    def info(self, **kwargs: Any) -> None:
        """Say nothing."""

    def error(self, **kwargs: Any) -> None:
        """Say nothing."""

    def warning(self, **kwargs: Any) -> None:
        """Say nothing."""

    def debug(self, **kwargs: Any) -> None:
        """Say nothing."""


class RecordingServer(Server):
    """A server of 1.x."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def create_workflow(self, workflow: Any) -> None:
        """Write down."""
        self._recorder.add("server.create_workflow", workflow=workflow)

    def update_workflow(self, workflow: Any, status: str = "") -> None:
        """Write down."""
        self._recorder.add("server.update_workflow", workflow=workflow, status=status)

    def create_task(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("server.create_task", task)

    def update_task(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("server.update_task", task)


class RecordingScheduler(Scheduler):
    """A scheduler that keeps what it shall call."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
        """Keep."""
        self._recorder.scheduled.append((workflow, kwargs))

    def stop(self) -> None:
        """Do nothing."""


class RecordingTracer(Tracer):
    """A tracer of 1.x."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("tracer.start_workflow", workflow_id=workflow_id, kwargs=kwargs)

    def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("tracer.end_workflow", workflow_id=workflow_id, kwargs=kwargs)

    def start_task(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("tracer.start_task", task)

    def end_task(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("tracer.end_task", task)


class RecordingMetrics(Metrics):
    """Metrics of 1.x."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def workflow_started(self, workflow_id: Any, **kwargs: Any) -> None:
        """Write down."""
        self._recorder.add("metrics.workflow_started", workflow_id=workflow_id, kwargs=kwargs)

    def workflow_completed(self, workflow_id: Any, duration: float) -> None:
        """Write down."""
        self._recorder.add("metrics.workflow_completed", workflow_id=workflow_id, duration=duration)

    def workflow_failed(self, workflow_id: Any, duration: float) -> None:
        """Write down."""
        self._recorder.add("metrics.workflow_failed", workflow_id=workflow_id, duration=duration)

    def task_completed(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("metrics.task_completed", task)

    def task_failed(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("metrics.task_failed", task)

    def task_retried(self, task: Task) -> None:
        """Write down."""
        self._recorder.add("metrics.task_retried", task)


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away what the machine's environment and home would tell dotflow."""
    for name in ("WORKFLOW_ID", "SERVER_BASE_URL", "SERVER_USER_TOKEN", "DOTFLOW_OUTPUT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """Fail a test that hangs, where it hangs, in place of hanging the suite."""

    def bark(*_: object) -> None:
        raise TimeoutError(f"the test was still running after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def recorder() -> Recorder:
    """Return an empty recorder."""
    return Recorder()


@pytest.fixture
def quiet() -> Config:
    """Return a config of default providers that logs nothing."""
    return Config(log=SilentLog())


@pytest.fixture
def silent_log() -> Log:
    """Return a log that says nothing."""
    return SilentLog()


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Return the records that the logger `dotflow` gets, growing as they come."""
    handler = _Records()
    logger = logging.getLogger("dotflow")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Return every mode in turn."""
    return str(request.param)


@pytest.fixture(params=IN_PROCESS)
def in_process_mode(request: pytest.FixtureRequest) -> str:
    """Return every mode in turn that runs steps in this process."""
    return str(request.param)


@pytest.fixture
def run() -> Callable[..., Manager]:
    """Return a function that starts a flow and waits for its end, in any mode."""

    def run_to_the_end(flow: DotFlow, mode: str = "sequential", **kwargs: Any) -> Manager:
        manager = flow.start(mode=mode, **kwargs)
        if mode == "background":
            manager.thread.join(30)
            assert not manager.thread.is_alive()
        return manager

    return run_to_the_end


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs source text as a program of its own."""

    def run_program(
        source: str, *args: str, timeout: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        return subprocess.run(
            [sys.executable, str(path), *args],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run_program


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask cluster of separate processes with two workers: the address of its scheduler."""
    processes = DaskProcesses(tmp_path_factory.mktemp("dask"))
    processes.start(2)
    try:
        yield processes.address
    finally:
        processes.stop()


@pytest.fixture(scope="module", params=["local", "threads", "processes", "dask", "dask-client"])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Every kind of executor, with two workers."""
    if request.param == "local":
        local = ExecutorLocal(workers=2)
        yield local
        local.close()
    elif request.param == "threads":
        with ThreadPoolExecutor(2) as threads:
            yield threads
    elif request.param == "processes":
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=spawn) as processes:
            yield processes
    else:
        yield from _dask(request.getfixturevalue("dask_cluster"), request.param)


def _dask(address: str, kind: str) -> Iterator[Any]:
    from distributed import Client

    if kind == "dask":
        with ExecutorDask(address) as executor:
            yield executor
        return
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        yield client.get_executor()
