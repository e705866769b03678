"""The text that progress shows: what is in it, and that it fits."""

from __future__ import annotations

import re
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotflow import action
from dotflow.core.run import Run
from dotflow.core.task import Task
from dotflow.providers import progress_lines
from dotflow.providers.progress_lines import RunCounts, Style, cells, clock, lines_of

PLAIN = Style(has_colors=False, bar=("#", "-"))
COLOURED = Style(has_colors=True, bar=("\N{BOX DRAWINGS HEAVY HORIZONTAL}",) * 2)
NOW = monotonic()


@action
def step() -> None:
    """Do nothing."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that stands still.
    monkeypatch.setattr(progress_lines, "monotonic", lambda: NOW)


def run(name: str = "etl", mode: str = "sequential", total: int = 100, **counts: int) -> RunCounts:
    """Return the counts of a run that began 65 s ago."""
    made = RunCounts(Run("1", "w", name, mode, total, 0.0))
    made.began = NOW - 65
    for field, value in counts.items():
        setattr(made, field, value)
    return made


def task(name: str = "load", group: str = "default", retries: int = 0) -> Task:
    """Return a task that is in its attempt after so many retries."""
    made = Task("1", step, name=name, group_name=group)
    made.retry_count = retries
    return made


def test_one_run() -> None:
    """What is nought is left out; what is done has its part of the bar."""
    (line,) = lines_of([run(done=25)], (0, 0), 60, 1, PLAIN)
    assert line == "etl  #######-----------------------  25/100  0 running  1:05"
    assert len(line) == 60


def test_failed_part_of_the_bar() -> None:
    """What failed is another colour, one column at least; without colours the bar is the same."""
    (line,) = lines_of([run(done=50, failed=1, retried=2)], (0, 0), 200, 1, COLOURED)
    bar = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"
    assert f"\x1b[32m{bar * 19}\x1b[0m\x1b[31m{bar}\x1b[0m\x1b[2m{bar * 20}\x1b[0m" in line
    assert "\x1b[31m1 failed\x1b[0m  \x1b[33m2 retried\x1b[0m" in line


def test_workers_in_parallel_only() -> None:
    """The workers are those of the process, so a run that uses none says nothing of them."""
    first, second = lines_of([run(mode="parallel"), run()], (4, 3), 200, 2, PLAIN)
    assert "3 of 4 workers busy" in first
    assert "workers" not in second


def test_more_tasks_than_at_first() -> None:
    """A run that got more tasks never has done more than there are."""
    (line,) = lines_of([run(total=2, done=5)], (0, 0), 80, 1, PLAIN)
    assert "5/5" in line


def test_tasks_that_run_longest() -> None:
    """The oldest come first, those that wait for an attempt last; how many others is said."""
    shown = run()
    for seconds in range(1, 7):
        shown.running[task(f"t{seconds}")] = NOW - seconds
    waiting = task("w", group="eu", retries=1)
    shown.running[waiting], shown.waiting[waiting] = NOW - 70, None
    assert lines_of([shown], (0, 0), 80, 4, PLAIN)[1:] == [
        "  t6   6.0 s",
        "  t5   5.0 s",
        "  and 5 more",
    ]
    run_line, *_, last = lines_of([shown], (0, 0), 80, 8, PLAIN)
    assert last == "  w (eu)    1:10  waits for attempt 2"
    assert "6 running" in run_line


def test_later_attempt() -> None:
    """Which attempt runs is said from the second on."""
    shown = run()
    shown.running[task(retries=2)] = NOW - 1
    assert lines_of([shown], (0, 0), 80, 4, PLAIN)[1] == "  load   1.0 s  attempt 3"


def test_tasks_are_below_their_run() -> None:
    """Of several runs each has its own tasks below it."""
    one, two = run("one"), run("two")
    one.running[task("a")] = NOW - 1
    two.running[task("b")] = NOW - 2
    lines = lines_of([one, two], (0, 0), 80, 8, PLAIN)
    assert [line.split()[0] for line in lines] == ["one", "a", "two", "b"]


def test_more_runs_than_lines() -> None:
    """The first ones are shown, and how many others there are."""
    lines = lines_of([run(f"r{n}") for n in range(5)], (0, 0), 80, 3, PLAIN)
    assert [line.split()[0] for line in lines] == ["r0", "r1", "and"]
    assert lines[2] == "and 3 more runs"


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (200, {"-", "running", "retried", "failed", "workers"}),
        (79, {"-", "retried", "failed", "workers"}),
        (65, {"retried", "failed", "workers"}),
        (60, {"-", "retried", "failed"}),
        (48, {"retried", "failed"}),
        (30, {"failed"}),
    ],
)
def test_what_a_narrow_terminal_leaves_out(width: int, kept: set[str]) -> None:
    """What failed is told longest, and what is left out there makes room for a bar."""
    shown = run("weather", "parallel", failed=3, retried=4, done=0)
    (line,) = lines_of([shown], (2, 2), width, 1, PLAIN)
    found = {word for word in ("running", "retried", "failed", "workers") if word in line}
    assert found | ({"-"} if "-" * 10 in line else set()) == kept
    assert "0/100" in line
    assert line.endswith("1:05")


NAMES = st.text(max_size=60) | st.sampled_from(["\N{CJK UNIFIED IDEOGRAPH-6F22}" * 30, "e\u0301"])


@given(
    names=st.lists(NAMES, min_size=1, max_size=4),
    width=st.integers(1, 120),
    limit=st.integers(1, 8),
    counts=st.tuples(*[st.integers(0, 10**9)] * 4),
    style=st.sampled_from([PLAIN, COLOURED]),
)
def test_always_fits(
    names: list[str], width: int, limit: int, counts: tuple[int, ...], style: Style
) -> None:
    """Whatever the names and numbers are, there are no more lines, and none is wider."""
    total, done, failed, retried = counts
    runs = []
    for name in names:
        made = run(name, "parallel", total, done=done, failed=min(failed, done), retried=retried)
        made.running[task(name, group=name, retries=1)] = NOW
        runs.append(made)
    lines = lines_of(runs, (10**6, 10**6), width, limit, style)
    assert len(lines) <= limit
    for line in lines:
        text = re.sub(r"\x1b\[\d+m", "", line)
        assert cells(text) <= width
        assert text.isprintable()


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("\N{CJK UNIFIED IDEOGRAPH-6F22}", 2), ("e\u0301", 1), ("", 0)],
)
def test_columns_of_a_text(text: str, columns: int) -> None:
    """Wide characters take two columns, combining ones none."""
    assert cells(text) == columns


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1:00"),
        (60, "1:00"),
        (3599.9, "59:59"),
        (3600, "1:00:00"),
        (360_000, "100:00:00"),
    ],
)
def test_clock(seconds: float, shown: str) -> None:
    """Tenths of seconds are shown where they matter."""
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("encoding", "bar"),
    [("utf-8", "\N{BOX DRAWINGS HEAVY HORIZONTAL}"), ("ascii", "#"), ("none such", "#")],
)
def test_style_of_an_encoding(encoding: str, bar: str, monkeypatch: Any) -> None:
    """Where an encoding has no bars, others stand for them; `NO_COLOR` is heeded."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Style.of(encoding).bar[0] == bar
    assert Style.of(encoding).has_colors
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Style.of(encoding).has_colors
