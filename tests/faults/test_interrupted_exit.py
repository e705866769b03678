"""The exit of a program that waits for runs in the background, and is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Final

import pytest
from late_threads import needs_late_threads

# Says when the exit begins to wait.
READY: Final = """
from dotflow.core.background import BackgroundRun

wait = BackgroundRun.wait

def say_and_wait(run):
    print("ready", flush=True)
    wait(run)

BackgroundRun.wait = say_and_wait
"""

PROGRAM: Final = """
import asyncio, atexit, signal, sys, threading, time
from dotflow import Config, DotFlow, action
from dotflow.testing import Recording

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
recording = Recording()
running = threading.Event()

@action
def one():
    return 1

@action
def sleeps():
    running.set()
    time.sleep(60)

@action
def loops():
    running.set()
    while True:
        time.sleep(0.01)

@action(timeout=50)
def limited():
    running.set()
    time.sleep(60)

@action(retry=3, retry_delay=60)
def retried():
    running.set()
    raise ValueError("no")

@action
async def waits():
    running.set()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("cleaned up")

@action(timeout=50)
async def waits_limited():
    running.set()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print("cleaned up")

flow = DotFlow(config=Config(**recording.providers))
flow.task.add([one, globals()[sys.argv[1]], one])

def at_exit():
    print([task.status for task in flow.result_task()], flow.result_task()[1].failure.kind)
    print(recording.metrics.hooks)

def on_failure(tasks):
    print("on_failure", len(tasks))

atexit.register(at_exit)
flow.start(mode="background", on_failure=on_failure)
running.wait()
time.sleep(0.1)  # a retry is waited for by then
"""

END: Final = [
    "on_failure 3",
    "['Completed', 'Failed', 'Not started'] interrupted",
    str(
        [
            "workflow_started",
            "task_started",
            "task_completed",
            "task_started",
            "task_failed",
            "task_skipped",
            "workflow_failed",
        ]
    ),
]

TWICE: Final = """
import signal, sys, threading, time
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

running = threading.Event()

@action
def sleeps():
    running.set()
    time.sleep(60)

def on_failure(tasks):
    print("called", flush=True)
    time.sleep(60)

for _ in range(2):
    flow = DotFlow(config=Config(log=RecordingLog()))
    flow.task.add(sleeps)
    running.clear()
    flow.start(mode="background", on_failure=on_failure)
    running.wait()
"""

HOOK: Final = """
import threading, time
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

running = threading.Event()

class Slow(RecordingLog):
    def run_started(self, run):
        pass

    def info(self, **kwargs):
        running.set()
        time.sleep(60)

@action
def one():
    pass

flow = DotFlow(config=Config(log=RecordingLog()))
flow.task.add(one)
flow.config.log = Slow()
flow.start(mode="background")
running.wait()
"""

LATE: Final = """
import sys, threading
from dotflow import Config, DotFlow, action
from dotflow.testing import RecordingLog

@action
def step():
    return 1

def late():
    threading.main_thread().join()
    flow = DotFlow(config=Config(log=RecordingLog()))
    flow.task.add([step, step])
    flow.start(mode="background").thread.join()
    print(flow.result_storage(), "concurrent.futures.thread" in sys.modules)

threading.Thread(target=late).start()
"""


def started(source: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a program and wait until it is ready."""
    program = subprocess.Popen(
        [sys.executable, "-c", READY + source, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize(
    "step", ["sleeps", "loops", "limited", "retried", "waits", "waits_limited"]
)
def test_the_run_is_interrupted(step: str) -> None:
    """Whatever its step does, all events of its end happen at once; the process dies of SIGINT."""
    program = started(PROGRAM, step)
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert time.monotonic() - began < 5
    cleaned = ["cleaned up"] if step.startswith("waits") else []
    assert out.splitlines() == cleaned + END
    assert err == ""
    assert program.returncode == -signal.SIGINT


def test_an_exit_in_its_place() -> None:
    """A handler that exits, as services have one for SIGTERM, ends the run too; its code counts."""
    program = started(PROGRAM, "sleeps")
    program.send_signal(signal.SIGTERM)
    out, err = program.communicate(timeout=60)
    assert (out.splitlines(), err, program.returncode) == (END, "", 143)


def test_interrupted_again_meanwhile() -> None:
    """A second interrupt ends the ending, whatever holds it up."""
    program = started(TWICE)
    program.send_signal(signal.SIGINT)
    assert program.stdout is not None
    assert program.stdout.readline() == "called\n"
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    assert program.returncode == -signal.SIGINT


def test_a_run_that_cannot_be_ended() -> None:
    """One that is in a provider of the user's holds up an interrupted exit for no longer."""
    program = started(HOOK)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert err == "the background run in dotflow-workflow did not end in time\n"
    assert program.returncode == -signal.SIGINT


@needs_late_threads
def test_begun_after_the_main_thread() -> None:
    """A thread that outlives the main one may begin a run in the background, as in other modes."""
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[1, 1] False\n", "")
