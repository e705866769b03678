"""The rows of the table: what is measured, how often, and the bar it has to meet."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from processes import Pair, Peers, in_turn, medians, seconds, workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Seconds: what an exit may take, whatever the backend does.
_EXIT = 5.0


class Row(NamedTuple):
    """One line of the table; `bar` is for the ratio, or for our figure where it is one."""

    what: str
    unit: str
    figures: Pair
    bar: float
    is_ratio: bool = False

    @property
    def ratio(self) -> float:
        """What the bar is for."""
        return self.figures.here if self.is_ratio else self.figures.here / self.figures.peer

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.ratio <= self.bar


def sequential(peers: Peers, pairs: int) -> Iterator[Row]:
    """2,000 trivial tasks, one after another."""
    ours, theirs = _both(peers, pairs, "sequential.py", 2000, 9)
    yield Row("run, 2,000 tasks", "us/task", medians(ours, theirs, "run"), 0.33)
    built = medians(ours, theirs, "build_and_run")
    yield Row("build and run, 2,000 tasks", "us/task", built, 0.33)


def imported(peers: Peers, pairs: int) -> Iterator[Row]:
    """`import dotflow` in a new interpreter, with and without that interpreter's own time."""
    codes = {"bare": "pass", "gross": "import dotflow"}
    for python in peers:  # compiles to bytecode, once
        seconds(python, codes["gross"])
    ours, theirs = in_turn(
        pairs,
        lambda: {name: seconds(peers.here, code) * 1e3 for name, code in codes.items()},
        lambda: {name: seconds(peers.peer, code) * 1e3 for name, code in codes.items()},
    )
    gross = medians(ours, theirs, "gross")
    bare = medians(ours, theirs, "bare")
    yield Row("new interpreter with `import dotflow`", "ms", gross, 0.25)
    net = Pair(gross.here - bare.here, gross.peer - bare.peer)
    yield Row("`import dotflow`, net of the interpreter", "ms", net, 0.25)


def scale(peers: Peers, pairs: int) -> Iterator[Row]:
    """A task's time among 100,000 against its time among 1,000."""
    few_ours, few_theirs = _both(peers, pairs, "sequential.py", 1000, 15)
    many_ours, many_theirs = _both(peers, pairs, "sequential.py", 100_000, 1)
    for name, what in {"run": "run", "build_and_run": "build and run"}.items():
        few = medians(few_ours, few_theirs, name)
        many = medians(many_ours, many_theirs, name)
        growth = Pair(many.here / few.here, many.peer / few.peer)
        yield Row(f"{what}, a task of 100,000 / of 1,000", "x", growth, 1.15, is_ratio=True)


def memory(peers: Peers, pairs: int) -> Iterator[Row]:
    """What a task holds after its run, by both ways to look."""
    for method, what in {"rss": "resident", "traced": "allocated"}.items():
        held = medians(*_both(peers, pairs, "memory.py", 100_000, method), "bytes")
        yield Row(f"memory of 100,000 tasks, {what}", "B/task", held, 0.7)


def parallel(peers: Peers, pairs: int) -> Iterator[Row]:
    """400 trivial tasks in workers, for the second time; dotflow 1.0.1 hangs with more than 100."""
    scripts = {"parallel.py": "", "parallel_unguarded.py": ", no main guard"}
    for script, note in scripts.items():
        figures = in_turn(
            pairs,
            partial(workload, peers.here, script, 400),
            partial(workload, peers.peer, script, 100),
        )
        second = medians(*figures, "second")
        yield Row(f"`parallel`, 400 tasks (1.0.1: 100){note}", "us/task", second, 0.05)


def telemetry(peers: Peers, pairs: int) -> Iterator[Row]:
    """What observing costs, beside the same calls alone, dotflow 1.0.1, and no calls at all."""
    added = _within(pairs, partial(workload, peers.telemetry, "added.py", 2000, 9))
    yield Row("traces and metrics, beside the same calls alone", "us/task", added, 1.15)
    figures = in_turn(
        pairs,
        partial(workload, peers.telemetry, "all_on.py", 2000, 5),
        partial(workload, peers.peer, "default_log.py", 2000, 5),
    )
    all_on = medians(*figures, "run")
    yield Row("run with traces, metrics and logs, beside dotflow 1.0.1", "us/task", all_on, 1.25)
    silent = _within(pairs, partial(workload, peers.here, "dispatch.py", 2000, 41))
    yield Row("run without telemetry, beside no calls of providers", "us/task", silent, 1.15)


def otlp(peers: Peers, pairs: int) -> Iterator[Row]:
    """A run whose spans go to a collector that is down or silent, beside a healthy one."""
    modes = {"absent": "nobody listens", "silent": "nobody answers"}
    for mode, what in modes.items():
        figures = in_turn(
            pairs,
            partial(workload, peers.telemetry, "otlp.py", mode, 2000, 9),
            partial(workload, peers.telemetry, "otlp.py", "healthy", 2000, 9),
        )
        spent, ended = medians(*figures, "run"), medians(*figures, "exit")
        yield Row(f"run over OTLP, {what}, beside a healthy one", "us/task", spent, 1.05)
        yield Row(f"exit, {what}; a healthy one", "s", ended, _EXIT, is_ratio=True)


def _within(times: int, measure: Callable[[], dict[str, float]]) -> Pair:
    """Give the medians of both figures of a workload that measures them in turn itself."""
    told = [measure() for _ in range(times)]
    return Pair(*(median(each[name] for each in told) for name in told[0]))


def _both(
    peers: Peers, pairs: int, name: str, *arguments: object
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    return in_turn(
        pairs,
        partial(workload, peers.here, name, *arguments),
        partial(workload, peers.peer, name, *arguments),
    )
