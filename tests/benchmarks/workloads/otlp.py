"""Runs beside a backend of OTLP: `otlp.py healthy|absent|silent COUNT ROUNDS [PROTOCOL]`.

It starts the backend and, as a program of its own, the runs; with traces alone, whose exporter
has the backend's address, and a silent log. `run` is the median of the rounds in microseconds a
task, `exit` how many seconds that program took from its last line to its end.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter

from rounds import tell
from workload import SilentLog, check

from dotflow import DotFlow, action

HERE = Path(__file__).resolve()


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def runs(count: int, rounds: int) -> None:
    """Return the median of `rounds`, after one that warms up, and when that was told."""
    from dotflow.providers import MetricsDefault
    from dotflow_otel import observe

    config = observe("bench", log=SilentLog(), metrics=MetricsDefault())
    figures = []
    for _ in range(rounds + 1):
        flow = DotFlow(config=config)
        flow.task.add([step] * count)
        gc.collect()
        begun = perf_counter()
        flow.start()
        figures.append((perf_counter() - begun) * 1e6 / count)
        check(flow, count)
    print(json.dumps({"run": median(figures[1:]), "last": monotonic()}), flush=True)


def main(mode: str, count: str, rounds: str, protocol: str = "http/protobuf") -> None:
    """Return the time of a run and of the exit beside a backend."""
    backend = [sys.executable, str(HERE.with_name("receiver.py")), mode, protocol]
    with subprocess.Popen(backend, stdout=subprocess.PIPE, text=True) as receiver:
        try:
            assert receiver.stdout is not None
            port = receiver.stdout.readline().strip()
            done = subprocess.run(
                [sys.executable, str(HERE), "runs", count, rounds],
                env={
                    **os.environ,
                    "OTEL_TRACES_EXPORTER": "otlp",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                    "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                },
                stdout=subprocess.PIPE,
                # What is dropped is told there; how much is no figure.
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
            )
            ended = monotonic()
        finally:
            receiver.kill()
    figures = json.loads(done.stdout)
    tell({"run": figures["run"], "exit": ended - figures["last"]})


if __name__ == "__main__":
    if sys.argv[1] == "runs":
        runs(*map(int, sys.argv[2:]))
    else:
        main(*sys.argv[1:])
