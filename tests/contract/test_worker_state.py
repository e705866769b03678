"""What a step finds in a worker, and what it leaves there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Program = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[2]

PREAMBLE = f"""\
import sys
sys.path[1:1] = {[str(ROOT), *[entry for entry in sys.path if "site-packages" in entry]]!r}
import json, os, time, warnings
from pathlib import Path
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault

executor = ExecutorLocal(workers=1)

def told(*steps, mode="parallel"):
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(list(steps))
    flow.start(mode=mode, keep_going=True)
    tasks = flow.result_task()
    failed = [task.errors[-1].message for task in tasks if task.status == "Failed"]
    return failed or [task.current_context.storage for task in tasks]
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that runs a program; it returns what the last line says."""

    def run(source: str, *flags: str, arguments: tuple[str, ...] = (), **variables: str) -> Any:
        (tmp_path / "program.py").write_text(PREAMBLE + source)
        done = subprocess.run(
            [sys.executable, *flags, "program.py", *arguments],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


TAKEN_OVER = """
class Mine(UserWarning):
    pass

def warned(text, category):
    with warnings.catch_warnings(record=True) as caught:
        try:
            warnings.warn(text, category)
        except category:
            return "raised"
    return len(caught)

@action
def state():
    return [
        [str(sys.flags), {**sys._xoptions}, sys.warnoptions, sys.dont_write_bytecode],
        [sys.getrecursionlimit(), sys.get_int_max_str_digits(), time.tzname],
        [sys.argv, os.getcwd(), os.environ["GIVEN"], oct(os.umask(0o22))],
        [warned("one", Mine), warned("hush", UserWarning), warned("two", UserWarning)],
        len(warnings.filters),
        __debug__,
    ]

os.umask(0o22)
sys.setrecursionlimit(4321)
sys.set_int_max_str_digits(9876)
os.environ.update({"TZ": "Asia/Tokyo", "GIVEN": "yes"})
time.tzset()
warnings.simplefilter("error", Mine)
warnings.filterwarnings("ignore", message="hush")
print(json.dumps(told(state, mode="sequential") == told(state)))
"""


@pytest.mark.parametrize(
    "flags",
    [
        ["-O", "-B", "-W", "error::DeprecationWarning", "-X", "utf8=1", "-X", "faulthandler"],
        ["-I"],
        ["-E", "-s", "-P"],
        ["-S", "-bb", "-X", "dev"],
    ],
    ids=" ".join,
)
def test_a_step_finds_what_it_finds_here(flags: list[str], program: Program) -> None:
    """Flags, limits, time zone, filters of warnings, arguments, folder and variables."""
    assert program(TAKEN_OVER, *flags, arguments=("a", "b")) is True


def test_variables_of_the_interpreter(program: Program) -> None:
    """So with those that an interpreter reads when it starts."""
    variables = {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "7", "PYTHONWARNINGS": "ignore,once"}
    assert program(TAKEN_OVER, **variables) is True


def test_a_kept_worker_finds_what_has_changed(program: Program) -> None:
    """A later run takes over how the process is by then."""
    assert program("""
@action
def state():
    given = os.environ.get("GIVEN")
    return [sys.getrecursionlimit(), time.tzname[0], given, os.getcwd(), os.getpid()]

sys.setrecursionlimit(4000)
os.environ["GIVEN"] = "yes"
one = told(state)[0]
sys.setrecursionlimit(3000)
os.environ["TZ"] = "Asia/Tokyo"
del os.environ["GIVEN"]
os.chdir("/")
two = told(state)[0]
print(json.dumps([one[0], one[2], two[:-1], one[-1] == two[-1]]))
""") == [4000, "yes", [3000, "JST", None, "/"], True]


def test_filters_whose_modules_come_later(program: Program, tmp_path: Path) -> None:
    """A filter of a category holds once a step has its module; it alone imports none."""
    (tmp_path / "categories.py").write_text("class Late(UserWarning):\n    pass\n")
    assert program("""
import categories
warnings.simplefilter("error", categories.Late)

@action
def without():
    return "categories" in sys.modules

@action
def with_it():
    try:
        warnings.warn("late", categories.Late)
    except categories.Late:
        return "raised"

