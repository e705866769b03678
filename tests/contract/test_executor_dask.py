"""ExecutorDask: its own cluster, those at an address, what it takes and refuses."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from observed import Observed
from waiting import is_gone, wait_for

from dotflow import Config, DotFlow, action
from dotflow.core.exception import ClusterUnusable, InvalidOption, ModuleNotFound
from dotflow.providers import ExecutorDask, ExecutorFutures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@action
def process_id() -> int:
    """Return the id of the process that runs this."""
    return os.getpid()


def _run(executor: Any, *steps: Any) -> DotFlow:
    flow = DotFlow(config=Config(executor=executor), name="work")
    for step in steps:
        flow.task.add(step)
    flow.start(mode="parallel")
    return flow


# --- a cluster of its own -------------------------------------------------------------------


def test_its_own_cluster_ends_with_it() -> None:
    """Without an address processes start when first needed, and end at close; then anew."""
    pids = []
    with ExecutorDask(workers=1) as executor:
        for _ in range(2):
            task = _run(executor, process_id).task.queue[0]
            assert task.status == "Completed"
            pids.append(task.current_context.storage)
            executor.close()
            wait_for(lambda: is_gone(pids[-1]))
    assert len({*pids, os.getpid()}) == 3


def test_dask_tells_of_itself_again_after_its_own_cluster() -> None:
    """While it lives Dask tells of errors alone on stderr; its log is then as it was."""
    handler = logging.StreamHandler()
    logging.getLogger("distributed").addHandler(handler)
    try:
        with ExecutorDask(workers=1) as executor:
            assert _run(executor, process_id).task.queue[0].status == "Completed"
            assert handler.level == logging.ERROR
        assert handler.level == logging.NOTSET
    finally:
        logging.getLogger("distributed").removeHandler(handler)


def test_a_worker_that_is_gone_already_is_no_trouble() -> None:
    """A cluster ends though a nanny of it, and the processes of that, ended by themselves."""
    from dotflow.dask import cluster

    before = psutil.Process().children()
    connection = cluster.start(1, timeout=10)
    (nanny,) = set(psutil.Process().children()) - set(before)
    with connection.ends:
        for process in (*nanny.children(recursive=True), nanny):
            process.kill()
    assert not nanny.is_running()


PROGRAM = """
import beside
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorDask, LogDefault

config = Config(executor=ExecutorDask(workers=2), log=LogDefault(level="ERROR"))
flow = DotFlow(config=config)

@action
def here():
    import os
    return os.getpid()

flow.task.add([here, beside.there])
flow.start(mode="parallel")
print(*flow.result_storage())
"""

BESIDE = """
from dotflow import action

@action
def there():
    import os
    return os.getpid()
"""


def test_a_program_needs_no_guard_and_no_close(tmp_path: Path) -> None:
    """Steps of a script and of modules beside it run, and with the program all processes end."""
    (tmp_path / "beside.py").write_text(BESIDE)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    wait_for(lambda: all(map(is_gone, pids)))


# --- at an address ------------------------------------------------------------------------


class AsynchronousClient:
    """As much of a client as is looked at."""

    asynchronous = True
    scheduler = None


def test_an_asynchronous_client_is_refused() -> None:
    """The error tells what to give."""
    from distributed.cfexecutor import ClientExecutor

    with pytest.raises(ClusterUnusable, match=r"its client is asynchronous\. Give a client that"):
        _run(ClientExecutor(AsynchronousClient()), process_id)


def test_nobody_answers() -> None:
    """The error names the address, and comes in time; the run has failed."""
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        observed = Observed()
        observed.config.executor = ExecutorDask(address, timeout=0.5)
        began = time.monotonic()
        with pytest.raises(ClusterUnusable, match=address) as caught:
            observed.run(process_id, mode="parallel")
        assert time.monotonic() - began < 15
    assert "dask scheduler" in str(caught.value)
    assert observed.metric("dotflow_workflow_failed_total") == 1
    assert observed.metric("dotflow_task_skipped_total") == 1


def test_no_address(dask_cluster: str) -> None:
    """What is no address at all is refused as clearly; in_flight holds for the cluster."""
    with pytest.raises(ClusterUnusable, match="nowhere://x cannot be used"):
        _run(ExecutorDask("nowhere://x"), process_id)
    with ExecutorDask(dask_cluster, in_flight=3) as executor:
        session = executor.session()
        assert session.has_room()
        session.close()
        assert {task.status for task in _run(executor, *[process_id] * 9).task.queue} == {
            "Completed"
        }


def test_workers_that_were_chosen(dask_cluster: str) -> None:
    """What a client's executor was made with holds: here, which worker."""
    from distributed import Client

    with Client(dask_cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        chosen = next(iter(client.nthreads()))
        (pid,) = client.run(os.getpid, workers=[chosen]).values()
        executor = ExecutorFutures(client.get_executor(workers=[chosen]))
        tasks = _run(executor, *[process_id] * 6).task.queue
    assert {task.current_context.storage for task in tasks} == {pid}


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"address": ""}, "address=''"),
        ({"address": 8786}, "address=8786 is not valid: give the scheduler's address"),
        ({"workers": 0}, "workers=0 is not valid: give a whole number, 1 or more"),
        ({"in_flight": 1.5}, "in_flight=1.5"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"timeout": 0}, "timeout=0 is not valid: give a number of seconds, more than 0"),
        ({"address": "tcp://h:1", "workers": 2}, "workers=2 is not valid: the cluster at an"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    """The error names the argument, its value and what to give."""
    with pytest.raises(InvalidOption) as caught:
        ExecutorDask(**arguments)
    assert message in str(caught.value)


def test_without_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFound, match=r"'distributed'.*dotflow\[dask\]"):
        ExecutorDask()


def test_distributed_is_imported_late(script: Callable[..., Any]) -> None:
    """Neither the providers nor the constructor import it, and no other executor needs it."""
    done = script("""
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from dotflow import Config
        from dotflow.providers import ExecutorDask, ExecutorFutures
        ExecutorDask("tcp://127.0.0.1:1"), ExecutorDask(), Config(executor=ThreadPoolExecutor(1))
        print("distributed" in sys.modules, "dask" in sys.modules)
    """)
    assert (done.stdout.strip(), done.returncode) == ("False False", 0), done.stderr
