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


# What each step says of what the script defines, and is the same in every mode.
KINDS = """
import abc, contextvars, ctypes, dataclasses, enum, functools, struct, threading, typing, weakref
from typing import Generic, NamedTuple, ParamSpec, Protocol, TypedDict, TypeVar, TypeVarTuple

class Tables(type):
    def __new__(cls, name, bases, namespace, *, table):
        return super().__new__(cls, name, bases, namespace)
    def __init__(cls, name, bases, namespace, *, table):
        cls.table = table

class User(metaclass=Tables, table="users"):
    def described(self):
        return self.table

@action
def metaclass_with_keywords():
    return User().described()

class Shop:
    kinds = {}
    def __init_subclass__(cls, *, kind, **keywords):
        super().__init_subclass__(**keywords)
        if not [name for name in vars(cls) if name.startswith("on_")]:
            raise TypeError("a shop has an event")
        Shop.kinds.setdefault(kind, []).append(cls.__name__)

class Book(Shop, kind="book"):
    def on_sale(self):
        return "sold"

class Paper(Book, kind="book"):
    def on_return(self):
        return "returned"

@action
def subclasses_with_keywords():
    return [Paper().on_sale(), Shop.kinds]

class Field:
    def __set_name__(self, owner, name):
        self.told = [*getattr(self, "told", []), f"{owner.__name__}.{name}"]
    def __get__(self, instance, owner=None):
        return self.told

class Collects(type):
    known = {}
    def __new__(cls, name, bases, namespace):
        fields = {key: namespace.pop(key) for key in [*namespace] if key[:1] == "f"}
        if bases and not fields:
            raise TypeError("no fields")
        made = super().__new__(cls, name, bases, namespace)
        made.fields = fields
        cls.known[name] = made
        return made
    def __setattr__(cls, name, value):
        if name in vars(cls):
            raise AttributeError(name)
        super().__setattr__(name, value)

class Model(metaclass=Collects):
    pass

class Row(Model):
    first = 1
    other = Field()

@action
def metaclass_with_ideas():
    return [Row.fields, Row.other, Collects.known["Row"] is Row, [*Collects.known]]

class Base(TypedDict):
    one: int

class Below(Base, total=False):
    two: str

Functional = TypedDict("Functional", {"a-b": int})

@action
def typed_dictionaries() -> Below:
    keys = [sorted(Below.__required_keys__), sorted(Below.__optional_keys__)]
    return [Below(one=1), *keys, [*Functional.__annotations__]]

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

class Call(Generic[P, T]):
    def __init__(self, function: typing.Callable[P, T]) -> None:
        self.function = function

def traced(function: typing.Callable[P, T]) -> typing.Callable[P, T]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)
    return wrapper

@traced
def doubled(number: int) -> int:
    return 2 * number

class Pair(NamedTuple, Generic[T]):
    left: T
    right: T = 2
    def total(self):
        return self.left + self.right

class Array(Generic[typing.Unpack[Ts]]):
    pass

@action
def generics():
    same = Call.__parameters__ == (P, T)
    return [Call(doubled).function(2), same, str(Array[int, str].__args__), Pair(1).total()]

tenant = contextvars.ContextVar("tenant", default="nobody")
user = contextvars.ContextVar("user")
user.set("caller")

@action
def context_variables():
    token = tenant.set("step")
    seen = [tenant.get(), user.get()]
    tenant.reset(token)
    return [*seen, tenant.get()]

class Cache(threading.local):
    def __init__(self, size=3):
        self.size = size

local = threading.local()
local.name = "main"
cache = Cache(4)

@action
def locals_of_threads():
    others = []
    thread = threading.Thread(target=lambda: others.append([hasattr(local, "name"), cache.size]))
    thread.start()
    thread.join()
    return [local.name, cache.size, others[0][0]]

@dataclasses.dataclass(slots=True, frozen=True, order=True)
class Point:
    x: int
    y: list = dataclasses.field(default_factory=list, compare=False)

class Slots:
    __slots__ = ("__private", "open")
    def __init__(self):
        self.__private = 1
    def free(self):
        try:
            self.other = 1
        except AttributeError:
            return self.__private

@action
def slots():
    return [Point(1) < Point(2), dataclasses.asdict(Point(1)), Slots().free()]

@typing.runtime_checkable
class Closes(Protocol):
    def close(self): ...

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

@Shape.register
class Square:
    def close(self): ...

@action
def interfaces():
    try:
        Shape()
    except TypeError:
        return [isinstance(Square(), Shape), isinstance(Square(), Closes), isinstance(1, Closes)]

class Node:
    def name(self):
        return "root"

root = Node()
reference, method = weakref.ref(root), weakref.WeakMethod(root.name)
nodes = weakref.WeakSet([root])

def dead():
    return weakref.ref(Node())

gone = dead()

@action
def weak_references():
    return [reference() is root, method()(), root in nodes, gone()]

class Actions(enum.Enum):
    ADD = enum.member(lambda left, right: left + right)
    @classmethod
    def _missing_(cls, value):
        return cls.ADD

@action
def functions_as_members():
    return [Actions.ADD.value(1, 2), Actions("other") is Actions.ADD]

class Header(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("kind", ctypes.c_char), ("size", ctypes.c_int)]

LAYOUT = struct.Struct("<i")

@action
def layouts():
    return [ctypes.sizeof(Header), Header(b"a", 2).size, LAYOUT.unpack(b"1234")]

@functools.total_ordering
class Version:
    def __init__(self, number):
        self.number = number
    def __eq__(self, other):
        return self.number == other.number
    def __lt__(self, other):
        return self.number < other.number

@action
def orderings():
    return [Version(1) <= Version(2), Version(1) >= Version(2)]

class Proxy:
    @property
    def __class__(self):
        return Version if Proxy.__name__ == "Proxy" else int
    @property
    def __name__(self):
        return "proxied"

@action
def names_that_classes_have_too():
    return [isinstance(Proxy(), Version), Proxy().__name__, Proxy.__name__]

STEPS = [each for each in list(globals().values()) if isinstance(each, action)]

if __name__ == "__main__":
    _, results = told(*STEPS, mode=sys.argv[1])
    print(json.dumps({step.name: result for step, result in zip(STEPS, results)}))
"""


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
def test_kinds_of_definitions(mode: str, program: Program) -> None:
    """What made them runs once, in the script; in workers they are what they have become."""
    assert program(KINDS, ("program.py", mode)) == {
        "metaclass_with_keywords": "users",
        "subclasses_with_keywords": ["sold", {"book": ["Book", "Paper"]}],
        "metaclass_with_ideas": [{"first": 1}, ["Row.other"], True, ["Model", "Row"]],
        "typed_dictionaries": [{"one": 1}, ["one"], ["two"], ["a-b"]],
        "generics": [4, True, "(<class 'int'>, <class 'str'>)", 3],
        "context_variables": ["step", "caller", "nobody"],
        "locals_of_threads": ["main", 4, False],
        "slots": [True, {"x": 1, "y": []}, 1],
        "interfaces": [True, True, False],
        "weak_references": [True, "root", True, None],
        "functions_as_members": [3, True],
        "layouts": [5, 2, [875770417]],
        "orderings": [True, False],
        "names_that_classes_have_too": [True, "proxied", "Proxy"],
    }


