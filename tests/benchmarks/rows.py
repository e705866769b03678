"""What is measured, how often, and the bars, in this process: without workers and telemetry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from processes import Pair, Peers, in_turn, median_figures, medians, seconds, workload
from row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

DOTFLOW1: Final = "dotflow 1.0.1"


def sequential(peers: Peers, pairs: int) -> Iterator[Row]:
    """2,000 trivial tasks, one after another."""
    ours, theirs = _both(peers, pairs, "sequential.py", 2000, 9)
    yield Row("run, 2,000 tasks", "us/task", medians(ours, theirs, "run"), DOTFLOW1, 0.33)
    built = medians(ours, theirs, "build_and_run")
    yield Row("build and run, 2,000 tasks", "us/task", built, DOTFLOW1, 0.33)


def hamilton(peers: Peers, pairs: int) -> Iterator[Row]:
    """2,000 trivial tasks beside as many nodes: a chain, as ours are one, and independent ones."""
    shapes = {
        "chain": ("chain.py", ", each takes the last one's value", "a chain of nodes", 0.6),
        "apart": ("sequential.py", "", "independent nodes", None),
    }
    for shape, (script, note, what, bar) in shapes.items():
        figures = in_turn(
            pairs,
            partial(workload, peers.here, script, 2000, 9),
            partial(workload, peers.hamilton, "hamilton_nodes.py", shape, 2000, 20),
        )
        run, beside = medians(*figures, "run"), f"Apache Hamilton, {what}"
        yield Row(f"run, 2,000 tasks{note}", "us/task", run, beside, bar)


def imported(peers: Peers, pairs: int) -> Iterator[Row]:
    """An import in a new interpreter, with and without that interpreter's own time."""
    # Not `import dotflow` alone, which loads the rest when it is first asked for.
    codes = {"bare": "pass", "gross": "from dotflow import DotFlow"}
    for python in (peers.here, peers.dotflow1):  # compiles to bytecode, once
        seconds(python, codes["gross"])
    ours, theirs = in_turn(
        pairs,
        lambda: {name: seconds(peers.here, code) * 1e3 for name, code in codes.items()},
        lambda: {name: seconds(peers.dotflow1, code) * 1e3 for name, code in codes.items()},
    )
    gross = medians(ours, theirs, "gross")
    bare = medians(ours, theirs, "bare")
    yield Row("new interpreter with `from dotflow import DotFlow`", "ms", gross, DOTFLOW1, 0.25)
    net = Pair(gross.here - bare.here, gross.peer - bare.peer)
    yield Row("`from dotflow import DotFlow`, net of the interpreter", "ms", net, DOTFLOW1, 0.25)


def command(peers: Peers, pairs: int) -> Iterator[Row]:
    """`dotflow --help` beside an interpreter that imports the library that it prints with."""
    page, rich = "from dotflow.cli.app import run; run(['--help'])", "import rich"
    for code in (page, rich):  # compiles to bytecode, once
        seconds(peers.telemetry, code)
    ours, theirs = in_turn(
        pairs,
        lambda: {"ms": seconds(peers.telemetry, page) * 1e3},
        lambda: {"ms": seconds(peers.telemetry, rich) * 1e3},
    )
    yield Row("`dotflow --help`", "ms", medians(ours, theirs, "ms"), "`import rich`", 3.0)


def scale(peers: Peers, pairs: int) -> Iterator[Row]:
    """A task's time among 100,000 against its time among 1,000."""
    few_ours, few_theirs = _both(peers, pairs, "sequential.py", 1000, 15)
    many_ours, many_theirs = _both(peers, pairs, "sequential.py", 100_000, 1)
    for name, what in {"run": "run", "build_and_run": "build and run"}.items():
        few = medians(few_ours, few_theirs, name)
        many = medians(many_ours, many_theirs, name)
        growth = Pair(many.here / few.here, many.peer / few.peer)
        told = f"{what}, a task of 100,000 / of 1,000"
        yield Row(told, "x", growth, DOTFLOW1, 1.15, is_ratio=True)


def memory(peers: Peers, pairs: int) -> Iterator[Row]:
    """What a task holds after its run, by both ways to look."""
    for method, what in {"rss": "resident", "traced": "allocated"}.items():
        held = medians(*_both(peers, pairs, "memory.py", 100_000, method), "bytes")
        yield Row(f"memory of 100,000 tasks, {what}", "B/task", held, DOTFLOW1, 0.7)


def result(peers: Peers, pairs: int) -> Iterator[Row]:
    """What `result()` takes beside building and running the tasks that it tells of."""
    spent = median_figures(pairs, partial(workload, peers.here, "results.py", 100_000, 1))
    figures = Pair(spent["result"], spent["build_and_run"])
    beside = "building and running them"
    yield Row("`result()` of 100,000 tasks", "us/task", figures, beside, 0.5)


def awaited(peers: Peers, pairs: int) -> Iterator[Row]:
    """How long a run in the background, started by a coroutine, holds the event loop."""
    spent = median_figures(pairs, partial(workload, peers.here, "awaited.py", 10, 101))
    for name, what in {"first": ", the first of a process", "held": ""}.items():
        figures = Pair(spent[name], spent["thread"])
        told = f"`start_async` holds the event loop{what}"
        yield Row(told, "ms", figures, "a bare `asyncio.to_thread`", 5.0, is_ratio=True)


def _both(
    peers: Peers, pairs: int, name: str, *arguments: object
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    return in_turn(
        pairs,
        partial(workload, peers.here, name, *arguments),
        partial(workload, peers.dotflow1, name, *arguments),
    )
