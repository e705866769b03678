"""How long the commands take that show the history: `shown.py RUNS SPANS ROUNDS`.

`runs` lists a history of so many runs, `trace` shows one of so many spans: seconds of the whole
process, from its start to its end. It raises unless each prints all that it is asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from rounds import tell

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "helpers"))

from made_history import MadeHistory, MadeTask

_KINDS = 50


def make(path: Path, runs: int, spans: int) -> None:
    """Make a history of so many runs, the latest one of so many spans."""
    with MadeHistory(path) as history:
        process = history.process()
        for number in range(runs - 1):
            at = float(number)
            task = MadeTask("load", at, at + 1, error=None if number % 10 else "OSError: down")
            name = f"flow {number % _KINDS}"
            history.add(name, task, started=at, ended=at + 2, process=process)
        at = float(runs)
        tasks = [
            MadeTask(f"step {number % _KINDS}", at + number / 100, at + (number + 1) / 100)
            for number in range(spans - 1)
        ]
        history.add("long", *tasks, started=at, ended=at + spans / 100, process=process)


def spent(path: Path, *args: str) -> tuple[float, list[str]]:
    """Return how many seconds a command took, and the lines that it printed."""
    begun = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dotflow.main", *args, "--history", str(path)],
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=True,
    )
    return perf_counter() - begun, done.stdout.splitlines()


def main(runs: int, spans: int, rounds: int) -> None:
    """Print the medians of `rounds`, after one that warms up."""
    commands = {"runs": ("runs", "--limit", "0"), "trace": ("trace", "latest", "--all")}
    # What each prints at least: a line of a heading, and the runs or tasks.
    least = {"runs": runs + 1, "trace": spans - 1}
    figures: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        make(path, runs, spans)
        for _ in range(rounds + 1):
            for name, args in commands.items():
                took, lines = spent(path, *args)
                if len(lines) < least[name]:
                    raise RuntimeError(f"{name} printed {len(lines)} lines of {least[name]}")
                figures[name].append(took)
    tell({name: median(took[1:]) for name, took in figures.items()})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
