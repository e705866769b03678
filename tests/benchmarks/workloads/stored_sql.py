"""A task whose context PostgreSQL keeps, beside a bare insert and commit on the same server.

Usage: stored_sql.py COUNT ROUNDS
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median

import psycopg
from rounds import tell, timed_call
from workload import SilentLog, check

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "helpers"))

from backends.postgres import Postgres

from dotflow import Config, DotFlow, action
from dotflow.providers import StorageSQL


@action
def step() -> int:
    """Return 1."""
    return 1


class Rounds:
    """What is measured in turn, in one program, on one server."""

    def __init__(self, url: str, count: int) -> None:
        self._count = count
        self._storage = StorageSQL(url)
        self._connection = psycopg.connect(url.replace("+psycopg", ""))
        self._connection.execute("CREATE TABLE bare (key text PRIMARY KEY, document text)")
        self._connection.commit()
        self._round = 0

    def measure(self) -> dict[str, float]:
        """Return microseconds a task, and a bare insert and commit."""
        self._round += 1
        named = {"workflow_id": f"round-{self._round}"}
        seconds = {
            "run": self._run(),
            "checkpoints": self._run(**named),
            "bare": timed_call(self._bare),
        }
        return {name: spent * 1e6 / self._count for name, spent in seconds.items()}

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
        self._storage.close()

    def _run(self, **named: str) -> float:
        flow = DotFlow(config=Config(log=SilentLog(), storage=self._storage), **named)
        for _ in range(self._count):
            flow.task.add(step)
        spent = timed_call(flow.start)
        check(flow, self._count)
        return spent

    def _bare(self) -> None:
        # As large as the document of such a task.
        document = "x" * 250
        for number in range(self._count):
            row = (f"{self._round}-{number}", document)
            self._connection.execute("INSERT INTO bare VALUES (%s, %s)", row)
            self._connection.commit()


def main(count: int, times: int) -> None:
    """Measure, after one round that warms up."""
    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as server:
        rounds = Rounds(server.url, count)
        rounds.measure()
        figures = [rounds.measure() for _ in range(times)]
        rounds.close()
    tell({name: median(each[name] for each in figures) for name in figures[0]})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
