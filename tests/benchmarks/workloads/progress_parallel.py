"""What progress costs a run in workers, in us a task: `progress_parallel.py COUNT WORKERS ROUNDS`.

`run` is with it in a terminal of this process's own, `without` with none, in turn. The fork that
has the terminal measures; the other end of it is read by this one, as an emulator would. It
raises unless the progress was shown.
"""

from __future__ import annotations

import os
import pty
import sys
import termios
from statistics import median
from time import perf_counter
from typing import Any, Final

from rounds import tell
from workload import SilentLog, check

from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, ProgressTerminal

# What every picture has: the cursor is put back where it was.
_PICTURE: Final = b"\x1b8"


@action
def step() -> int:
    """Return at once."""
    return 1


def main(count: int, workers: int, rounds: int) -> None:
    """Return the medians of `rounds`, after one that warms up."""
    results, told = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.set_inheritable(told, False)
        os.environ["TERM"] = "xterm"
        _measure(count, workers, rounds, told)
        os._exit(0)
    os.close(told)
    termios.tcsetwinsize(terminal, (24, 80))
    pictures = _read(terminal)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(results) as figures:
        lines = figures.read().split()
    if status or pictures < rounds:
        raise RuntimeError(f"{pictures} pictures in {rounds} rounds, status {status}")
    run, without = (float(line) for line in lines)
    tell({"run": run, "without": without, "pictures": pictures})


def _read(terminal: int) -> int:
    pictures = 0
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            return pictures
        pictures += data.count(_PICTURE)


def _measure(count: int, workers: int, rounds: int, told: int) -> None:
    executor = ExecutorLocal(workers=workers)
    shown = {"log": SilentLog(), "executor": executor, "progress": ProgressTerminal()}
    silent = {"log": SilentLog(), "executor": executor}
    figures: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        # Whoever is second finds the machine as the other one left it.
        both = (shown, silent) if number % 2 else (silent, shown)
        spent = [_spent(count, slots) for slots in both]
        figures.append((spent[0], spent[1]) if number % 2 else (spent[1], spent[0]))
    lines = [str(median(each[index] for each in figures[1:])) for index in (0, 1)]
    os.write(told, "\n".join(lines).encode())
    executor.close()


def _spent(count: int, slots: dict[str, Any]) -> float:
    flow = DotFlow(config=Config(**slots))
    for _ in range(count):
        flow.task.add(step)
    begun = perf_counter()
    flow.start(mode="parallel")
    spent = perf_counter() - begun
    check(flow, count)
    return spent * 1e6 / count


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