def test_objects_of_such_definitions_come_back(program: Program) -> None:
    """As those of this process, in which nothing is defined again meanwhile."""
    assert program("""
from typing import NamedTuple

class Base:
    known = []
    def __init_subclass__(cls, *, kind):
        Base.known.append(kind)

class Own(Base, kind="own"):
    __slots__ = ("value",)

class Meta(type):
    def __new__(cls, name, bases, namespace, *, table):
        Base.known.append(table)
        return super().__new__(cls, name, bases, namespace)
    def __init__(cls, *args, **keywords):
        pass

class Row(metaclass=Meta, table="rows"):
    pass

class Gone(Exception, Base, kind="error"):
    pass

@action
def step():
    own = Own()
    own.value = 1
    return [own, Row()]

@action
def fails():
    raise Gone("now")

if __name__ == "__main__":
    flow, results = told(step, fails, fails, workers=2)
    own, row = results[0]
    errors = [type(task.failure.exception) is Gone for task in flow.result_task()[1:]]
    print(json.dumps([type(own) is Own, own.value, type(row) is Row, errors, Base.known]))
""") == [True, 1, True, [True, True], ["own", "rows", "error"]]


def test_a_library_makes_the_classes_that_are_below_its_own(
    program: Program, tmp_path: Path
) -> None:
    """In the worker too, which imports it; where it needs what only a definition has, none does."""
    (tmp_path / "library.py").write_text("""
plugins, tables = [], []

class Plugin:
    def __init_subclass__(cls, **keywords):
        plugins.append(cls.__name__)

class Named:
    def __init_subclass__(cls, *, name):
        cls.name = name

class Meta(type):
    def __new__(cls, name, bases, namespace, **keywords):
        tables.append(name)
        return super().__new__(cls, name, bases, namespace)

class Strict(type):
    def __new__(cls, name, bases, namespace, *, name_of):
        made = super().__new__(cls, name, bases, namespace)
        made.name = name_of
        return made
    def __init__(cls, *args, **keywords):
        pass
""")
    assert program("""
import library

class One(library.Plugin):
    pass

class Two(library.Named, name="two"):
    pass

class Three(metaclass=library.Meta):
    pass

class Four(metaclass=library.Strict, name_of="four"):
    pass

@action
def step():
    named = [each().__class__.__name__ for each in (One, Two, Three, Four)]
    return [named, library.plugins, library.tables, Two.name, Four.name]

if __name__ == "__main__":
    print(json.dumps(told(step)[1]))
""") == [[["One", "Two", "Three", "Four"], ["One"], ["Three"], "two", "four"]]


