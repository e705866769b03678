"""What a main module defines is in workers what it is here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Program = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[2]

PREAMBLE = """\
import json, multiprocessing, os, sys
from dotflow import Config, DotFlow, action
from dotflow.providers import ExecutorLocal, LogDefault

def told(*steps, mode="parallel", workers=1, **options):
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=ExecutorLocal(workers=workers)))
    flow.task.add(list(steps), **options)
    flow.start(mode=mode, keep_going=True)
    tasks = flow.result_task()
    return flow, [t.errors[-1].message if t.errors else t.current_context.storage for t in tasks]
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return a function that runs a program; it returns what the last line says."""

    def run(source: str, arguments: Sequence[str] = ("program.py",)) -> Any:
        (tmp_path / "program.py").write_text(PREAMBLE + source)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=PREAMBLE + source,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


HELPERS = """
import contextlib, functools

@contextlib.contextmanager
def span(name):
    yield name

@functools.cache
def settings():
    return {"rate": 2}

@functools.lru_cache
def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

@functools.singledispatch
def shown(value):
    return "any"

@shown.register
def _(value: list):
    return [shown(each) for each in value]

class Order:
    def __init__(self, price):
        self.price = price

    @functools.cached_property
    def total(self):
        return self.price * settings()["rate"]

    @functools.lru_cache(maxsize=3)
    def times(self, factor):
        return self.price * factor

    double = functools.partialmethod(times, 2)

    @classmethod
    @functools.cache
    def named(cls):
        return cls.__name__

    @functools.singledispatchmethod
    def shown(self, value):
        return "any"

    @shown.register
    def _(self, value: int):
        return "int"

    @span("pay")
    def paid(self):
        return "paid"

@action
def functions():
    return [settings(), fibonacci(20), shown([1, [2]])]

@action
def methods():
    order = Order(3)
    calls = [order.times(4), order.double(), order.named(), order.paid()]
    return [order.total, *calls, order.shown(1), order.shown("x"), Order.times.cache_info()[2]]

@action
@functools.lru_cache
def cached():
    return 1

@action
@span("work")
def in_a_span():
    return 1

print(json.dumps(told(functions, methods, cached, in_a_span, mode=MODE)[1]))
"""


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_helpers_that_decorators_have_made(mode: str, program: Program) -> None:
    """Caches, properties, dispatching functions and context managers work as in this process."""
    expected = [
        [{"rate": 2}, 6765, ["any", ["any"]]],
        [6, 12, 6, "Order", "paid", "int", "any", 3],
        1,
        1,
    ]
    assert program(f"MODE = {mode!r}{HELPERS}") == expected


CLASSES = """
import collections, dataclasses, enum, functools, pickle
from concurrent.futures import ProcessPoolExecutor

class Point:
    made = 0
    def __init__(self, x):
        self.x = x
    def scaled(self):
        return self.x * FACTOR
    class Inner:
        pass

class Kind(enum.Enum):
    A = 1

@dataclasses.dataclass
class Data:
    number: int

Pair = collections.namedtuple("Pair", "a b")

class Bad(Exception):
    pass

FACTOR = 3

def moved(point):
    return Point(point.x + 1)

@functools.cache
def doubled(number):
    return 2 * number

def of_each_kind():
    return [Point(1), Point.Inner(), Kind.A, Data(1), Pair(1, 2), Bad("x"), moved, doubled]

def kinds(values):
    return [getattr(each, "__qualname__", type(each).__qualname__) for each in values]

@action
def pickles():
    return kinds(pickle.loads(pickle.dumps(each)) for each in of_each_kind())

@action
def returns():
    Point.made = 5
    return of_each_kind()[:-2]

@action
def raises():
    raise Bad("told")

@action
def pools():
    results = []
    for method in METHODS:
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            results.append(pool.submit(moved, Point(1)).result(30).x)
    return results

if __name__ == "__main__":
    flow, results = told(pickles, returns, raises, pools)
    FACTOR = 5
    point, inner, kind, data, pair, bad = results[1]
    print(json.dumps([
        results[0], results[2:],
        [type(point) is Point, point.scaled(), Point.made, type(inner) is Point.Inner],
        [kind is Kind.A, data == Data(1), type(pair) is Pair, type(bad) is Bad],
        type(flow.result_task()[2].failure.exception) is Bad,
    ]))
