"""What is measured of telemetry, how often, and the bars."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from processes import Pair, Peers, in_turn, median_figures, medians, within, workload
from row import Row
from rows import DOTFLOW1

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a span may take in the history's file, and what counts as no growth: a task that was
# kept would make it a hundred times as much.
_BYTES: Final = 500
_GROWTH: Final = 5

# What the commands that show the history are to list, and in how many seconds.
_SHOWN: Final = 10_000
_SHOW: Final = 1

# Of how many spans the run is whose page is written, in how many seconds, with how many MB: a
# browser is to show it within as much time again.
_REPORTED: Final = 5_000
_REPORT: Final = 2
_HELD: Final = 100

# Milliseconds: what a receiver that hangs may add to a run of so many tasks.
_ADDED: Final = 1.0
_HUNG_TASKS: Final = 10

# Seconds: what an exit may take, whatever the backend does.
_EXIT: Final = 5.0


def telemetry(peers: Peers, pairs: int) -> Iterator[Row]:
    """What observing costs, beside the same calls alone, dotflow 1.0.1, and no calls at all."""
    added = within(pairs, partial(workload, peers.telemetry, "added.py", 2000, 9))
    yield Row("traces and metrics added", "us/task", added, "the same calls alone", 1.15)
    figures = in_turn(
        pairs,
        partial(workload, peers.telemetry, "all_on.py", 2000, 5),
        partial(workload, peers.dotflow1, "default_log.py", 2000, 5),
    )
    all_on = medians(*figures, "run")
    yield Row("run with traces, metrics and logs", "us/task", all_on, DOTFLOW1, 1.25)
    silent = within(pairs, partial(workload, peers.here, "dispatch.py", 2000, 41))
    yield Row("run without telemetry", "us/task", silent, "no calls of providers", 1.15)


def observed(peers: Peers, pairs: int) -> Iterator[Row]:
    """What observing costs in workers; the workload fails unless every span arrives."""
    script = partial(workload, peers.telemetry, "observed_parallel.py", 10_000, 2)
    for what, arguments, most in (("", (3,), None), (" of 1 ms", (1, 1), 1.3)):
        spent = median_figures(pairs, partial(script, *arguments))
        name = f"`parallel`, 10,000 tasks{what}, with traces and metrics"
        yield Row(name, "us/task", Pair(spent["run"], spent["sdk"]), "the SDK's own calls", 1.1)
        yield Row(name, "us/task", Pair(spent["run"], spent["without"]), "without", most)
    first = partial(workload, peers.telemetry, "observed_first.py")
    figures = in_turn(5 * pairs, partial(first, "on", 4, 2), partial(first, "off", 4, 2))
    name = "first `parallel` run, 4 tasks, with traces and metrics"
    yield Row(name, "ms", medians(*figures, "run"), "without", 1.3)


def history(peers: Peers, pairs: int) -> Iterator[Row]:
    """What a history costs a run with traces, in time and on disk, and that it does not grow."""
    for mode, count in {"sequential": 2000, "parallel": 1000}.items():
        script = partial(workload, peers.telemetry, "recorded.py", mode, count, 9)
        found = median_figures(pairs, script)
        spent = Pair(found["run"], found["without"])
        name = f"`{mode}`, {count:,} tasks, with traces and a history"
        yield Row(name, "us/task", spent, "with traces alone", 1.2)
        size = Pair(found["bytes"], _BYTES)
        yield Row(f"a span of that in the file, `{mode}`", "B", size, "the most allowed", 1.0)
    grown = median_figures(
        1, partial(workload, peers.telemetry, "recorded.py", "sequential", 10_000, 13)
    )
    figures = Pair(grown["growth"], _GROWTH)
    yield Row("growth over 100,000 tasks with a history", "MB", figures, "the most allowed", 1.0)


def shown(peers: Peers, pairs: int) -> Iterator[Row]:
    """The commands that show a large history, as whole processes, with a line for each thing."""
    arguments = (_SHOWN, _SHOWN, _REPORTED, pairs)
    found = median_figures(1, partial(workload, peers.telemetry, "shown.py", *arguments))
    allowed = "the most allowed"
    for name, what in {"runs": "runs", "trace": "spans of one run"}.items():
        figures = Pair(found[name], _SHOW)
        yield Row(f"`dotflow {name}`, {_SHOWN:,} {what}", "s", figures, allowed, 1.0)
    report = f"`dotflow report`, {_REPORTED:,} spans of one run"
    yield Row(report, "s", Pair(found["report"], _REPORT), allowed, 1.0)
    yield Row(f"{report}: its memory", "MB", Pair(found["memory"], _HELD), allowed, 1.0)


def otlp(peers: Peers, pairs: int) -> Iterator[Row]:
    """A run whose spans go to a collector that is down or silent, beside a healthy one."""
    modes = {"absent": "nobody listens", "silent": "nobody answers"}
    for mode, what in modes.items():
        figures = in_turn(
            pairs,
            partial(workload, peers.telemetry, "otlp.py", mode, 2000, 9),
            partial(workload, peers.telemetry, "otlp.py", "healthy", 2000, 9),
        )
        spent, ended, healthy = medians(*figures, "run"), medians(*figures, "exit"), "a healthy one"
        yield Row(f"run over OTLP, {what}", "us/task", spent, healthy, 1.05)
        yield Row(f"exit, {what}", "s", ended, healthy, _EXIT, is_ratio=True)


def hanging(peers: Peers, pairs: int) -> Iterator[Row]:
    """What a notify target or a server adds to a run that accepts connections and is silent."""
    for kind, what in {"notify": "a notify target", "server": "a server"}.items():
        script = partial(workload, peers.telemetry, "hanging.py", kind, _HUNG_TASKS, 101)
        added = Pair(median_figures(pairs, script)["added"], _ADDED)
        name = f"run, {_HUNG_TASKS} tasks: what {what} adds that hangs"
        yield Row(name, "ms", added, "the most allowed", 1.0)
