"""One line that ends a service in order when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from dotflow.core.exception import WrongMoment
from dotflow.signals import exit_on_sigterm

PROGRAM = """
import atexit, os, signal, sys, threading, time
from dotflow import Config, DotFlow, action
from dotflow.signals import exit_on_sigterm

@action
def waits():
    print("waiting", flush=True)
    # In many short calls: Python handles a signal that comes just before one after it.
    for _ in range(SPINS):
        time.sleep(0.01)

@action
def after(): pass

def told(name):
    return lambda number, frame: print("handled by", name, flush=True)

def run(mode="sequential"):
    flow = DotFlow(config=Config(), name="w")
    flow.task.add([waits, after])
    flow.start(mode=mode)
    return flow

SPINS = 6000
atexit.register(print, "exit hooks", flush=True)
"""


def ended(program: str, signals: int = 1) -> tuple[int, list[str], str]:
    """Run a program until it waits, send it SIGTERM; return its exit code and what it wrote."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    for number in range(signals):
        if number:
            assert process.stdout.readline() == "once more\n"
        process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), errors


def test_a_run_ends_as_by_an_interrupt() -> None:
    """Its task fails as interrupted, the next does not begin, exit hooks are called, code 143."""
    code, lines, errors = ended(
        "exit_on_sigterm()\n"
        "flow = DotFlow(config=Config(), name='w')\n"
        "flow.task.add([waits, after])\n"
        "try:\n"
        "    flow.start()\n"
        "finally:\n"
        "    print(*[task.status for task in flow.result_task()], flush=True)\n"
    )
    assert (code, lines) == (143, ["Failed Not started", "exit hooks"]), errors


def test_a_run_in_the_background_ends_first() -> None:
    """What goes on in the background ends, then the exit hooks are called."""
    code, lines, errors = ended(
        "exit_on_sigterm()\n"
        "started = threading.Event()\n"
        "@action\n"
        "def slow():\n"
        "    started.wait(30)\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(0.3)\n"
        "flow = DotFlow(config=Config(), name='w')\n"
        "flow.task.add([slow, after])\n"
        "atexit.register(lambda: print(*[t.status for t in flow.result_task()], flush=True))\n"
        "flow.start(mode='background')\n"
        "started.set()\n"
        "signal.pause()\n"
    )
    assert (code, lines) == (143, ["Completed Completed", "exit hooks"]), errors


def test_a_second_one_ends_the_process_at_once() -> None:
    """Whoever sends it again waits for nothing more."""
    code, lines, _ = ended(
        "exit_on_sigterm()\n"
        "try:\n"
        "    run()\n"
        "finally:\n"
        "    print('once more', flush=True)\n"
        "    signal.pause()\n",
        signals=2,
    )
    assert (code, lines) == (-signal.SIGTERM, [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_program_stays(when: str) -> None:
    """What the program or its server does at SIGTERM is what happens."""
    line = "signal.signal(signal.SIGTERM, told('server'))\n"
    lines = [line, "exit_on_sigterm()\n"][:: 1 if when == "before" else -1]
    code, out, errors = ended("SPINS = 30\n" + "".join(lines) + "run()\n")
    assert (code, out) == (0, ["handled by server", "exit hooks"]), errors


def test_an_ignored_signal_stays_so() -> None:
    """A program that ignores it goes on."""
    code, lines, errors = ended(
        "SPINS = 30\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nexit_on_sigterm()\nrun()\n"
    )
    assert (code, lines) == (0, ["exit hooks"]), errors


def test_in_asyncio() -> None:
    """A handler of asyncio's loop is called as well, also where it was there first."""
    code, lines, errors = ended(
        "import asyncio\n"
        "async def main():\n"
        "    done = asyncio.Event()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)\n"
        "    exit_on_sigterm()\n"
        "    print('waiting', flush=True)\n"
        "    await done.wait()\n"
        "    print('loop ended', flush=True)\n"
        "asyncio.run(main())\n"
    )
    assert (code, lines) == (0, ["loop ended", "exit hooks"]), errors


def test_in_another_thread() -> None:
    """Where Python sets no handlers it is refused, with what to do."""
    caught: list[Exception] = []

    def call() -> None:
        try:
            exit_on_sigterm()
        except WrongMoment as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    (error,) = caught
    assert str(error) == ("exit_on_sigterm() was called in another thread: call it in the main one")


def test_a_second_call_changes_nothing() -> None:
    """A library and its user may both call it."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        exit_on_sigterm()
        first = signal.getsignal(signal.SIGTERM)
        exit_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is first is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
