"""Programs whose workers could start workers: none goes on without end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Program = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]

# Counts the processes that import it, and ends them where they are too many.
COUNTED = """\
import os
from pathlib import Path
imports = Path(__file__).with_name("imports")
with imports.open("a") as file:
    file.write("x")
if imports.stat().st_size > 40:
    os._exit(9)
"""

PREAMBLE = """\
import os, sys
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault

def flow_of(*steps, workers=2):
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=ExecutorLocal(workers=workers)))
    flow.task.add(list(steps))
    return flow

def told(flow):
    tasks = flow.result_task()
    return [task.errors[-1].exception if task.errors else task.status for task in tasks]
"""

JOB = f"""\
{COUNTED}{PREAMBLE}
FACTOR = 3

class Point:
    def __init__(self, x):
        self.x = x

    def scaled(self):
        return self.x * FACTOR

@action
def one():
    return Point(2)

flow = flow_of(one, one)
flow.start(mode="parallel")
first, second = flow.result_storage()
FACTOR = 5
print(told(flow), type(first) is Point, first.scaled())
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that runs a program of several files."""

    def run(
        files: Mapping[str, str], *arguments: str, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        for name, source in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def imports(folder: Path) -> int:
    """Return how many processes have imported the module that counts."""
    return len((folder / "imports").read_text())


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import job"],
        ["-c", "import runpy; runpy.run_module('job')"],
        ["-c", "import runpy; runpy.run_path('job.py')"],
        ["-c", "import runpy; runpy.run_module('job', run_name='__main__', alter_sys=True)"],
        ["-c", "import other"],
        ["-c", "import by_hand"],
        ["-m", "job"],
        ["job.py"],
    ],
    ids=" ".join,
)
def test_a_module_that_starts_a_run_when_it_is_imported(
    arguments: list[str], program: Program, tmp_path: Path
) -> None:
    """It runs, like a script; its definitions travel by value, and come back to their own."""
    by_hand = """
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("job", "job.py")
        sys.modules["job"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    """
    files = {"job.py": JOB, "other.py": "import job\n", "by_hand.py": by_hand}
    done = program(files, *arguments)
    assert done.stdout == "['Completed', 'Completed'] True 10\n", done.stderr
    assert imports(tmp_path) == 1


def test_a_module_that_starts_a_run_when_it_is_loaded_again(
    program: Program, tmp_path: Path
) -> None:
    """So does one that is reloaded, as in a notebook."""
    done = program({"job.py": JOB}, "-c", "import importlib, job; importlib.reload(job)")
    assert done.stdout.splitlines() == ["['Completed', 'Completed'] True 10"] * 2, done.stderr
    assert imports(tmp_path) == 2


def test_a_module_that_schedules_runs_when_it_is_imported(program: Program, tmp_path: Path) -> None:
    """Its import never ends, and the threads of the runs do not wait for that."""
    job = f"""{COUNTED}{PREAMBLE}
from dotflow.providers import SchedulerCron

class Point:
    pass

@action
def one():
    return Point()

def ended(tasks):
    values = [task.current_context.storage for task in tasks]
    print([type(value) is Point for value in values], flush=True)
    os._exit(0)

flow = flow_of(one, one)
flow.config.scheduler = SchedulerCron(cron="* * * * * *")
flow.schedule(mode="parallel", on_success=ended, on_failure=ended)
"""
    done = program({"job.py": job}, "-c", "import job")
    assert done.stdout == "[True, True]\n", done.stderr
    assert imports(tmp_path) == 1


def test_a_package_that_starts_a_run_when_it_is_imported(program: Program, tmp_path: Path) -> None:
    """A step of a module of it does not have workers import the package."""
    steps = f"{PREAMBLE}\n@action\ndef one():\n    return helper()\ndef helper():\n    return 1\n"
    start = "from pkg.steps import *\nflow = flow_of(one)\nflow.start(mode='parallel')\n"
    files = {"pkg/__init__.py": f"{COUNTED}{start}print(told(flow))", "pkg/steps.py": steps}
    done = program(files, "-c", "import pkg.steps")
    assert done.stdout == "['Completed']\n", done.stderr
    assert imports(tmp_path / "pkg") == 1


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_worker_that_has_to_import_it(mode: str, program: Program, tmp_path: Path) -> None:
    """Its own run is over, and another one needs a step of it: that one fails, and says why."""
    main = "from job import *\nflow = flow_of(one, one)\nflow.start(mode='parallel')\n"
    main += "print(told(flow), flow.result_task()[0].errors[-1].message)"
    job = JOB.replace('mode="parallel"', f'mode="{mode}"')
    done = program({"job.py": job, "main.py": main}, "main.py")
    line = done.stdout.splitlines()[-1]
    assert line.startswith("['RunWhileReading', 'RunWhileReading'] A worker process was"), done
    assert line.endswith('or under `if __name__ == "__main__":`.')
    assert imports(tmp_path) <= 4


def test_a_thread_that_starts_a_run_when_its_module_is_imported(
    program: Program, tmp_path: Path
) -> None:
    """In the program it runs; one of a worker that imports the module is refused, whenever.

    What a thread of a step starts is not.
    """
    job = f"""{COUNTED}{PREAMBLE}
import threading

def begin(name, go=None):
    if go is not None:
        go.wait(30)
    try:
        flow = flow_of(one)
        flow.start(mode="parallel")
        ended = told(flow)[0]
    except Exception as error:
        ended = type(error).__name__
    with open("ended", "a") as file:
        file.write(f"{{name}} {{ended}}\\n")

@action
def one():
    return 1

@action
def waits():
    go.set()
    later.join(30)
    mine = threading.Thread(target=begin, args=("step",))
    mine.start()
    mine.join(30)

go = threading.Event()
now, later = (
    threading.Thread(target=begin, args=arguments) for arguments in (("now",), ("later", go))
)
now.start()
later.start()
"""
    main = """
        import job
        if __name__ == "__main__":
            job.go.set()
            job.now.join(30)
            job.later.join(30)
            with open("ended", "a") as file:
                file.write("--\\n")
            flow = job.flow_of(job.waits, workers=1)
            flow.start(mode="parallel")
            print(job.told(flow))
    """
    done = program({"job.py": job, "main.py": main}, "main.py")
    assert done.stdout == "['Completed']\n", done.stderr
    here, there = (tmp_path / "ended").read_text().split("--\n")
    in_program = ["later Completed", "now Completed"]
    assert [line for line in sorted(here.splitlines()) if "Completed" in line] == in_program
    ended = [*here.splitlines(), *there.splitlines()]
    refused = [line for line in ended if line.endswith("RunWhileReading")]
    assert sorted(set(refused)) == ["later RunWhileReading", "now RunWhileReading"]
    assert "step Completed" in there.splitlines()
    assert not [line for line in ended if "TooMany" in line]


CYCLE = {
    "first.py": "def base(): return 1\nfrom second import step\n",
    "second.py": f"{PREAMBLE}from first import base\n\n@action\ndef step(): return base()\n",
}


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_modules_that_import_each_other(mode: str, program: Program) -> None:
    """Such a cycle may be importable from one end alone: workers begin at that of the program."""
    main = f"import first\nfrom second import *\nflow = flow_of(step)\nflow.start(mode={mode!r})\n"
    main += "print(told(flow), flow.result_storage())\n"
    done = program({**CYCLE, "main.py": main}, "main.py")
    assert done.stdout.splitlines()[-1] == "['Completed'] [1]", done.stderr


def test_a_run_that_begins_within_a_cycle_of_imports(program: Program) -> None:
    """Its steps run, or the error tells of the start; not of what a half-read module lacks."""
    outer = f"{PREAMBLE}import inner\n\ndef one(): return 1\ninner.begin()\n"
    inner = f"""{PREAMBLE}
import outer

@action
def step():
    return outer.one()

def begin():
    flow = flow_of(step)
    flow.start(mode="parallel")
    print([task.errors[-1].message if task.errors else 1 for task in flow.result_task()])
"""
    done = program({"outer.py": outer, "inner.py": inner}, "-c", "import outer")
    [told] = done.stdout.splitlines()
    assert told == "[1]" or "a module that the step needs starts a workflow" in told, done.stderr
    assert "partially initialized" not in told


def test_a_module_that_workers_lack(program: Program) -> None:
    """The error of a step that cannot be imported there is that of its own import."""
    job = f"{PREAMBLE}import late\n\n@action\ndef one(): return 1\n"
    late = "import os\nif os.environ.get('ONLY') != str(os.getpid()): raise ImportError('not here')"
    main = "import os\nos.environ['ONLY'] = str(os.getpid())\nfrom job import *\n"
    main += "flow = flow_of(one)\nflow.start(mode='parallel')\n"
    main += "print(told(flow), flow.result_task()[0].errors[-1].message)"
    done = program({"job.py": job, "late.py": late, "main.py": main}, "main.py")
    line = done.stdout.splitlines()[-1]
    assert line.startswith("['PicklingFailed'] step one cannot be read back"), done.stderr
    assert "ImportError: not here. It must be importable there too" in line


def test_workflows_in_steps_without_end(program: Program, tmp_path: Path) -> None:
    """A step may run a workflow, and a step of that as well; at some depth it is an error."""
    job = f"""{COUNTED}{PREAMBLE}
@action
def nested(initial_context):
    import job
    depth = initial_context.storage
    flow = job.flow_of()
    flow.task.add([job.nested, job.nested], initial_context=depth + 1)
    try:
        flow.start(mode="parallel")
    except Exception as error:
        return depth, type(error).__name__
    return max((each for each in flow.result_storage() if each), default=(depth, told(flow)))
"""
    main = "import job\nprint(job.nested.func(type('Context', (), {'storage': 0})))"
    done = program({"job.py": job, "main.py": main}, "main.py")
    assert done.stdout == "(3, 'TooManyNestedWorkers')\n", done.stderr
    assert imports(tmp_path) <= 16


def test_a_step_that_starts_the_program_again(program: Program, tmp_path: Path) -> None:
    """What a step starts is below its worker as well."""
    job = f"""{COUNTED}{PREAMBLE}
import subprocess
path = __file__

@action
def again():
    return subprocess.run([sys.executable, path], stdout=subprocess.PIPE, text=True).stdout

flow = flow_of(again, again)
try:
    flow.start(mode="parallel")
    print(flow.result_storage()[0], end="")
except Exception as error:
    print(type(error).__name__)
"""
    done = program({"job.py": job}, "job.py")
    assert done.stdout == "TooManyNestedWorkers\n", done.stderr
    assert imports(tmp_path) <= 16


@pytest.mark.parametrize("executable", ["None", "''", "'/bin/true'"])
def test_a_program_whose_executable_is_no_interpreter(executable: str, program: Program) -> None:
    """One that embeds Python finds the interpreter that belongs to it."""
    main = f"{PREAMBLE}\n@action\ndef one(): return 1\nsys.executable = {executable}\n"
    main += "flow = flow_of(one)\nflow.start(mode='parallel')\nprint(told(flow))"
    done = program({"main.py": main}, "main.py")
    assert done.stdout == "['Completed']\n", done.stderr


def test_a_program_without_any_interpreter(program: Program, tmp_path: Path) -> None:
    """Its tasks fail, and siblings of theirs do; the program is not started again."""
    application = tmp_path / "application"
    application.write_text(f"#!/bin/sh\necho x >> {tmp_path}/started\n")
    application.chmod(0o755)
    main = f"""{PREAMBLE}
@action
def one(): return 1
sys.executable = sys._base_executable = {str(application)!r}
sys.prefix = sys.exec_prefix = sys.base_prefix = sys.base_exec_prefix = "/nowhere"
sys.frozen = True
flow = flow_of(one, one)
flow.start(mode="parallel")
print(told(flow))
"""
    done = program({"main.py": main}, "main.py")
    assert done.stdout == "['InterpreterNotFound', 'InterpreterNotFound']\n", done.stderr
    assert not (tmp_path / "started").exists()
