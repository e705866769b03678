"""`dotflow start` in this process: what ends a run early, and what is left behind."""

from __future__ import annotations

import os
import re
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from command_line import Done, in_process

from dotflow.cli.start import leave_at_once, terminable
from dotflow.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Command = Callable[..., Done]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAITING = "note: Waiting for the run in the background to end; once more leaves it at once.\n"
LEFT = "error: Aborted: what was running is left as it is.\n"

OWN = """
import signal, threading, time
from dotflow import action

def raises(number):
    signal.raise_signal(number)

def to_main(number):
    signal.pthread_kill(threading.main_thread().ident, number)

@action
def interrupted():
    raises(signal.SIGINT)

@action
def terminated():
    raises(signal.SIGTERM)

@action
def interrupts_main():
    to_main(signal.SIGINT)
    return "done"

@action
def terminates_main():
    to_main(signal.SIGTERM)
    return "done"
"""


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """What runs a command in a folder with the module `own`; signals stay as they were."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield in_process(tmp_path, monkeypatch, capsys)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("step", "code", "line"),
    [("interrupted", 130, "Aborted."), ("terminated", 143, "Terminated.")],
)
def test_a_signal_ends_the_run(command: Command, step: str, code: int, line: str) -> None:
    """The step that runs is shown as interrupted, those behind it do not run, nothing is left."""
    before = [signal.getsignal(number) for number in SIGNALS]
    done = command("start", "-s", f"own:{step}", "-s", "steps:read")
    assert (done.code, done.err) == (code, f"error: {line}\n")
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["task", "status", "time", "result"]
    assert (rows[1][:2], rows[1][-1]) == ([step, "Failed"], "interrupted")
    assert rows[2][0] == "read"
    assert "Completed" not in rows[2]
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize(
    ("step", "code", "line"),
    [("interrupts_main", 130, "Aborted."), ("terminates_main", 143, "Terminated.")],
)
def test_a_signal_waits_for_the_background(
    command: Command, step: str, code: int, line: str
) -> None:
    """A run in the background ends first; its result is shown, and the code is the signal's."""
    done = command("start", "-s", f"own:{step}", "-m", "background")
    assert (done.code, done.err) == (code, f"{WAITING}error: {line}\n")
    row, outcome = done.out.splitlines()[1:]
    assert (row.split()[:2], row.split()[-1]) == ([step, "Completed"], "'done'")
    assert outcome.startswith("workflow: completed in ")


def test_leaves_at_once_whatever_is_being_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler that comes while a line is written leaves all the same."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    leave_at_once(143)
    assert capsys.readouterr() == ("", LEFT)

    def refuse(text: str) -> None:
        raise RuntimeError("reentrant call")

    monkeypatch.setattr("dotflow.cli.start.print_error", refuse)
    leave_at_once(130)
    assert left == [143, 130]


def test_the_second_sigterm_is_the_systems() -> None:
    """The first raises `Terminated`, from then on the system's way holds, and then the old one."""
    before = signal.getsignal(signal.SIGTERM)
    after_first: list[object] = []

    def run() -> None:
        with terminable():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                after_first.append(signal.getsignal(signal.SIGTERM))

    with pytest.raises(Terminated) as raised:
        run()
    assert (raised.value.code, after_first) == (143, [signal.SIG_DFL])
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_failed_step_in_the_background(command: Command) -> None:
    """Its run ends with code 1, as any other, and no thread is left."""
    before = threading.active_count()
    done = command("start", "-s", "steps:bad", "-m", "background", "--name", "etl")
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert last == "error: etl: 1 of 1 task failed: bad (ValueError: no luck, in attempt 2 of 2)"
    assert re.search(r"^etl: failed in \d+\.\d m?s, 1 task: 1 failed$", done.out, re.MULTILINE)
    assert threading.active_count() <= before + 1
