"""Helpers that the standard library's decorators have made, on their way to another process."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import random
import subprocess
import sys
import weakref
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.core.exception import PicklingFailed
from dotflow.workers.pickling import dump, dump_step, load, load_step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


# Not for secrets.
Seeded = random.Random


def there_and_back(value: Any, **options: Any) -> Any:
    """Return what another process would read."""
    return load(dump(value, "it", **options), "it")


@functools.cache
def importable(number: int) -> int:
    """Return a number."""
    return number


@contextlib.contextmanager
def span(*names: str, **more: str) -> Iterator[tuple[Any, ...]]:
    """Return what was passed."""
    yield (names, more)


def test_a_cache_arrives_empty() -> None:
    """A cached function comes with its size and its attributes, and finds itself."""

    @functools.lru_cache(maxsize=7, typed=True)
    def fibonacci(number: int) -> int:
        """Count rabbits."""
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    fibonacci(20)
    fibonacci.owner = "somebody"  # type: ignore[attr-defined]
    there = there_and_back(fibonacci)
    assert there.cache_info() == (0, 0, 7, 0)
    assert there.cache_parameters() == {"maxsize": 7, "typed": True}
    assert (there.__name__, there.__doc__, there.owner) == (
        "fibonacci",
        "Count rabbits.",
        "somebody",
    )
    assert there(10) == 55
    assert there.cache_info().hits == 8


def test_a_cache_of_a_module_goes_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the other process cannot import that module."""
    # The lambda has it travel by value.
    assert there_and_back([importable, lambda: 1])[0] is importable
    module = ModuleType("only_here")
    exec("import functools\n@functools.cache\ndef one(): return 1\n", vars(module))  # noqa: S102
    monkeypatch.setitem(sys.modules, "only_here", module)
    there = there_and_back(module.one, by_value=[module])
    assert (there is module.one, there()) == (False, 1)


def test_a_cache_without_a_name() -> None:
    """A cached `partial` has none, and travels."""
    there = there_and_back([functools.lru_cache(functools.partial(max, 2)), lambda: 1])[0]
    assert (there(1), there(3)) == (2, 3)


def test_a_function_that_dispatches() -> None:
    """It finds itself, has all that was registered, and takes more."""

    @functools.singledispatch
    def walked(value: object) -> object:
        return value

    @walked.register
    def _(value: list) -> object:  # type: ignore[type-arg]
        return [walked(each) for each in value]

    @walked.register
    def _(value: int) -> object:
        return -value

    assert walked([1, "x", [2]]) == [-1, "x", [-2]]  # which fills its cache
    there = there_and_back(walked)
    assert there([1, "x", [2]]) == [-1, "x", [-2]]
    there.register(str, lambda value: value * 2)
    assert there(["x"]) == ["xx"]


def test_a_context_manager_as_decorator() -> None:
    """It is made again of what it was made of, of any kind and with a state of its own."""
    entered = []

    @contextlib.contextmanager
    def local(name: str) -> Iterator[None]:
        entered.append(name)
        yield

    @contextlib.asynccontextmanager
    async def later(name: str) -> AsyncIterator[str]:
        yield name

    @local("outer")
    @span("inner", more="x")
    def decorated() -> list[str]:
        return entered

    @later("x")
    async def coroutine() -> int:
        return 1

    assert there_and_back(decorated)() == ["outer"]
    assert there_and_back(decorated)() == ["outer"]
    with pytest.raises(StopIteration) as ended:
        there_and_back(coroutine)().send(None)
    assert ended.value.value == 1
    with there_and_back([span("a", b="c"), lambda: 1])[0] as given:
        assert given == (("a",), {"b": "c"})


def test_a_context_manager_that_was_entered() -> None:
    """It belongs to this process."""
    manager = span("x")
    with manager, pytest.raises(PicklingFailed, match="has been entered cannot be pickled"):
        there_and_back([manager, lambda: 1])


