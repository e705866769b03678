"""What a history costs a run with traces: `recorded.py MODE COUNT ROUNDS`.

`run` is with a history, `without` with traces alone, in microseconds a task, in turn in one
process; `bytes` is what a span takes in the file, and `growth` by how much the process grew
between the fourth round and the last, in MB: until then it takes memory that it uses again. It
raises unless every task is in the history.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path
from statistics import median

from memory import resident
from observed import null_provider, run_time
from rounds import tell
from workload import SilentLog

from dotflow import Config
from dotflow.providers import StorageDefault
from dotflow_otel import History, TracerOpenTelemetry
from dotflow_otel.history.recording import forget, record

# After so many rounds the memory of one is used again by the next.
_SETTLED = 3


def main(mode: str, count: int, rounds: int) -> None:
    """Print the medians of `rounds`, after one that warms up."""
    # With room for all spans: those that are dropped cost less.
    queue = max(2048, 4 * count)
    providers = null_provider(queue=queue), null_provider(queue=queue)
    plain, recorded = (
        Config(log=SilentLog(), tracer=TracerOpenTelemetry(tracer_provider=provider))
        for provider in providers
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        recorder = record(recorded, path)
        assert recorder is not None
        figures = []
        held = []
        for _ in range(rounds + 1):
            # The results that it keeps are not what is measured.
            plain.storage, recorded.storage = StorageDefault(), StorageDefault()
            without = run_time(plain, count, mode)
            providers[0].force_flush()
            spent = run_time(recorded, count, mode)
            if not recorder.flush(60):
                raise RuntimeError("the history was not written")
            providers[1].force_flush()
            figures.append((spent, without))
            gc.collect()
            held.append(resident())
        forget(recorder)
        with History(path) as history:
            runs = history.runs()
            spans = len(history.spans(runs[0]))
        if {run.completed for run in runs} != {count}:
            raise RuntimeError("tasks are missing in the history")
        size = path.stat().st_size / len(runs) / spans
    spent, without = (median(each[index] for each in figures[1:]) for index in (0, 1))
    growth = (held[-1] - held[min(_SETTLED, rounds)]) / 1e6
    tell({"run": spent, "without": without, "bytes": size, "growth": growth})
    for provider in providers:
        provider.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
