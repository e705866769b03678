"""Kills a program while it runs, has another one recover it, and looks at what arrived."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from wire.sender import PROGRAMS, ROOT
from wire.spans import boolean, string

from dotflow_otel.history.deliveries import read_ids
from dotflow_otel.history.reader import History

if TYPE_CHECKING:
    from pathlib import Path

    from wire.sender import Wire
    from wire.spans import Node

    from dotflow_otel.history.reader import RunInfo


class Killed(NamedTuple):
    """What is left of a program that was killed, and what was received in the end.

    Attributes:
        runs: Its runs, as the history has them after the recovery.
        spans: The ids of all their spans, as the history has them.
        on_their_way: Of what spans nobody knows whether they arrived: the process was killed
            while it sent them.
        nodes: All spans that were received, in the order of their coming.
        before: How many came before it was killed.
        counted: The runs that were counted as lost, by workflow.
        logged: What the recovering process logged.
    """

    runs: list[RunInfo]
    spans: set[int]
    on_their_way: set[int]
    nodes: list[Node]
    before: int
    counted: dict[str, float]
    logged: list[dict[str, Any]]


def kill_and_recover(wire: Wire, folder: Path, mode: str, seconds: float) -> Killed:
    """Kill a program so many seconds after its first step began, and recover its runs."""
    history = folder / "history.db"
    variables = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": wire.receiver.endpoint(wire.protocol),
        "OTEL_EXPORTER_OTLP_PROTOCOL": wire.protocol,
        # Often, so that some of the spans are delivered before.
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "PYTHONPATH": str(ROOT),
    }
    program = [sys.executable, str(PROGRAMS / "killed.py"), str(history), mode, "50"]
    with subprocess.Popen(
        program, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            sleep(seconds)
        finally:
            process.send_signal(signal.SIGKILL)
        process.wait(20)
    before = wire.receiver.take().traces
    counted, logged = recover(history, variables)
    after = wire.receiver.take().traces
    with History(history) as read:
        runs = [run for run in read.runs() if run.pid == process.pid]
        spans = {span.span_id for run in runs for span in read.spans(run)}
    on_their_way = doubtful(history)
    return Killed(
        runs, spans, on_their_way, nodes_of(before + after), len(nodes_of(before)), counted, logged
    )


def recover(
    history: Path, variables: dict[str, str]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Run a program that recovers; return what it counts, and what it logs."""
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "recovers.py"), str(history)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return json.loads(done.stdout), lines


def doubtful(history: Path) -> set[int]:
    """Return the ids of spans that were on their way when their process was killed."""
    with closing(sqlite3.connect(history)) as connection:
        rows = connection.execute("SELECT spans FROM sends WHERE delivered IS NULL").fetchall()
    return {span_id for (noted,) in rows for span_id in read_ids(noted)}


def nodes_of(requests: Any) -> list[Node]:
    """Return all spans of requests."""
    from wire.spans import _nodes

    return list(_nodes(requests))


def check(killed: Killed) -> None:
    """Check that no run is missing and no span came twice, and that each tells how it ended.

    Of what was on its way at the very moment nobody knows whether it arrived: of that the spans
    of runs may come twice, marked so, and others not at all.
    """
    times = Counter(int.from_bytes(node.span.span_id, "big") for node in killed.nodes)
    marked = {int.from_bytes(node.span.span_id, "big") for node in killed.nodes if is_marked(node)}
    assert marked <= killed.on_their_way & {run.span_id for run in killed.runs}
    assert {span_id for span_id, count in times.items() if count > 1} <= marked
    assert killed.spans - times.keys() <= killed.on_their_way
    by_id = {node.span.span_id: node for node in killed.nodes}
    assert {run.status for run in killed.runs} <= {"lost", "failed"}
    assert len({run.workflow for run in killed.runs}) == len(killed.runs)
    for number, run in enumerate(reversed(killed.runs)):
        # The runs follow each other: none is missing between the first and the last.
        assert run.workflow == f"run{number}"
        root = by_id[run.span_id.to_bytes(8, "big")]
        assert root.span.trace_id.hex() == run.trace_id
        check_root(run, root)
    lost = [run for run in killed.runs if run.status == "lost"]
    assert killed.counted == {run.workflow: 1 for run in lost}
    assert [line["workflow"] for line in killed.logged if line["event"] == "workflow.lost"] == [
        run.workflow for run in lost
    ]


def check_root(run: RunInfo, root: Node) -> None:
    """Check what a run's span tells."""
    assert root.attributes["dotflow.workflow.id"] == string(run.workflow_id)
    if run.status == "lost":
        assert root.status == ("error", "the process of the run is gone")
        assert root.attributes["error.type"] == string("run_lost")
        assert root.attributes["dotflow.workflow.status"] == string("lost")
        assert root.span.end_time_unix_nano >= run.beat
    else:
        assert root.attributes["dotflow.workflow.status"] == string("failed")


def is_marked(node: Node) -> bool:
    """Return whether a span is marked as one that may have come before."""
    return node.attributes.get("dotflow.recovered") == boolean(True)
