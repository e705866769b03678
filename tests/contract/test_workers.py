"""Contract sections 0 and 11.1: worker processes, and what can go wrong in them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action

if TYPE_CHECKING:
    from pathlib import Path

Recorder = Any
Run = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


def test_results_larger_than_a_pipe(quiet: Config, run: Run) -> None:
    """Results of megabytes come back."""

    @action
    def large(initial_context: Context) -> bytes:
        return bytes(initial_context.storage)

    flow = DotFlow(config=quiet)
    flow.task.add([large, large, large], initial_context=2_000_000)
    run(flow, "parallel")
    assert [len(result) for result in flow.result_storage()] == [2_000_000] * 3


def test_large_contexts_go_out(quiet: Config, run: Run) -> None:
    """Initial contexts of megabytes reach the steps."""

    @action
    def measure(initial_context: Context) -> int:
        return len(initial_context.storage)

    flow = DotFlow(config=quiet)
    flow.task.add([measure, measure], initial_context=bytes(2_000_000))
    run(flow, "parallel")
    assert flow.result_storage() == [2_000_000, 2_000_000]


def test_steps_of_a_module_that_workers_cannot_import(
    quiet: Config, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions and classes of a module that was loaded by hand travel by value."""
    module = types.ModuleType("loaded_by_hand")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    source = """
from dotflow import action

def helper():
    return 41

@action
def function():
    return helper() + 1

@action
class Step:
    @action
    def method(self):
        return helper()
"""
    exec(source, vars(module))  # noqa: S102 - makes a module
    flow = DotFlow(config=quiet)
    flow.task.add([module.function, module.Step])
    run(flow, "parallel")
    assert [task.errors for task in flow.result_task()] == [[], []]
    first, (method,) = flow.result_storage()
    assert (first, method.storage) == (42, 41)


def test_many_tasks_in_few_warm_workers(quiet: Config, run: Run) -> None:
    """200 tasks run in no more workers than there are cores, which are used again."""

    @action
    def where() -> int:
        return os.getpid()

    flow = DotFlow(config=quiet)
    flow.task.add([where] * 200)
    run(flow, "parallel")
    pids = set(flow.result_storage())
    assert [task.status for task in flow.result_task()] == ["Completed"] * 200
    assert None not in pids
    assert 1 <= len(pids) <= (os.cpu_count() or 1)


def test_many_tasks_that_give_none(quiet: Config, run: Run) -> None:
    """200 tasks that return None complete."""

    @action
    def nothing() -> None: ...

    flow = DotFlow(config=quiet)
    flow.task.add([nothing] * 200)
    run(flow, "parallel")
    assert {task.status for task in flow.result_task()} == {"Completed"}


