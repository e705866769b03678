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
        [warned("one", Mine), warned("clear", UserWarning), warned("two", UserWarning)],
        len(warnings.filters),
        __debug__,
        [locale.setlocale(locale.LC_ALL), socket.getdefaulttimeout()],
        [str(decimal.getcontext()), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))],
        [signal.getsignal(each).name for each in (signal.SIGPIPE, signal.SIGHUP, signal.SIGTERM)],
    ]

import decimal, locale, signal, socket
locale.setlocale(locale.LC_TIME, "C.UTF-8")
socket.setdefaulttimeout(30)
decimal.getcontext().prec = 50
decimal.getcontext().rounding = decimal.ROUND_DOWN
decimal.getcontext().traps[decimal.Inexact] = True
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.umask(0o22)
sys.setrecursionlimit(4321)
sys.set_int_max_str_digits(9876)
os.environ.update({"TZ": "Asia/Tokyo", "GIVEN": "yes"})
time.tzset()
warnings.simplefilter("error", Mine)
warnings.filterwarnings("ignore", message="clear")
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


BREAKING = {
    "PYTHONHOME": "/nowhere",
    "PYTHONHASHSEED": "none",
    "PYTHONUTF8": "perhaps",
    "PYTHONMALLOC": "unknown",
    "PYTHONIOENCODING": "unknown",
    "LD_LIBRARY_PATH": "/nowhere",
}
BREAKS = f"""
os.environ.update({BREAKING})

@action
def found():
    return [os.environ.get(name) for name in {[*BREAKING]}] + [sys.flags.hash_randomization]

print(json.dumps([told(found, mode=mode) for mode in ("sequential", "parallel")]))
"""


def test_variables_with_which_no_interpreter_starts(program: Program) -> None:
    """A worker starts as the program was; its steps find what the program has set since."""
    assert program(BREAKS, PYTHONHASHSEED="random") == [[[*BREAKING.values(), 1]]] * 2
    assert program(BREAKS, PYTHONHASHSEED="0") == [[[*BREAKING.values(), 0]]] * 2


def test_variables_where_nothing_is_known_of_the_start(program: Program) -> None:
    """The error names those which an interpreter reads."""
    unknown = "import dotflow.workers.worker as it\nit.at_start = lambda: None"
    _, (failed,) = program(unknown + BREAKS)
    read = ("PYTHON", "LD_", "DYLD_")
    names = sorted({*BREAKING, *(name for name in os.environ if name.startswith(read))})
    assert failed.endswith(
        "exited with code 1 before it began found (its interpreter reads "
        f"{', '.join(names)} when it starts: are they right?)"
    )


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
import decimal, io, locale, signal, socket

@action
def leaves():
    sys.stdout = sys.stdin = io.StringIO()
    sys.stderr = None
    locale.setlocale(locale.LC_ALL, "C")
    socket.setdefaulttimeout(0.001)
    decimal.getcontext().prec = 3
    signal.signal(signal.SIGTERM, print)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_VIRTUAL, 60)
    os.chdir("/")
    os.umask(0o777)
    os.environ.update({"LEFT": "1", "TZ": "Asia/Tokyo"})
    del os.environ["GIVEN"]
    time.tzset()
    os.environ = {"LEFT": "2"}
    sys.setrecursionlimit(3333)
    sys.set_int_max_str_digits(9999)
    sys.argv.append("left")
    warnings.simplefilter("error")

@action
def found():
    mask = os.umask(0o22)
    environment = {name: os.environ.get(name) for name in ("LEFT", "TZ", "GIVEN")}
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits(), len(warnings.filters)
    handlers = [signal.getsignal(each).name for each in (signal.SIGTERM, signal.SIGVTALRM)]
    blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    streams = [str(getattr(each, "name", None)) for each in (sys.stdin, sys.stdout, sys.stderr)]
    settings = locale.setlocale(locale.LC_ALL), socket.getdefaulttimeout()
    return [
        os.getcwd(), oct(mask), environment, time.tzname, limits, sys.argv,
        handlers, blocked, signal.getitimer(signal.ITIMER_VIRTUAL), streams, settings,
        str(decimal.getcontext()), str(decimal.Decimal(1) / 3),
    ]

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
    assert found[6:10] == [
        ["SIG_DFL", "SIG_DFL"],
        [],
        [0, 0],
        ["<stdin>", "<stdout>", "<stderr>"],
    ]
    assert found[-1] == "0." + "3" * 28


def test_numbers_with_the_precision_of_the_program(program: Program) -> None:
    """A kept worker follows it from run to run, and no attempt's change of it stays."""
    assert program("""
import decimal

@action
def third():
    found = str(decimal.Decimal(1) / 3)
    decimal.getcontext().prec = 2
    return found

first = told(third, third)
decimal.getcontext().prec = 40
second = told(third, third)
decimal.getcontext().prec = 28
print(json.dumps([[len(each) for each in run] for run in (first, second, told(third, third))]))
""") == [[30, 30], [42, 42], [30, 30]]


def test_a_step_waits_for_a_signal_that_it_blocks(program: Program) -> None:
    """No thread of a worker's own takes it, with its default action, in place of the step."""
    source = """
import signal

@action(timeout=30)
def waits():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    return signal.sigwait({signal.SIGUSR1}).name

print(json.dumps(told(waits, waits)))
"""
    assert program(source) == ["SIGUSR1", "SIGUSR1"]


def test_a_step_puts_something_else_in_the_place_of_variables(program: Program) -> None:
    """So may the program itself, with what are no variables: workers get those that are."""
    assert program("""
@action
def variables():
    return os.environ.get("MINE"), os.environ.get("NUMBER")

os.environ = {"MINE": "1", "NUMBER": 2, 3: "three", "PATH": os.environ["PATH"]}
print(json.dumps(told(variables)))
""") == [["1", None]]


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


@pytest.mark.parametrize("folder", [".", "lib/site-packages"])
def test_a_module_that_was_loaded_again(folder: str, program: Program, tmp_path: Path) -> None:
    """Kept workers have its new code, be it the step's or one that the step uses, or installed."""
    source = "from dotflow import action\n@action\ndef step():\n    return 'one'\n"
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "helpers.py").write_text(source)
    change_path = f"sys.path.append({folder!r})"
    source = """
import helpers, importlib

@action
def uses():
    return helpers.step.func(), os.getpid()

def change(old, new):
    path = Path(helpers.__file__)
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
"""
    expected = [[["one", "one"], ["one", "one"], ["second"] * 2, ["the third"] * 2], True, 3]
    assert program(change_path + source) == expected


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
