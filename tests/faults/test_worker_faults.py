"""Workers that are killed, stopped or crash at any moment cost their own attempt, no other."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import is_gone, wait_for

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.core.exception import InvalidOption
from dotflow.core.workflow import Manager
from dotflow.providers import ExecutorLocal, LogDefault
from dotflow.testing import Recording
from dotflow.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def executor() -> Iterator[ExecutorLocal]:
    """Return two workers of this test's own."""
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


def flow_on(executor: ExecutorLocal) -> DotFlow:
    """Make a workflow that logs to nowhere."""
    return DotFlow(config=Config(log=LogDefault(output="file", path=os.devnull), executor=executor))


@action
def pid() -> int:
    """Return which process this is."""
    return os.getpid()


def workers_of(executor: ExecutorLocal) -> set[int]:
    """Run two tasks; give the processes that ran them."""
    flow = flow_on(executor)
    flow.task.add([pid] * 8)
    flow.start(mode="parallel")
    return set(flow.result_storage())


def test_idle_worker_killed_right_before_a_run(executor: ExecutorLocal) -> None:
    """However often an idle worker is killed, no attempt fails."""
    for _ in range(10):
        for process in workers_of(executor):
            os.kill(process, signal.SIGKILL)
        flow = flow_on(executor)
        flow.task.add([pid] * 4)
        flow.start(mode="parallel")
        assert [task.status for task in flow.result_task()] == ["Completed"] * 4


def _only_closes_its_connection() -> None:
    os.closerange(3, 256)
    threading.Event().wait(20)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os._exit(7), "exited with code 7"),
        (lambda: os.closerange(3, 256), "exited with code 1"),
        (_only_closes_its_connection, "has closed its connection while it ran dying"),
    ],
)
def test_worker_that_dies_in_a_step(end: Any, told: str, executor: ExecutorLocal) -> None:
    """Its attempt fails, saying how it died; all hooks agree; its siblings complete."""

    @action
    def dying() -> None:
        end()

    recording = Recording()
    flow = DotFlow(config=Config(**recording.providers, executor=executor))
    flow.task.add([pid, dying, pid, pid])
    ended: list[str] = []
    flow.start(mode="parallel", on_failure=lambda tasks: ended.append("failed"))
    statuses = [task.status for task in flow.result_task()]
    assert statuses == ["Completed", "Failed", "Completed", "Completed"]
    (error,) = flow.result_task()[1].errors
    assert error.exception == "WorkerLost"
    assert told in error.message
    assert flow.result_task()[1].failure.kind == "worker_lost"
    assert recording.hooks.count("metrics.task_failed") == 1
    assert recording.hooks.count("metrics.task_completed") == 3
    assert recording.hooks.count("tracer.end_task") == 4
    assert ended == ["failed"]


def test_dead_worker_is_retried(executor: ExecutorLocal, tmp_path: Path) -> None:
    """A lost worker is one failed attempt; the next one may do better."""
    mark = tmp_path / "mark"

    @action(retry=2, retry_delay=0)
    def once() -> str:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    flow = flow_on(executor)
    flow.task.add(once)
    flow.start(mode="parallel")
    (task,) = flow.result_task()
    assert (task.status, task.retry_count, flow.result_storage()) == ("Completed", 1, ["done"])


def test_killed_while_a_large_result_crosses(executor: ExecutorLocal, tmp_path: Path) -> None:
    """A worker killed in the middle of 300 MB costs that attempt; the pool goes on."""
    mark = tmp_path / "pid"

    @action
    def large() -> bytes:
        value = bytes(300_000_000)
        mark.write_text(str(os.getpid()), encoding="utf-8")
        return value

    def kill() -> None:
        wait_for(lambda: mark.exists() and bool(mark.read_text(encoding="utf-8")))
        time.sleep(0.02)  # into the pickling or the transfer: either must do
        os.kill(int(mark.read_text(encoding="utf-8")), signal.SIGKILL)

    for _ in range(10):
        mark.unlink(missing_ok=True)
        killer = threading.Thread(target=kill)
        flow = flow_on(executor)
        flow.task.add([large, pid])
        killer.start()
        flow.start(mode="parallel")
        killer.join()
        hit, other = flow.result_task()
        assert other.status == "Completed"
        if hit.status == "Failed":
            break  # on a busy machine the kill may come too late: then again
    assert hit.errors[0].exception == "WorkerLost"
    assert len(workers_of(executor)) >= 1