print(json.dumps(told(without, with_it)))
""") == [False, "raised"]


def test_what_a_step_changes_is_undone(program: Program) -> None:
    """Each attempt begins in the same state, whatever ran before in its worker."""
    found, left, again, retried = program("""
@action
def leaves():
    os.chdir("/")
    os.umask(0o777)
    os.environ.update({"LEFT": "1", "TZ": "Asia/Tokyo"})
    del os.environ["GIVEN"]
    time.tzset()
    sys.setrecursionlimit(3333)
    sys.set_int_max_str_digits(9999)
    sys.argv.append("left")
    warnings.simplefilter("error")

@action
def found():
    mask = os.umask(0o22)
    environment = {name: os.environ.get(name) for name in ("LEFT", "TZ", "GIVEN")}
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits(), len(warnings.filters)
    return [os.getcwd(), oct(mask), environment, time.tzname, limits, sys.argv]

@action(retry=2, retry_delay=0)
def retried():
    if not Path("tried").exists():
        Path("tried").touch()
        leaves.func()
        raise ValueError
    return found.func()

os.umask(0o22)
os.environ["GIVEN"] = "yes"
print(json.dumps(told(found, leaves, found, retried)))
""")
    assert left is None
    assert found == again == retried
    assert found[1:3] == ["0o22", {"LEFT": None, "TZ": None, "GIVEN": "yes"}]


def test_a_removed_folder_is_no_hindrance(program: Program) -> None:
    """A worker in a folder that a step has removed goes back to that of the run."""
    assert program("""
@action
def removes():
    Path("gone").mkdir()
    os.chdir("gone")
    os.rmdir("../gone")

@action
def where():
    return os.getcwd() == FOLDER

FOLDER = os.getcwd()
print(json.dumps(told(removes, where)))
""") == [None, True]


def test_a_module_that_was_loaded_again(program: Program, tmp_path: Path) -> None:
    """Kept workers have its new code, be it the step's or one that the step uses."""
    source = "from dotflow import action\n@action\ndef step():\n    return 'one'\n"
    (tmp_path / "helpers.py").write_text(source)
    assert program("""
import helpers, importlib

@action
def uses():
    return helpers.step.func(), os.getpid()

def change(old, new):
    path = Path("helpers.py")
    path.write_text(path.read_text().replace(old, new))

first = told(helpers.step, uses)
same = told(helpers.step, uses)
change("one", "second")
importlib.reload(helpers)
reloaded = told(helpers.step, uses)
change("second", "the third")
del sys.modules["helpers"]
import helpers
imported = told(helpers.step, uses)
pids = [each[1][1] for each in (first, same, reloaded, imported)]
print(json.dumps([
    [[each[0], each[1][0]] for each in (first, same, reloaded, imported)],
    pids[0] == pids[1], len(set(pids)),
]))
""") == [[["one", "one"], ["one", "one"], ["second"] * 2, ["the third"] * 2], True, 3]


def test_a_step_runs_a_workflow(program: Program) -> None:
    """In workers of its own, down to the third generation; those end with their owner."""
    results, gone = program("""
@action
def leaf():
    return [os.getpid()]

def nested(step):
    flow = DotFlow(config=Config(log=LogDefault(output="file", path=os.devnull)))
    flow.task.add([step, step])
    flow.start(mode="parallel")
    return [os.getpid(), *flow.result_storage()[0], *flow.result_storage()[1]]

@action
def branch():
    return nested(leaf)

@action
def root():
    return nested(branch)

pids = told(root)[0]
executor.close()
until = time.monotonic() + 20
def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
while any(map(alive, pids)) and time.monotonic() < until:
    time.sleep(0.01)
print(json.dumps([pids, not any(map(alive, pids))]))
""")
    assert len(results) == 7
    assert gone


def test_the_mask_of_new_files(program: Program) -> None:
    """A kept worker has the mask that the run's process has when the run begins."""
    assert program("""
@action
def mask():
    found = os.umask(0o777)
    return oct(found)

told(mask)
os.umask(0o077)
print(json.dumps(told(mask, mask)))
""") == ["0o77", "0o77"]
