"""Contract sections 0, 6 and 11.1: whole programs, and how they end."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from late_threads import needs_late_threads

if TYPE_CHECKING:
    from pathlib import Path

Script = Any


def test_parallel_without_a_main_guard(script: Script) -> None:
    """A script without a main guard runs in parallel; its own steps and classes travel by value."""
    done = script("""
        from dotflow import DotFlow, action
        print("main module runs", flush=True)
        FACTOR = 3

        class Point:
            def __init__(self, x): self.x = x

        def helper(x): return Point(x * FACTOR)

        @action
        def step(initial_context): return helper(initial_context.storage)

        @action
        class Pipe:
            @action
            def run(self): return helper(5)

        flow = DotFlow()
        flow.task.add([step, step, Pipe], initial_context=2)
        flow.start(mode="parallel")
        one, two, pipe = flow.result_storage()
        print([one.x, two.x, type(one) is Point, pipe[0].storage.x])
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["main module runs", "[6, 6, True, 15]"]


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_parallel_where_standard_streams_are_closed(closed: str, tmp_path: Path) -> None:
    """Descriptors of ours that take the numbers of those streams are no less ours."""
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM, encoding="utf-8")
    told = tmp_path / "told"
    command = ["/bin/sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, program, told]
    subprocess.run(command, check=True, timeout=20)
    assert told.read_text(encoding="utf-8") == "['Completed', 'Completed']"


_PROGRAM = """
import sys
from pathlib import Path
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal

@action
def one(): return 1

flow = DotFlow(config=Config(executor=ExecutorLocal(workers=2)))
flow.task.add([one, one])
flow.start(mode="parallel")
Path(sys.argv[1]).write_text(str([task.status for task in flow.result_task()]))
"""


@pytest.mark.parametrize("mode", ["sequential", "background"])
def test_timed_out_step_does_not_delay_the_exit(mode: str, script: Script) -> None:
    """Neither start() nor the end of the program waits for a step that is over its timeout."""
    begun = time.monotonic()
    done = script(
        """
        import sys, time
        from dotflow import DotFlow, action

        @action(timeout=0.1)
        def slow(): time.sleep(60)

        flow = DotFlow()
        flow.task.add(slow)
        manager = flow.start(mode=sys.argv[1])
        if sys.argv[1] == "background":
            manager.thread.join()
        print(flow.result_task()[0].status, flow.result_task()[0].errors[-1].exception)
        """,
        mode,
    )
    assert done.stdout.split() == ["Failed", "TimeoutError"], done.stderr
    assert done.returncode == 0
    assert time.monotonic() - begun < 30


def test_timed_out_step_in_a_worker_does_not_delay_the_exit(script: Script) -> None:
    """The same in parallel, also where the step ignores SIGTERM."""
    begun = time.monotonic()
    done = script("""
        import signal, time
        from dotflow import DotFlow, action

        @action(timeout=0.2)
        def slow():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)

        flow = DotFlow()
        flow.task.add(slow)
        flow.start(mode="parallel")
        print(flow.result_task()[0].status, flow.result_task()[0].errors[-1].exception)
    """)
    assert done.stdout.split() == ["Failed", "TimeoutError"], done.stderr
    assert done.returncode == 0
    assert time.monotonic() - begun < 30


def test_background_work_finishes_before_the_exit(script: Script) -> None:
    """A program that ends without waiting still runs its tasks and callbacks."""
    done = script("""
        import time
        from dotflow import DotFlow, action

        @action
        def slow():
            time.sleep(0.2)
            return 1

        @action
        def after(previous_context):
            print("after", previous_context.storage, flush=True)

        def good(tasks):
            print("success", [task.status for task in tasks], flush=True)

        flow = DotFlow()
        flow.task.add([slow, after])
        flow.start(mode="background", on_success=good)
        print("main ends", flush=True)
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "main ends",
        "after 1",
        "success ['Completed', 'Completed']",
    ]


@needs_late_threads
def test_background_work_can_start_threads_at_exit(script: Script) -> None:
    """Steps that run while the program ends may use executors, threads and asyncio."""
    done = script("""
        import asyncio, time
        from concurrent.futures import ThreadPoolExecutor
        from dotflow import DotFlow, action

        @action
        def pool():
            time.sleep(0.2)
            with ThreadPoolExecutor() as executor:
                return executor.submit(lambda: "pool").result()

        @action
        async def threads():
            return await asyncio.to_thread(lambda: "thread")

        @action(timeout=5)
        def timed(): return "timed"

        flow = DotFlow()
        flow.task.add([pool, threads, timed])
        flow.start(mode="background", on_success=lambda tasks: print(flow.result_storage()),
                   on_failure=lambda tasks: print([t.errors for t in tasks]))
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['pool', 'thread', 'timed']"]


def test_program_of_every_mode_ends_at_once(script: Script) -> None:
    """A program that ran all modes leaves with code 0, promptly, saying nothing unasked."""
    begun = time.monotonic()
    done = script("""
        from dotflow import DotFlow, action

        @action
        def step(): return 1

        for mode in ("sequential", "sequential_group", "background", "parallel"):
            flow = DotFlow()
            flow.task.add([step, step])
            manager = flow.start(mode=mode)
            if mode == "background":
                manager.thread.join()
            print(mode, flow.result_storage())
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "sequential [1, 1]",
        "sequential_group [1, 1]",
        "background [1, 1]",
        "parallel [1, 1]",
    ]
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    assert time.monotonic() - begun < 30


def test_resume_in_another_process(script: Script) -> None:
    """With a given id and StorageFile a second process goes on where the first failed."""
    source = """
        import os, sys
        from dotflow import Config, DotFlow, action
        from dotflow.providers import StorageFile

        @action
        def first():
            print("first runs", flush=True)

        @action
        def second(previous_context):
            print("second runs", flush=True)
            return (1, 2), {"three"}

        @action
        def third(previous_context):
            print("third runs", previous_context.storage, flush=True)
            if sys.argv[1] == "fail":
                raise ValueError("no")
            return "done"

        flow = DotFlow(config=Config(storage=StorageFile(path="kept")), workflow_id="etl-daily")
        flow.task.add([first, second, third], initial_context={"b", "a", "c"})
        flow.start(resume=True, on_input_change="raise")
        print(*[task.status for task in flow.result_task()], sep=",")
        print(*[task.task_id for task in flow.result_task()])
    """
    seen = "third runs ((1, 2), {'three'})"
    one = script(source, "fail", PYTHONHASHSEED="1")
    assert one.returncode == 0, one.stderr
    *ran, statuses, ids = one.stdout.splitlines()
    assert (ran, statuses) == (["first runs", "second runs", seen], "Completed,Completed,Failed")
    two = script(source, "go", PYTHONHASHSEED="2")
    assert two.returncode == 0, two.stderr
    *ran, statuses, same_ids = two.stdout.splitlines()
    assert (ran, statuses) == ([seen], "Completed,Completed,Completed")
    assert ids == same_ids


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_interrupted_program_ends_its_events(mode: str, script: Script) -> None:
    """Ctrl-C in a run ends the workflow as Failed, and the program with KeyboardInterrupt."""
    begun = time.monotonic()
    done = script(
        """
        import os, signal, sys, time
        from dotflow import DotFlow, action

        owner = os.getpid()

        @action
        def slow():
            os.kill(owner, signal.SIGINT)
            time.sleep(60)

        @action
        def never(): return 1

        flow = DotFlow()
        flow.task.add(slow, group_name="a")
        flow.task.add(never, group_name="a")
        flow.task.add(never, group_name="b")
        try:
            flow.start(mode=sys.argv[1], on_failure=lambda tasks: print("failure", flush=True))
        except KeyboardInterrupt:
            print("interrupted", [task.status for task in flow.result_task()][:2])
        """,
        mode,
    )
    assert done.stdout.splitlines() == [
        "failure",
        "interrupted ['Failed', 'Not started']",
    ], done.stderr
    assert time.monotonic() - begun < 30
