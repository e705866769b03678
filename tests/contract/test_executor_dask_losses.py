"""What a Dask cluster loses, and that it runs nothing twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dask_processes import DaskProcesses
from observed import Observed
from waiting import wait_for

from dotflow import Config, Context, DotFlow, action
from dotflow.core.attempt import Attempt
from dotflow.core.exception import ClusterUnusable
from dotflow.providers import ExecutorDask, ExecutorFutures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from dotflow import Task


@action
def process_id() -> int:
    """Return the id of the process that runs this."""
    return os.getpid()


@action
def killed(initial_context: Context) -> None:
    """Note that it begins, and kill the process that runs this."""
    with Path(initial_context.storage).open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


@action(timeout=20, retry=2, retry_delay=0.1)
def waits(initial_context: Context) -> None:
    """Note that it begins, and wait."""
    Path(initial_context.storage).touch()
    threading.Event().wait(3)


def _run(executor: Any, *steps: Any, given: object = None) -> DotFlow:
    flow = DotFlow(config=Config(executor=executor), name="work")
    for step in steps:
        flow.task.add(step, initial_context=given)
    flow.start(mode="parallel")
    return flow


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[DaskProcesses]:
    """A cluster for one test, with one worker that nothing starts again."""
    made = DaskProcesses(tmp_path)
    made.start(1, "--no-nanny")
    yield made
    made.stop()


def test_an_attempt_that_no_worker_is_left_for(processes: DaskProcesses, tmp_path: Path) -> None:
    """The last worker of the cluster dies: a lost attempt at once, begun once, by Dask as well."""
    begun = tmp_path / "begun"
    with ExecutorDask(processes.address) as executor:
        task = _run(executor, killed, given=str(begun)).task.queue[0]
        assert task.failure.error_type == "worker_lost"
        assert "ended while it ran killed" in task.failure.message
        processes.add_worker("--no-nanny")
        assert _run(executor, process_id).task.queue[0].status == "Completed"
    assert begun.read_text() == "x"


def test_a_scheduler_that_dies_fails_the_run(processes: DaskProcesses, tmp_path: Path) -> None:
    """Attempts that it had are lost, and so are their retries; the run ends, and says so."""
    begun = tmp_path / "begun"
    observed = Observed()
    with ExecutorDask(processes.address, timeout=3) as executor:
        observed.config.executor = executor
        ending = threading.Thread(
            target=lambda: (wait_for(begun.exists), processes.kill_scheduler())
        )
        ending.start()
        step = {"step": waits, "initial_context": str(begun)}
        began = time.monotonic()
        manager = observed.run(step, step, step, mode="parallel")
        ending.join()
        assert time.monotonic() - began < 40
        assert {task.failure and task.failure.error_type for task in manager.tasks} == {
            "worker_lost"
        }
        with pytest.raises(ClusterUnusable, match=processes.address):
            _run(executor, process_id)
    assert observed.metric("dotflow_worker_lost_total") == 6
    assert observed.metric("dotflow_task_in_progress") == 0


@action
def notes(initial_context: Context) -> None:
    """Note that it begins, and take a while."""
    folder, name = initial_context.storage
    Path(folder, name).touch()
    threading.Event().wait(0.2)


def test_an_interrupt_ends_the_run(dask_cluster: str, tmp_path: Path) -> None:
    """What the cluster had not begun never begins, and the cluster is free."""

    def interrupt(task: Task) -> None:
        if task.status == "Completed":
            raise KeyboardInterrupt

    with ExecutorDask(dask_cluster) as executor:
        flow = DotFlow(config=Config(executor=executor), name="work")
        for index in range(20):
            flow.task.add(notes, initial_context=(str(tmp_path), str(index)), callback=interrupt)
        with pytest.raises(KeyboardInterrupt):
            flow.start(mode="parallel")
        assert "In progress" not in {task.status for task in flow.task.queue}
        # Each worker does this after what it had before.
        assert _run(executor, *[process_id] * 6).task.queue[5].status == "Completed"
    assert 1 <= len(list(tmp_path.iterdir())) <= 6


@pytest.fixture
def here() -> Iterator[Client]:
    """A cluster in threads of this process."""
    from distributed import Client, LocalCluster

    quiet = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    where = {"processes": False, "protocol": "tcp://", "host": "127.0.0.1"}
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, scheduler_kwargs=quiet, **where) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@action
def large() -> bytes:
    """Return more than goes by way of the scheduler."""
    return b"x" * 1_000_001


def test_a_cluster_in_this_process(here: Client) -> None:
    """Small and large results come back, and each span once: nothing of it was away."""
    observed = Observed()
    observed.config.executor = ExecutorFutures(here.get_executor())
    manager = observed.run(process_id, large, mode="parallel")
    first, second = (task.current_context.storage for task in manager.tasks)
    assert (first, len(second)) == (os.getpid(), 1_000_001)
    names = Counter(span.name for span in observed.finished)
    assert names == {"workflow billing": 1, "task process_id": 1, "task large": 1, "attempt": 2}


def test_a_scheduler_that_cannot_be_asked(here: Client) -> None:
    """A step that nobody allowed to begin does not; the attempt is a lost one."""
    executor = ExecutorFutures(here.get_executor())
    session = executor.session()
    here.run_on_scheduler(_unlearn)
    attempt = Attempt(process_id, "process_id", "id", None, None, 0)
    session.submit(1, attempt)
    ((ticket, outcome),) = session.wait(10)
    session.close()
    assert (ticket, outcome.failure.error_type) == (1, "worker_lost")
    assert "the scheduler cannot be asked whether it may begin" in outcome.failure.message


def test_what_dask_begins_again_is_not_run(here: Client) -> None:
    """Also where the scheduler did not see the worker go that had it before."""
    session = ExecutorFutures(here.get_executor()).session()
    deny = {"dotflow_begin": _deny}
    here.run_on_scheduler(lambda dask_scheduler: dask_scheduler.handlers.update(deny))
    session.submit(1, Attempt(process_id, "process_id", "id", None, None, 0))
    ((_, outcome),) = session.wait(10)
    session.close()
    assert outcome.failure.error_type == "worker_lost"
    assert "had begun process_id, which is not run twice" in outcome.failure.message


def _unlearn(dask_scheduler: Any) -> None:
    del dask_scheduler.handlers["dotflow_begin"]


async def _deny(**_: Any) -> bool:
    return False
