"""The benchmarks' workloads still run; how fast, `make bench` tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.parametrize(
    ("arguments", "figures"),
    [
        (["sequential.py", "10", "2"], {"run", "build_and_run"}),
        (["chain.py", "10", "2"], {"run"}),
        (["awaited.py", "4", "2"], {"first", "held", "thread"}),
        (["by_mode.py", "sequential_group", "off", "20", "0.1"], {"run"}),
        (["by_mode.py", "background", "on", "20", "0.1"], {"run"}),
        (["by_mode.py", "parallel", "on", "20", "0.1"], {"run"}),
        (["memory.py", "10", "rss"], {"bytes"}),
        (["results.py", "10", "1"], {"build_and_run", "result"}),
        (["memory.py", "10", "traced"], {"bytes"}),
        (["added.py", "10", "2"], {"added", "bare"}),
        (["all_on.py", "10", "2"], {"run"}),
        (["default_log.py", "10", "2"], {"run"}),
        (["dispatch.py", "10", "2"], {"run", "without"}),
        (["driving.py", "4", "1"], {"silent", "observed"}),
        (["parallel.py", "4"], {"first", "second"}),
        (["parallel_unguarded.py", "4"], {"first", "second"}),
        (["parallel_warm.py", "4", "1", "1"], {"run", "in_flight"}),
        (["parallel_first.py", "4", "1"], {"run"}),
        (["parallel_cpu.py", "0.01"], {"run"}),
        (["large_result.py", "dotflow", "1000000", "1"], {"run", "owner", "worker"}),
        (["large_result.py", "pipe", "1000000", "1"], {"run", "owner", "worker"}),
        (["many.py", "parallel", "100", "1"], {"run", "workers", "growth"}),
        (["many.py", "sequential", "100", "1"], {"run", "workers", "growth"}),
        (["observed_first.py", "on", "4", "1"], {"run"}),
        (["observed_first.py", "off", "4", "1"], {"run"}),
        (["observed_parallel.py", "10", "1", "1"], {"run", "without", "sdk"}),
        (["observed_parallel.py", "10", "1", "1", "0.1"], {"run", "without", "sdk"}),
        (["progress_parallel.py", "9000", "1", "1"], {"run", "without", "pictures"}),
        (["recorded.py", "sequential", "10", "1"], {"run", "without", "bytes", "growth"}),
        (["recorded.py", "parallel", "10", "1"], {"run", "without", "bytes", "growth"}),
        (["shown.py", "10", "10", "10", "1"], {"runs", "trace", "report", "memory"}),
        (["stored_fsspec.py", "file", "3", "1"], {"post", "put"}),
        (["stored_fsspec.py", "disk", "3", "1"], {"post", "put"}),
        (["otlp.py", "healthy", "4", "1"], {"run", "exit"}),
        (["hanging.py", "notify", "4", "2"], {"run", "without", "added", "most"}),
        (["hanging.py", "server", "4", "2"], {"run", "without", "added", "most"}),
        (["otlp.py", "healthy", "4", "1", "grpc"], {"run", "exit"}),
    ],
)
def test_workload_tells_its_figures(arguments: list[str], figures: set[str]) -> None:
    """A workload, run as a script from anywhere, prints its figures as one JSON object."""
    script, *rest = arguments
    done = subprocess.run(
        [sys.executable, str(HERE / "workloads" / script), *rest],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout).keys() == figures
    assert done.stderr == ""
