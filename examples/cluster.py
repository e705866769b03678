"""A workflow on a Dask cluster, observed: a scheduler and two workers, by Dask's own commands."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry import trace

from dotflow import Context, DotFlow, action
from dotflow.providers import ExecutorDask
from dotflow_otel import record_telemetry

LOCAL = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
PATIENCE = 30

tracer = trace.get_tracer(__name__)


@action(retry=2)
def primes(initial_context: Context) -> int:
    """Count the primes below a number, in a span of its own."""
    limit = initial_context.storage
    with tracer.start_as_current_span("sieve"):
        sieve = bytearray([1]) * limit
        sieve[:2] = b"\0\0"
        for number in range(2, int(limit**0.5) + 1):
            if sieve[number]:
                sieve[number * number :: number] = bytes(len(sieve[number * number :: number]))
    return sum(sieve)


@action
def density(previous_context: Context, initial_context: Context) -> str:
    """Say how many of the numbers that is."""
    return f"{previous_context.storage / initial_context.storage:.4f}"


@contextmanager
def held_back(*numbers: signal.Signals) -> Iterator[None]:
    """Have signals come after the block: no process is started that nobody knows of."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda it, _: came.append(it)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in came:
        signal.raise_signal(number)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a scheduler and two workers, which end with the block; give the scheduler's address."""
    file = folder / "scheduler.json"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in (["scheduler", "--port", "0"], *[["worker", "--nthreads", "1"]] * 2):
            words = ["dask", *command, "--scheduler-file", str(file), *LOCAL]
            log = folder / f"{len(processes)}.log"
            with held_back(signal.SIGINT, signal.SIGTERM), log.open("wb") as output:
                processes.append(
                    subprocess.Popen(  # noqa: S603 - Dask, of this interpreter
                        [sys.executable, "-m", *words],
                        stderr=output,
                        start_new_session=True,  # Ctrl-C is for this program, which ends them
                    )
                )
        yield address_in(file, processes[0])
    finally:
        # Workers first: without a scheduler they would look for one.
        for process in reversed(processes):
            end(process)


def address_in(file: Path, scheduler: subprocess.Popen[bytes]) -> str:
    """Wait until the scheduler has told where it listens."""
    until = time.monotonic() + PATIENCE
    while scheduler.poll() is None and time.monotonic() < until:
        try:
            return str(json.loads(file.read_text(encoding="utf-8"))["address"])
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
    raise RuntimeError((file.parent / "0.log").read_text(encoding="utf-8"))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, and where that does not do, for good."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Run the workflow, and show what it did."""
    # Without this a SIGTERM would end this program and leave the cluster.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster(Path(folder)) as address,
        ExecutorDask(address) as executor,
        record_telemetry() as telemetry,
    ):
        flow = DotFlow(config=telemetry.observe(executor=executor), name="primes")
        for limit in (10_000, 100_000, 1_000_000):
            flow.task.add([primes, density], initial_context=limit, group_name=str(limit))
        flow.start(mode="parallel")

    for task in flow.result_task():
        print(task.group_name, task.name, task.current_context.storage)
    print("dotflow_task_completed_total", telemetry.metric("dotflow_task_completed_total"))
    telemetry.tree()


if __name__ == "__main__":
    main()