def test_killed_while_a_large_context_crosses(
    executor: ExecutorLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker killed in the middle of 300 MB had no attempt yet: another one gets it."""
    send_more = Worker.send_more
    killed: list[int] = []

    def send_more_and_kill(worker: Worker) -> None:
        send_more(worker)
        if worker.wants_to_send and not killed:
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    @action
    def measure(initial_context: Context) -> tuple[int, int]:
        return os.getpid(), len(initial_context.storage)

    workers_of(executor)
    monkeypatch.setattr(Worker, "send_more", send_more_and_kill)
    flow = flow_on(executor)
    flow.task.add(measure, initial_context=bytes(300_000_000))
    flow.start(mode="parallel")
    (task,) = flow.result_task()
    assert (task.status, task.errors) == ("Completed", [])
    process, size = task.current_context.storage
    assert len(killed) == 1
    assert (process in killed, size) == (False, 300_000_000)


def test_large_values_both_ways(executor: ExecutorLocal) -> None:
    """100 MB go out as a context and come back as a result, unchanged."""

    @action
    def back(initial_context: Context) -> Any:
        return initial_context.storage

    value = os.urandom(1_000_000) * 100
    flow = flow_on(executor)
    flow.task.add(back, initial_context=value)
    flow.start(mode="parallel")
    assert flow.result_storage()[0] == value


def test_timeout_ends_the_process_and_its_children(executor: ExecutorLocal, tmp_path: Path) -> None:
    """A late step that ignores SIGTERM is gone soon after, and so is its child."""
    mark = tmp_path / "pids"

    @action(timeout=2)
    def late() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        mark.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
        time.sleep(60)

    flow = flow_on(executor)
    flow.task.add([late, pid])
    began = time.monotonic()
    flow.start(mode="parallel")
    assert time.monotonic() - began < 30
    failed, completed = flow.result_task()
    assert (failed.status, completed.status) == ("Failed", "Completed")
    assert failed.errors[0].exception == "TimeoutError"
    assert failed.failure.kind == "timeout"
    for process in mark.read_text(encoding="utf-8").split():
        wait_for(lambda process=process: is_gone(int(process)))


def test_coroutine_is_cancelled_in_its_worker(executor: ExecutorLocal, tmp_path: Path) -> None:
    """A late coroutine gets to its `finally`, and its worker lives on."""
    mark = tmp_path / "cleaned"

    @action(timeout=1)
    async def late() -> None:
        import asyncio

        try:
            await asyncio.sleep(60)
        finally:
            mark.touch()

    before = workers_of(executor)
    flow = flow_on(executor)
    flow.task.add(late)
    flow.start(mode="parallel")
    assert flow.result_task()[0].errors[0].exception == "TimeoutError"
    wait_for(mark.exists)
    assert workers_of(executor) <= before


def test_stopped_worker_times_out(executor: ExecutorLocal) -> None:
    """A worker that is stopped in a step with a timeout is killed when it is over."""

    @action(timeout=0.3)
    def stopped() -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    flow = flow_on(executor)
    flow.task.add([stopped, pid])
    flow.start(mode="parallel")
    assert [task.status for task in flow.result_task()] == ["Failed", "Completed"]


def test_runs_share_one_worker_fairly() -> None:
    """A short run that comes while a long one has the only worker gets its turn."""
    executor = ExecutorLocal(workers=1)
    ended: list[str] = []
    begun = threading.Event()

    @action
    def short() -> None:
        time.sleep(0.01)

    def run(name: str, count: int) -> None:
        flow = flow_on(executor)
        for _ in range(count):
            flow.task.add(short, callback=lambda task: begun.set())
        flow.start(mode="parallel")
        assert {task.status for task in flow.result_task()} == {"Completed"}
        ended.append(name)

    long = threading.Thread(target=run, args=("long", 100))
    long.start()
    assert begun.wait(10)
    run("short", 3)
    long.join()
    executor.close()
    assert ended == ["short", "long"]


def test_never_more_workers_than_asked_for(executor: ExecutorLocal) -> None:
    """However many tasks and runs: two workers."""
    assert len(workers_of(executor) | workers_of(executor)) <= 2


def test_the_environment_reaches_warm_workers(
    executor: ExecutorLocal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed folder and environment are those of the next run's steps."""

    @action
    def around() -> tuple[str, str | None]:
        return str(Path.cwd()), os.environ.get("DOTFLOW_TEST")

    workers_of(executor)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOTFLOW_TEST", "new")
    flow = flow_on(executor)
    flow.task.add([around] * 2)
    flow.start(mode="parallel")
    assert flow.result_storage() == [(str(tmp_path), "new")] * 2


def test_a_default_timeout_of_sockets_is_not_ours(executor: ExecutorLocal) -> None:
    """An application may set one: its workers stay, and large results come."""

    @action
    def large() -> bytes:
        return bytes(20_000_000)

    socket.setdefaulttimeout(0.2)
    try:
        before = workers_of(executor)
        flow = flow_on(executor)
        flow.task.add(large)
        flow.start(mode="parallel")
    finally:
        socket.setdefaulttimeout(None)
    (task,) = flow.result_task()
    assert (task.status, len(task.current_context.storage or b"")) == ("Completed", 20_000_000)
    assert workers_of(executor) == before


def test_closed_executor_starts_anew(executor: ExecutorLocal) -> None:
    """After `close` its workers are gone, and a later run gets new ones."""
    before = workers_of(executor)
    executor.close()
    for process in before:
        wait_for(lambda process=process: is_gone(process))
    assert not before & workers_of(executor)


def test_no_descriptor_is_left(executor: ExecutorLocal) -> None:
    """Runs and killed workers leave no descriptor behind."""

    @action
    def dying() -> None:
        os._exit(1)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    workers_of(executor)
    before = descriptors()
    for _ in range(5):
        flow = flow_on(executor)
        flow.task.add([dying, pid])
        flow.start(mode="parallel")
    workers_of(executor)
    executor.close()
    assert descriptors() <= before


def test_two_tasks_of_one_id(tmp_path: Path) -> None:
    """Each is tried again with its own step, though both have the id that their caller gave."""

    def fails_once(name: str) -> Any:
        mark = tmp_path / name

        def step() -> str:
            if not mark.exists():
                mark.touch()
                raise KeyError(name)
            return name

        # So both have failed once before the first of them is tried again.
        return action(retry=2, retry_delay=0.3)(step)

    executor = ExecutorLocal(workers=1)
    config = Config(log=LogDefault(output="file", path=os.devnull), executor=executor)
    tasks = [Task("same", fails_once(name), config=config) for name in ("one", "other")]
    Manager(tasks, mode="parallel", config=config)
    executor.close()
    assert [task.current_context.storage for task in tasks] == ["one", "other"]


def test_no_process_can_be_started(
    executor: ExecutorLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails the attempts that need one, with an error that says so; the others go on."""
    refused: list[int] = []

    class Scarce(Worker):
        def __init__(self, lifeline: int, nested: int) -> None:
            if len(refused) < 2:
                refused.append(1)
                raise BlockingIOError(11, "Resource temporarily unavailable")
            super().__init__(lifeline, nested)

    monkeypatch.setattr("dotflow.workers.pool.Worker", Scarce)

    @action(retry=2, retry_delay=0)
    def again() -> int:
        return 1

    flow = flow_on(executor)
    flow.task.add([pid, again, pid])
    flow.start(mode="parallel")
    first, second, third = flow.result_task()
    assert [task.status for task in (first, second, third)] == ["Failed", "Completed", "Completed"]
    assert first.failure.kind == "worker_lost"
    assert first.errors[-1].message == (
        "no worker process can be started for pid: [Errno 11] Resource temporarily unavailable"
    )
    assert (second.retry_count, second.errors[0].exception) == (1, "WorkerLost")


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two"])
def test_number_of_workers_is_checked(workers: Any) -> None:
    """A wrong number is refused with the value."""
    with pytest.raises(InvalidOption, match="workers="):
        ExecutorLocal(workers=workers)


def test_forked_application_goes_on(executor: ExecutorLocal) -> None:
    """After `os.fork` parent and child each run in workers of their own."""
    before = workers_of(executor)
    child = os.fork()
    if child == 0:
        try:
            ok = not before & workers_of(executor)
            executor.close()
        finally:
            os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert workers_of(executor) <= before


SCRIPT = """
import os, sys, time
from dotflow import DotFlow, Config, action
from dotflow.providers import LogDefault

@action
def long():
    with open(f"{os.getpid()}.pid", "w"):
        pass
    time.sleep(60)

flow = DotFlow(config=Config(log=LogDefault(output="file", path=os.devnull)))
flow.task.add([long, long])
try:
    flow.start(mode="parallel", on_failure=lambda tasks: print("failed", [t.status for t in tasks]))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_owner(sent: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C ends workers, events and program; so do a plain SIGTERM and SIGKILL of it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    owner = subprocess.Popen(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    wanted = min(2, len(os.sched_getaffinity(0)))
    wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == wanted, 20)
    owner.send_signal(sent)
    output, _ = owner.communicate(timeout=30)
    for mark in tmp_path.glob("*.pid"):
        wait_for(lambda mark=mark: is_gone(int(mark.stem)))
    if sent == signal.SIGINT:
        assert output.splitlines()[0].startswith("failed ['Failed'")
        assert output.splitlines()[1:] == ["interrupted"]
