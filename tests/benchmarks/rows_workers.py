"""What is measured of `parallel` mode, how often, and the bars."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from processes import Pair, Peers, in_turn, medians, within, workload
from row import Row
from rows import DOTFLOW1

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORKERS: Final = 2
_PEBBLE: Final = "bare pebble"
_LARGE: Final = 100_000_000

# By how much more a task of `parallel` may make the process grow than one that ran in it.
_FLAT: Final = 1.25


def parallel(peers: Peers, pairs: int) -> Iterator[Row]:
    """Trivial tasks in workers, for the second time; dotflow 1.0.1 hangs with more than 100."""
    scripts = {"parallel.py": "", "parallel_unguarded.py": ", no main guard"}
    for script, note in scripts.items():
        figures = in_turn(
            pairs,
            partial(workload, peers.here, script, 1000),
            partial(workload, peers.dotflow1, script, 100),
        )
        second, beside = medians(*figures, "second"), f"{DOTFLOW1}, 100 tasks"
        yield Row(f"`parallel`, 1,000 tasks{note}", "us/task", second, beside, 0.05)


def pebble(peers: Peers, pairs: int) -> Iterator[Row]:
    """The local pool beside bare pebble with as many workers, and as many calls in flight."""
    warm = partial(workload, peers.here, "parallel_warm.py", 1000, _WORKERS, 5)
    in_flight = int(warm()["in_flight"])
    peer = partial(workload, peers.pebble, "pebble_calls.py")
    figures = in_turn(pairs, warm, partial(peer, "warm", 1000, _WORKERS, 5, in_flight))
    beside = f"{_PEBBLE}, {in_flight} in flight"
    yield Row("`parallel`, 1,000 tasks, warm", "us/task", medians(*figures, "run"), beside, 1.5)
    figures = in_turn(
        2 * pairs,
        partial(workload, peers.here, "parallel_first.py", 4, _WORKERS),
        partial(peer, "first", 4, _WORKERS),
    )
    yield Row("first `parallel` run, 4 tasks", "ms", medians(*figures, "run"), _PEBBLE, 1.2)
    figures = in_turn(
        pairs, partial(workload, peers.here, "parallel_cpu.py", 1), partial(peer, "cpu", 1)
    )
    run = medians(*figures, "run")
    yield Row("2 tasks of 1 s of CPU on 2 cores", "s", run, _PEBBLE, 1.15, is_ratio=True)


def progress(peers: Peers, pairs: int) -> Iterator[Row]:
    """What progress in a terminal costs; the workload fails unless it was shown."""
    script = partial(workload, peers.here, "progress_parallel.py", 10_000, _WORKERS, 9)
    told = "`parallel`, 10,000 tasks, with progress"
    yield Row(told, "us/task", within(pairs, script), "without", 1.05)


def large(peers: Peers, pairs: int) -> Iterator[Row]:
    """A result of 100 MB from a worker, beside the same over a pipe."""
    figures = in_turn(
        pairs,
        partial(workload, peers.here, "large_result.py", "dotflow", _LARGE, 5),
        partial(workload, peers.here, "large_result.py", "pipe", _LARGE, 5),
    )
    pipe = "a bare `Pipe`"
    yield Row("a result of 100 MB", "ms", medians(*figures, "run"), pipe, 2.0)
    for name, what in {"owner": "the run's process", "worker": "the worker"}.items():
        peak = medians(*figures, name)
        yield Row(f"its peak in {what}", "x its size", peak, pipe, 4.0, is_ratio=True)


def many(peers: Peers, pairs: int) -> Iterator[Row]:
    """10,000 and 100,000 tasks in workers: they end, with no more workers or memory."""
    script = partial(workload, peers.here, "many.py")
    for count in (10_000, 100_000):
        run = partial(script, "parallel", count, _WORKERS)
        ours, few = in_turn(pairs, run, partial(script, "parallel", 1000, _WORKERS))
        what = f"`parallel`, {count:,} tasks"
        yield Row(what, "us/task", medians(ours, few, "run"), "1,000 tasks", None)
        most = Pair(max(each["workers"] for each in ours), _WORKERS)
        yield Row(f"{what}: most workers", "workers", most, "asked for", 1.0)
        inside = [script("sequential", count, _WORKERS) for _ in range(pairs)]
        grown = medians(ours, inside, "growth")
        yield Row(f"{what}: growth", "B/task", grown, "`sequential`", _FLAT)


def dask(peers: Peers, pairs: int) -> Iterator[Row]:
    """`parallel` on a cluster of Dask, beside Dask alone."""
    measure = partial(workload, peers.dask, "dask_calls.py", "pair", 1000, 5)
    in_flight = int(measure()["in_flight"])
    beside = f"bare Dask, {in_flight} in flight"
    what = "`parallel` on Dask, 1,000 tasks"
    yield Row(what, "us/task", within(pairs, measure), beside, 1.5)
