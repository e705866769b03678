"""Runs the program `dotflow` as users do, in a folder with steps of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dotflow.cli.app import run

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "dotflow.main")

STEPS = """
import os, sys, time
from pathlib import Path

from dotflow import Config, DotFlow, action
from dotflow.providers import StorageDefault


@action
def read():
    print("reading", flush=True)
    return [1, 2, 3]


@action
def total(previous_context):
    return sum(previous_context.storage)


@action
def echo(initial_context):
    return initial_context.storage


@action(retry=2, retry_delay=0)
def bad():
    raise ValueError("no\\nluck")


@action
def leaves():
    sys.exit(3)


@action
def slow():
    Path("started").touch()
    time.sleep(60)


@action
def once():
    with open("runs", "a") as runs:
        runs.write("x")
    return "done"


@action
def snowman():
    return "\\N{SNOWMAN}"


@action
def chatty():
    print("first", flush=True)
    Path("started").touch()
    while not Path("closed").exists():
        time.sleep(0.01)
    for number in range(10_000):
        print("line", number)
    return "done"


@action
def process():
    print("in a worker", flush=True)
    return os.getpid()


def after(task):
    print("after", task.name)


def build():
    flow = DotFlow(name="sums")
    flow.task.add([read, total])
    return flow


def build_own():
    flow = DotFlow(config=Config(storage=StorageDefault()), workflow_id="own")
    flow.task.add(read)
    return flow


def build_bad():
    flow = DotFlow(name="bad")
    flow.task.add([read, bad, read])
    return flow


def build_nothing():
    return None


def build_broken():
    raise KeyError("k")


number = 3
"""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def in_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Return what runs a command in this process, in `folder` with the module `steps`."""
    (folder / "steps.py").write_text(STEPS, encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("DOTFLOW_OBSERVE", raising=False)
    monkeypatch.delenv("WORKFLOW_ID", raising=False)
    monkeypatch.setenv("DOTFLOW_HISTORY", "0")  # it would stay in this process
    # Another test's, which has run the program itself.
    sys.modules.pop("steps", None)
    before = set(sys.modules)

    def command(*args: str) -> Done:
        code = run(args)
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) == str(folder / f"{name}.py"):
                del sys.modules[name]
        return Done(code, *capsys.readouterr())

    return command


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment with other variables; no telemetry leaves it."""
    kept = {name: value for name, value in os.environ.items() if name != "DOTFLOW_OBSERVE"}
    return {**kept, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none", **variables}


def started(folder: Path, *args: str, **variables: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own, in `folder` with the module `steps`."""
    (folder / "steps.py").write_text(STEPS, encoding="utf-8")
    return subprocess.Popen(
        [*PROGRAM, *args],
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
    )


def finished(process: subprocess.Popen[str], timeout: float = 60) -> Done:
    """Return how a process ended."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Done(process.returncode, out, err)


def command(folder: Path, *args: str, **variables: str) -> Done:
    """Run a command in a process of its own."""
    return finished(started(folder, *args, **variables))
