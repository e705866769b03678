"""What a run says of an executor that takes nothing, and of an address with no scheduler."""

from __future__ import annotations

import os
import re
import socket
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from dask_processes import DaskProcesses
from observed import Observed

from dotflow import Config, DotFlow, action
from dotflow.core.attempt import Attempt
from dotflow.core.exception import ClusterUnusable
from dotflow.providers import ExecutorDask, ExecutorFutures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dotflow.core.exception import TaskError


@action
def one() -> int:
    """Return 1."""
    return 1


@action
def deadly() -> None:
    """End the worker."""
    os._exit(9)


def _errors(observed: Observed, executor: Any, step: Any = one) -> list[TaskError]:
    observed.config.executor = ExecutorFutures(executor)
    return observed.run(step, mode="parallel").tasks[0].errors


@contextmanager
def _listening(answer: bytes | None) -> Iterator[str]:
    """Accept connections; say this and hang up, or with None say nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as peer:
                if answer is not None:
                    peer.sendall(answer)
                while peer.recv(4096):
                    pass

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)
    assert not thread.is_alive()  # because the other side has hung up


# --- executors ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_that_was_shut_down(kind: Callable[[int], Executor]) -> None:
    """The task's error tells which step, why, and what to do; no worker counts as lost."""
    executor = kind(1)
    executor.shutdown()
    observed = Observed()
    (error,) = _errors(observed, executor)
    assert error.exception == "ExecutorUnusable"
    assert error.message == (
        "The executor did not take one: cannot schedule new futures after shutdown "
        "(RuntimeError). Give Config(executor=...) one that is neither shut down nor broken."
    )
    assert observed.metric("dotflow_worker_lost_total") == 0
    kind_of_error = "dotflow.core.exception.ExecutorUnusable"
    assert observed.metric("dotflow_task_failed_total", error_type=kind_of_error) == 1


def test_a_pool_that_an_earlier_run_has_broken() -> None:
    """It counts as a lost worker, and the error asks for another executor."""
    with ProcessPoolExecutor(1) as pool:
        assert len(_errors(Observed(), pool, deadly)) == 1
        observed = Observed()
        (error,) = _errors(observed, pool)
    assert error.message.startswith("The executor did not take one: ")
    assert error.message.endswith(
        "(BrokenProcessPool). Give Config(executor=...) one that is neither shut down nor broken."
    )
    assert observed.metric("dotflow_worker_lost_total") == 1


# --- Dask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, r"no scheduler answered within 0\.5 s"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", r"what listens there is no scheduler \(\w+\)"),
    ],
)
def test_something_else_listens(answer: bytes | None, reason: str) -> None:
    """Whatever it says, or if it is silent for ever, the error comes in time."""
    with _listening(answer) as address:
        began = time.monotonic()
        with pytest.raises(ClusterUnusable) as caught:
            ExecutorDask(address, timeout=0.5 if answer is None else 30).session()
        assert time.monotonic() - began < 15
    assert re.fullmatch(
        rf"The Dask cluster at {address} cannot be used: {reason}\. "
        r"Is the scheduler \(`dask scheduler`\) up, and the address right\?",
        str(caught.value),
    )


def test_the_address_of_a_worker(dask_cluster: str) -> None:
    """The error says that it is one."""
    from distributed import Client

    with Client(dask_cluster, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=30)
        address = next(iter(client.nthreads()))
    with pytest.raises(ClusterUnusable, match=f"at {address}.*what listens there is a Worker"):
        ExecutorDask(address).session()


def test_a_client_that_is_closed(dask_cluster: str) -> None:
    """The error asks for another."""
    from distributed import Client

    client = Client(dask_cluster, set_as_default=False)
    executor = client.get_executor()
    client.close()
    flow = DotFlow(config=Config(executor=executor), name="work")
    flow.task.add(one)
    with pytest.raises(ClusterUnusable, match=r"client is closed\. Give the executor of one that"):
        flow.start(mode="parallel")


@contextmanager
def _hidden_dotflow(run: Callable[..., Any]) -> Iterator[None]:
    """Let processes of the cluster find no dotflow, by a client's way to run a function there."""

    def hide() -> None:
        import sys

        sys.modules["hidden"] = sys.modules.get("dotflow") or sys.modules["sys"]
        sys.modules["dotflow"] = None  # type: ignore[assignment] - as Python has it

    def show() -> None:
        import sys

        found = sys.modules.pop("hidden")
        del sys.modules["dotflow"]
        if found is not sys:
            sys.modules["dotflow"] = found

    run(hide)
    try:
        yield
    finally:
        run(show)


@pytest.mark.parametrize("which", ["scheduler", "worker"])
def test_a_cluster_without_dotflow(dask_cluster: str, which: str) -> None:
    """The error tells where it is missing, instead of a wait for workers that can run nothing."""
    from distributed import Client

    with Client(dask_cluster, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=30)
        with (
            _hidden_dotflow(client.run_on_scheduler if which == "scheduler" else client.run),
            ExecutorDask(dask_cluster) as executor,
            pytest.raises(ClusterUnusable, match=f"its {which}.* has no module 'dotflow'. Install"),
        ):
            executor.session()
    with ExecutorDask(dask_cluster) as executor:
        executor.session().close()


# Dask runs it in a worker before that begins.
_HIDING = """\
import sys

sys.modules[{module!r}] = None
"""


@pytest.mark.parametrize("module", ["dotflow", "dotflow.workers"])
def test_a_worker_without_dotflow_that_comes_later(tmp_path: Path, module: str) -> None:
    """It fails its attempt with an error that tells which worker, instead of a wait for ever.

    So does one with dotflow 1.x, which has other modules.
    """
    preload = tmp_path / "hiding.py"
    preload.write_text(_HIDING.format(module=module))
    processes = DaskProcesses(tmp_path)
    processes.start(0)
    try:
        address = processes.address
        with ExecutorDask(address) as executor:
            session = executor.session()
            processes.add_worker("--no-nanny", "--preload", str(preload))
            session.submit(1, Attempt(one, "one", "id", None, None, 0))
            ((ticket, outcome),) = session.wait(30)
            session.close()
    finally:
        processes.stop()
    assert (ticket, outcome.failure.name) == (1, "ClusterUnusable")
    assert re.fullmatch(
        rf"The Dask cluster at {address} cannot be used: its worker tcp://[\d.:]+ "
        r"has no module 'dotflow'\. Install dotflow, and the modules of your steps, wherever .*",
        outcome.failure.message,
    )