"""

EXPECTED = [
    ["Point", "Point.Inner", "Kind", "Data", "Pair", "Bad", "moved", "doubled"],
    ["told", [2, 2, 2]],
    [True, 5, 0, True],
    [True, True, True, True],
    True,
]


@pytest.mark.parametrize("arguments", [["program.py"], ["-m", "program"]], ids=" ".join)
def test_objects_of_its_classes(arguments: list[str], program: Program) -> None:
    """A step pickles them, for pools of its own too; and they come back as those of this process.

    However such a pool starts its processes: those that are not forked import the program.
    """
    assert program(f"METHODS = ['fork', 'spawn', 'forkserver']\n{CLASSES}", arguments) == EXPECTED


def test_objects_of_a_program_without_a_file(program: Program) -> None:
    """One that is piped in, or a notebook, has pools that fork."""
    expected = [*EXPECTED[:1], ["told", [2]], *EXPECTED[2:]]
    assert program(f"METHODS = ['fork']\n{CLASSES}", ["-"]) == expected


def test_objects_of_an_archive(program: Program, tmp_path: Path) -> None:
    """So has one that is an archive."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__main__.py").write_text(f"{PREAMBLE}METHODS = ['fork']\n{CLASSES}")
    zipapp.create_archive(folder, tmp_path / "app.pyz")
    expected = [*EXPECTED[:1], ["told", [2]], *EXPECTED[2:]]
    assert program("", ["app.pyz"]) == expected


def test_a_definition_that_changes_between_runs(program: Program) -> None:
    """As cells of a notebook do: a kept worker has the latest one, and none of before."""
    assert program("""
import pickle
executor = ExecutorLocal(workers=1)

def run(step):
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=executor))
    flow.task.add(step)
    flow.start(mode="parallel")
    return flow.result_storage()[0]

class Point:
    def value(self):
        return "old"

class Other:
    pass

def seen():
    value = pickle.loads(pickle.dumps(Point())).value()
    return value, sorted({"Point", "Other"} & set(vars(sys.modules["__main__"])))

@action
def step():
    Other()
    return seen()

first = run(step)

class Point:
    def value(self):
        return "new"

@action
def step():
    return seen()

print(json.dumps([first, run(step)]))
""") == [["old", ["Other", "Point"]], ["new", ["Point"]]]


def test_an_unguarded_program_with_a_pool_that_imports_it(program: Program) -> None:
    """Its children refuse to begin the run, so that there is an end."""
    results = program(f"""
METHODS = ["spawn"]
{CLASSES.replace('if __name__ == "__main__":', "if True:")}
""")
    assert "terminated abruptly" in results[1][1]


def test_generators_of_random_numbers(program: Program) -> None:
    """Tasks that share one draw different numbers, which the generator's seed decides."""
    runs = program("""
import random
shared = random.Random()

@action
def draw():
    return shared.random()

@action
def draw_too():
    return shared.random()

runs = []
for seed in (5, None, 5):
    if seed is not None:
        shared.seed(seed)
    runs.append(told(draw, draw, draw_too, draw_too, workers=2)[1])
print(json.dumps([*runs, random.Random(5).random()]))
""")
    first, second, third, expected = runs
    assert first == third
    assert first[0] == expected
    assert len({*first, *second}) == 8


TYPES = """
import enum
from typing import NewType

UserId = NewType("UserId", int)

class Planet(enum.Enum):
    EARTH = (6.0, 3.0)
    MARS = (1.0, 2.0)

    def __init__(self, mass, radius):
        self.mass, self.radius = mass, radius

    @property
    def density(self):
        return self.mass / self.radius

class Coordinate(bytes, enum.Enum):
    def __new__(cls, value, label):
        made = bytes.__new__(cls, [value])
        made._value_, made.label = value, label
        return made

    X = (0, "P.X")

class Color(enum.Flag):
    RED = 1
    BLUE = 2

@action
def step() -> UserId:
    both = Color.RED | Color.BLUE
    return [UserId(7), Planet.EARTH.density, Coordinate.X.label, both.value, Planet.MARS]

if __name__ == "__main__":
    _, ((*plain, member),) = told(step, mode=sys.argv[1])
    print(json.dumps([*plain, member is Planet.MARS]))
"""


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_types_of_the_script(mode: str, program: Program) -> None:
    """Members of enumerations have what their `__init__` or `__new__` set; new types are known."""
    assert program(TYPES, ("program.py", mode)) == [7, 2.0, "P.X", 3, True]