def test_workers_are_not_forked(quiet: Config, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker does not hold what this process has in memory."""
    monkeypatch.setitem(sys.modules, "only_in_the_parent", types.ModuleType("only_in_the_parent"))

    @action
    def forked() -> bool:
        return "only_in_the_parent" in sys.modules

    flow = DotFlow(config=quiet)
    flow.task.add(forked)
    run(flow, "parallel")
    assert flow.result_storage() == [False]


def test_step_of_an_importable_module(
    quiet: Config, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step named by an import string runs in a worker, with its module's globals."""
    (tmp_path / "worker_steps.py").write_text(
        "from dotflow import action\n"
        "FACTOR = 3\n"
        "class Pipe:\n"
        "    @action\n"
        "    def run(self): return FACTOR\n"
        "@action\n"
        "def triple(initial_context): return FACTOR * initial_context.storage\n"
        "@action(retry=2)\n"
        "def pipe(): return Pipe()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    flow = DotFlow(config=quiet)
    flow.task.add(["worker_steps:triple", "worker_steps.pipe"], initial_context=2)
    run(flow, "parallel")
    first, second = flow.result_storage()
    assert first == 6
    assert [context.storage for context in second] == [3]


def test_lambda_and_closure(quiet: Config, run: Run) -> None:
    """Steps may be made from lambdas and closures."""
    factor = 3
    flow = DotFlow(config=quiet)
    flow.task.add(
        action(lambda initial_context: initial_context.storage * factor), initial_context=2
    )
    run(flow, "parallel")
    assert flow.result_storage() == [6]


@pytest.mark.parametrize(
    ("end", "sign"),
    [
        (lambda: os._exit(3), "3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
    ],
    ids=["exit", "kill", "segv"],
)
def test_dead_worker_fails_its_task_alone(end: Any, sign: str, quiet: Config, run: Run) -> None:
    """A worker that dies fails its task, naming exit code or signal; siblings complete."""

    @action
    def dies() -> None:
        end()

    flow = DotFlow(config=quiet)
    flow.task.add([ok, dies, ok, ok])
    run(flow, "parallel")
    tasks = flow.result_task()
    assert [task.status for task in tasks] == ["Completed", "Failed", "Completed", "Completed"]
    assert len(tasks[1].errors) == 1
    assert tasks[1].errors[0].exception == "WorkerLost"
    number = str({"SIGKILL": 9, "SIGSEGV": 11}.get(sign, sign))
    assert sign in tasks[1].errors[0].message or number in tasks[1].errors[0].message


def test_dead_worker_is_a_failed_attempt(quiet: Config, run: Run, tmp_path: Path) -> None:
    """A task whose worker died is retried like after any error."""
    tally = tmp_path / "tally"

    @action(retry=2, retry_delay=0)
    def dies_once() -> str:
        with tally.open("a") as file:
            file.write("x")
        if len(tally.read_text()) == 1:
            os._exit(7)
        return "ok"

    flow = DotFlow(config=quiet)
    flow.task.add(dies_once)
    run(flow, "parallel")
    [task] = flow.result_task()
    assert (task.status, task.retry_count, task.current_context.storage) == ("Completed", 1, "ok")
    assert [(error.attempt, error.exception) for error in task.errors] == [(1, "WorkerLost")]
    assert "7" in task.errors[0].message


def test_result_that_cannot_travel(quiet: Config, run: Run) -> None:
    """A result that cannot be pickled fails its task with an error that names it."""

    @action
    def lock() -> object:
        return threading.Lock()

    flow = DotFlow(config=quiet)
    flow.task.add([ok, lock, ok])
    run(flow, "parallel")
    tasks = flow.result_task()
    assert [task.status for task in tasks] == ["Completed", "Failed", "Completed"]
    assert "lock" in tasks[1].errors[-1].message
    assert tasks[1].errors[-1].exception != "WorkerLost"


def test_step_that_cannot_travel(quiet: Config, run: Run) -> None:
    """A step that holds what cannot be pickled fails with an error that names it."""
    held = threading.Lock()

    @action
    def locked() -> bool:
        return held.locked()

    flow = DotFlow(config=quiet)
    flow.task.add([locked, ok])
    run(flow, "parallel")
    failed, completed = flow.result_task()
    assert (failed.status, completed.status) == ("Failed", "Completed")
    assert "lock" in failed.errors[-1].message
    assert "locked" in failed.errors[-1].message


def test_context_that_cannot_travel(quiet: Config, run: Run) -> None:
    """An initial context that cannot be pickled fails its task."""

    @action
    def takes(initial_context: Context) -> str:
        return str(initial_context.storage)

    flow = DotFlow(config=quiet)
    flow.task.add(takes, initial_context=threading.Lock())
    flow.task.add(ok)
    run(flow, "parallel")
    failed, completed = flow.result_task()
    assert (failed.status, completed.status) == ("Failed", "Completed")
    assert "lock" in failed.errors[-1].message


def test_result_that_does_not_unpickle(quiet: Config, run: Run) -> None:
    """A result that fails to unpickle here fails its task, with that error's text."""

    class Broken:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    @action
    def broken() -> object:
        return Broken()

    flow = DotFlow(config=quiet)
    flow.task.add([ok, broken, ok])
    run(flow, "parallel")
    tasks = flow.result_task()
    assert [task.status for task in tasks] == ["Completed", "Failed", "Completed"]
    assert "not a number" in tasks[1].errors[-1].message


def test_error_that_cannot_travel(quiet: Config, run: Run) -> None:
    """An exception that cannot be pickled still gives its type and text."""

    class Held(Exception):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.lock = threading.Lock()

    class Picky(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} {two}")

    @action
    def held() -> None:
        raise Held("cannot travel")

    @action
    def picky() -> None:
        raise Picky("needs", "two")

    flow = DotFlow(config=quiet)
    flow.task.add([held, picky])
    run(flow, "parallel")
    assert [
        [(error.exception, error.message) for error in task.errors] for task in flow.result_task()
    ] == [[("Held", "cannot travel")], [("Picky", "needs two")]]
    assert "raise Held" in flow.result_task()[0].errors[0].traceback


def test_output_of_a_step_comes_out(script: Any) -> None:
    """What a step prints or writes to its descriptors is the program's output."""
    done = script("""
        import os, sys
        from dotflow import DotFlow, action

        @action
        def noisy():
            print("printed", flush=True)
            os.write(1, b"written\\n")
            os.write(2, b"complained\\n")
            return "done"

        flow = DotFlow()
        flow.task.add(noisy)
        flow.start(mode="parallel")
        print(flow.result_storage())
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["printed", "written", "['done']"]
    assert "complained" in done.stderr


def test_runs_share_no_trouble(quiet: Config, run: Run) -> None:
    """A run after one that lost a worker completes."""

    @action
    def dies() -> None:
        os._exit(1)

    for step, status in ((dies, "Failed"), (ok, "Completed")):
        flow = DotFlow(config=quiet)
        flow.task.add(step)
        run(flow, "parallel")
        assert flow.result_task()[0].status == status
