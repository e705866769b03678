"""`dotflow schedule` in this process, with a scheduler that ends by itself."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Done, in_process

from dotflow.cli import schedule
from dotflow.providers.scheduler_cron import SchedulerCron
from dotflow.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., Done]

# A second before the first minute of 2026, in UTC.
NOW = 1767225599.0
NEXT = "note: etl: runs next at 2026-01-01 00:00:00 UTC; Ctrl-C ends it\n"
ENDED = "note: The schedule has ended.\n"
CRON = ("schedule", "--cron", "* * * * *", "--timezone", "UTC", "--name", "etl")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """What runs a command in a folder with the module `steps`."""
    return in_process(tmp_path, monkeypatch, capsys)


def scheduler(
    monkeypatch: pytest.MonkeyPatch,
    ticks: int,
    *,
    stopped_by: int | None = None,
    error: BaseException | None = None,
) -> list[SchedulerCron]:
    """Have schedules be of some ticks, which come at once, and end as is said."""
    made: list[SchedulerCron] = []

    class Ends(SchedulerCron):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self._now = lambda: NOW
            made.append(self)

        def start(self, workflow: Callable[..., Any], **kwargs: Any) -> None:
            for left in reversed(range(ticks)):
                self.running = left > 0
                workflow(**kwargs)
            self.stopped_by = stopped_by
            if error is not None:
                raise error

    monkeypatch.setattr(schedule, "SchedulerCron", Ends)
    return made


def test_runs_at_each_tick(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is shown as it ends, and when the next one is; without a further one it is over."""
    made = scheduler(monkeypatch, 2)
    done = command(*CRON, "--overlap", "queue", "-s", "steps:once")
    assert (done.code, done.err) == (0, NEXT * 2)
    assert len(re.findall(r"^etl: completed in .*, 1 task$", done.out, re.MULTILINE)) == 2
    assert len(re.findall(r"^once +Completed .* 'done' *$", done.out, re.MULTILINE)) == 2
    assert [(each.cron, each.overlap, each.timezone) for each in made] == [
        ("* * * * *", "queue", "UTC")
    ]


def test_goes_on_after_a_failed_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fails is shown with its failure, and the next one comes."""
    scheduler(monkeypatch, 2)
    done = command(*CRON, "-s", "steps:bad")
    assert done.code == 0
    failed = "error: etl: 1 of 1 task failed: bad (ValueError: no luck, in attempt 2 of 2)\n"
    assert done.err.count(failed) == done.err.count(NEXT) == 2
    assert done.out.count("1 task: 1 failed\n") == 2


@pytest.mark.parametrize(
    ("stopped_by", "error", "code"),
    [
        (signal.SIGINT, None, 130),
        (signal.SIGTERM, None, 143),
        # Before it is on, or in a thread that is not the main one.
        (None, KeyboardInterrupt(), 130),
        (None, Terminated(), 143),
    ],
)
def test_a_signal_ends_it(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    stopped_by: int | None,
    error: BaseException | None,
    code: int,
) -> None:
    """The code is the signal's, and a note says that it is over."""
    scheduler(monkeypatch, 1, stopped_by=stopped_by, error=error)
    done = command(*CRON, "-s", "steps:once")
    assert (done.code, done.err) == (code, NEXT + ENDED)
    assert done.out.count("etl: completed in ") == 1


def test_a_second_signal_leaves(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes while the last run is waited for ends the process at once."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    scheduler(monkeypatch, 0, stopped_by=signal.SIGINT, error=Terminated())
    done = command(*CRON, "-s", "steps:once")
    assert left == [143]
    assert "error: Aborted: what was running is left as it is.\n" in done.err
    assert done.out == ""
