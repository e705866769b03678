"""How long the commands take that show the history: `shown.py RUNS SPANS REPORTED ROUNDS`.

`runs` lists a history of so many runs, `trace` shows one of so many spans, `report` writes the page
of one of so many: seconds of the whole process, from its start to its end; `memory` is the most
that the process that wrote the page held, in MB. It raises unless each shows all that it is asked
for.
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


def make(path: Path, runs: int, spans: int, reported: int) -> None:
    """Make a history of so many runs, the last two of so many spans each."""
    with MadeHistory(path) as history:
        process = history.process()
        for number in range(runs - 2):
            at = float(number)
            task = MadeTask("load", at, at + 1, error=None if number % 10 else "OSError: down")
            name = f"flow {number % _KINDS}"
            history.add(name, task, started=at, ended=at + 2, process=process)
        for place, (name, count) in enumerate({"page": reported, "long": spans}.items()):
            at = float(runs + place)
            tasks = [
                MadeTask(f"step {number % _KINDS}", at + number / 100, at + (number + 1) / 100)
                for number in range(count - 1)
            ]
            history.add(name, *tasks, started=at, ended=at + count / 100, process=process)


def spent(path: Path, *args: str) -> tuple[float, float, list[str]]:
    """Return how many seconds a command took, the most that it held in MB, and what it printed."""
    begun = perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "dotflow.main", *args, "--history", str(path)],
        env={**os.environ, "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        took = perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{args} ended with {process.returncode}")
    return took, usage.ru_maxrss / 1e3, printed.splitlines()


def main(runs: int, spans: int, reported: int, rounds: int) -> None:
    """Print the medians of `rounds`, after one that warms up."""
    figures: dict[str, list[float]] = {name: [] for name in ("runs", "trace", "report", "memory")}
    with tempfile.TemporaryDirectory() as folder:
        path, page = Path(folder) / "history.db", Path(folder) / "run.html"
        commands = {
            "runs": ("runs", "--limit", "0"),
            "trace": ("trace", "latest:long", "--all"),
            "report": ("report", "latest:page", "-o", str(page)),
        }
        # What each prints at least: a line of a heading, and the runs or tasks.
        least = {"runs": runs + 1, "trace": spans - 1, "report": 0}
        make(path, runs, spans, reported)
        for _ in range(rounds + 1):
            for name, args in commands.items():
                took, held, lines = spent(path, *args)
                if len(lines) < least[name]:
                    raise RuntimeError(f"{name} printed {len(lines)} lines of {least[name]}")
                figures[name].append(took)
            figures["memory"].append(held)  # the report's, which comes last
            shown = page.read_text(encoding="utf-8").count('"kind":"task"')
            page.unlink()
            if shown != reported - 1:
                raise RuntimeError(f"the report has {shown} of {reported - 1} tasks")
    tell({name: median(found[1:]) for name, found in figures.items()})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