def test_weak_dictionaries() -> None:
    """They arrive with those of their entries that something else holds."""

    class Key:
        pass

    key, other = Key(), Key()
    keys: Any = weakref.WeakKeyDictionary({key: 1, other: 2})
    values: Any = weakref.WeakValueDictionary({"key": key, "other": other})
    there_key, there_keys, there_values = there_and_back((key, keys, values))
    assert dict(there_keys) == {there_key: 1}
    assert dict(there_values) == {"key": there_key}


# --- random numbers -------------------------------------------------------------------


def drawing(generator: random.Random) -> Any:
    """Return a function that draws."""
    return lambda: (generator.random(),)[0]


def test_the_first_copy_goes_on_from_the_generator() -> None:
    """The generator here moves on, so a later copy has other numbers; both can be repeated."""
    numbers = []
    for _ in range(2):
        generator = Seeded(5)
        copies = [load(dump_step(drawing(generator), "it")[0], "it") for _ in range(3)]
        numbers.append([copy() for copy in copies])
    assert numbers[0] == numbers[1]
    assert numbers[0][0] == Seeded(5).random()
    assert len(set(numbers[0])) == 3


def test_copies_with_seeds() -> None:
    """Read with a seed for each of its generators, a copy has the numbers of these."""
    one, other = Seeded(1), Seeded(2)
    data, generators = dump_step(lambda: (one.random(), other.random()), "it")
    assert list(generators) == [one, other]
    first = load(data, "it")()
    assert first == (Seeded(1).random(), Seeded(2).random())
    seeded = load_step(data, "it", (7, 8))()
    assert seeded == (Seeded(7).random(), Seeded(8).random())
    assert load(data, "it")() == first


def test_the_generator_of_the_system() -> None:
    """It has no state, and travels."""
    system = random.SystemRandom()
    assert 0 <= there_and_back(drawing(system))() < 1


class Sampler:
    """What holds a generator, and can be imported."""

    def __init__(self) -> None:
        self.generator = Seeded(5)

    def draw(self) -> float:
        """Return the next number."""
        return self.generator.random()


def test_a_generator_in_what_goes_by_name() -> None:
    """It is found as well in an object whose class travels by name."""
    sampler = Sampler()
    data, generators = dump_step(sampler.draw, "it")
    assert list(generators) == [sampler.generator]
    assert load(data, "it")() == Seeded(5).random()


class Value:
    """Something that can be referred to weakly, as a context variable cannot."""


READS = """
import gc, pickle, sys, weakref
from dotflow.workers.pickling import load

alive = weakref.WeakSet()
most = 0
for payload in pickle.load(sys.stdin.buffer):
    step = load(payload, "it")
    alive.add(step())
    del step
    most = max(most, len(alive))
gc.collect()
print(len(payload) > 0, most < 2500, len(alive) < 1500)
"""


def test_variables_of_contexts_that_nobody_has_any_more_go() -> None:
    """A service that makes its steps anew for each run does not grow by them, nor its workers."""
    alive: weakref.WeakSet[Value] = weakref.WeakSet()

    def made(number: int) -> bytes:
        value = Value()
        alive.add(value)
        variable = ContextVar(f"request_{number % 7}", default=value)

        def step() -> Value:
            return variable.get()

        return dump(step, "it", by_name=False)

    payloads = [made(number) for number in range(10_000)]
    gc.collect()
    assert len(alive) < 1500
    done = subprocess.run(
        [sys.executable, "-c", READS],
        input=pickle.dumps(payloads),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"True True True\n", b"")


def test_a_variable_that_is_used_stays_the_same() -> None:
    """However many others come and go meanwhile."""
    kept = ContextVar("kept", default=0)
    first = there_and_back(lambda: kept)()
    for number in range(3000):
        own = ContextVar(f"own_{number}")
        there_and_back(lambda own=own: own)
        assert there_and_back(lambda: kept)() is first
    assert first is kept