def test_what_cannot_be_elsewhere_is_named(program: Program) -> None:
    """With what to do."""
    results = program("""
import queue, re, threading
lock, jobs, match = threading.Lock(), queue.Queue(), re.match("a", "a")

@action
def locks():
    return lock

@action
def waits():
    return jobs

@action
def matches():
    return match

if __name__ == "__main__":
    print(json.dumps(told(locks, waits, matches)[1]))
""")
    expected = [
        "'lock' (_thread.lock)",
        "'jobs' (queue.Queue), the attribute",
        "'match' (re.Match)",
    ]
    for told, named in zip(results, expected, strict=True):
        assert f"cannot travel to another process because of the global {named}" in told
        assert told.endswith("Make it inside the step, or pass what it is made from.")


def test_generators_of_random_numbers_in_contexts(program: Program) -> None:
    """So do tasks that find one in their context, and classes that are derived from it."""
    runs = program("""
import random

class Own(random.Random):
    def picked(self):
        return self.random()

class Simulation:
    def __init__(self, generator):
        self.generator = generator

own = Own(5)

@action
def draws_own():
    return own.picked()

@action
def draws(initial_context):
    return initial_context.storage.random()

@action(retry=2, retry_delay=0)
def fails_once(initial_context):
    drawn = initial_context.storage["simulation"].generator.random()
    if not os.path.exists(f"{os.getcwd()}/failed"):
        open(f"{os.getcwd()}/failed", "w").close()
        raise ValueError(drawn)
    return drawn

if __name__ == "__main__":
    results = [
        told(*[draws_own] * 3, workers=2)[1],
        told(*[draws] * 3, workers=2, initial_context=random.Random(5))[1],
        told(*[draws] * 3, workers=2, initial_context=Own(5))[1],
    ]
    given = {"simulation": Simulation(random.Random(5))}
    flow, last = told(fails_once, fails_once, initial_context=given)
    failed = [float(task.errors[0].message) for task in flow.result_task() if task.retry_count]
    print(json.dumps([*results, [*failed, *last], random.Random(5).random()]))
""")
    *runs, expected = runs
    for drawn in runs:
        assert drawn[0] == expected
        assert len(set(drawn)) == 3
