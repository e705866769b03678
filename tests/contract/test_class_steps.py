"""Contract section 6.1: steps that give an object with `@action` methods."""

from __future__ import annotations

import array
import contextlib
import functools
import re
import threading
import time
from collections import defaultdict, deque, namedtuple
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action

if TYPE_CHECKING:
    from pathlib import Path

Run = Any
Point = namedtuple("Point", "x y")  # noqa: PYI024 - the kind 1.x failed on


class _Angry:
    @property
    def value(self) -> None:
        raise RuntimeError("do not look")

    def __getattr__(self, name: str) -> None:
        raise RuntimeError(f"do not look for {name}")


def _values(context: Context) -> list[Any]:
    return [inner.storage for inner in context.storage]


def test_methods_run_in_source_order(mode: str, quiet: Config, run: Run) -> None:
    """A returned instance has its decorated methods run, in source order, and no others."""

    class Pipe:
        def __init__(self) -> None:
            self.k = 3

        @action
        def b_first(self) -> int:
            return self.k

        @action
        def a_second(self, previous_context: Context) -> int:
            return int(previous_context.storage) * 2

        def helper(self) -> None:
            raise AssertionError("helper is not decorated")

        def __repr__(self) -> str:
            return "Pipe()"

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    run(flow, mode)
    [task] = flow.result_task()
    assert task.status == "Completed", task.errors[-1].traceback
    assert _values(task.current_context) == [3, 6]


def test_each_method_has_a_context_with_an_id_of_its_own(
    mode: str, quiet: Config, run: Run
) -> None:
    """The result is a list of Context, each with its own 26-character task id."""

    @action
    class Pipe:
        @action
        def one(self) -> int:
            return 1

        @action
        def two(self) -> int:
            return 2

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    run(flow, mode)
    [task] = flow.result_task()
    contexts = task.current_context.storage
    assert isinstance(contexts, list)
    assert [type(context) for context in contexts] == [Context, Context]
    assert {len(context.task_id) for context in contexts} == {26}
    assert len({context.task_id for context in contexts} | {task.task_id}) == 3


@pytest.mark.parametrize("decorate", [action, action(retry=1)], ids=["bare", "configured"])
def test_decorated_class_as_step(decorate: Any, mode: str, quiet: Config, run: Run) -> None:
    """A decorated class is a step: it is constructed, and its decorated methods run."""

    @decorate
    class Pipe:
        def __init__(self, initial_context: Context) -> None:
            self.base = initial_context.storage

        @action
        def run(self) -> int:
            return int(self.base) + 1

        @action(retry=1)
        def again(self, previous_context: Context) -> int:
            return int(previous_context.storage) + 1

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe, initial_context=1)
    run(flow, mode)
    assert _values(flow.result_context()[0]) == [2, 3]
    assert flow.task.queue[0].name == "Pipe"


def test_methods_without_self(mode: str, quiet: Config, run: Run) -> None:
    """A method under a bare @action may be written without self, with or without contexts."""

    @action
    class Pipe:
        @action
        def run() -> str:
            return "one"

        @action
        def more(previous_context: Context) -> str:  # noqa: N805
            return f"{previous_context.storage} two"

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    run(flow, mode)
    [task] = flow.result_task()
    assert task.status == "Completed", task.errors[-1].traceback
    assert _values(task.current_context) == ["one", "one two"]


def test_contexts_of_the_methods(quiet: Config) -> None:
    """The first method sees the task's previous context, later ones the method before's.

    All see the task's initial context, and so may the constructor.
    """

    @action
    def before() -> str:
        return "before"

    @action
    class Pipe:
        def __init__(self, previous_context: Context, initial_context: Context) -> None:
            self.seen = (previous_context.storage, initial_context.storage)

        @action
        def first(self, previous_context: Context, initial_context: Context) -> Any:
            return self.seen, previous_context.storage, initial_context.storage

        @action
        def second(self, initial_context: Context, previous_context: Context) -> Any:
            return previous_context.storage[1], initial_context.storage, "end"

    flow: Any = DotFlow(config=quiet)
    flow.task.add(before)
    flow.task.add(Pipe, initial_context="initial")
    flow.start()
    assert _values(flow.result_context()[1]) == [
        (("before", "initial"), "before", "initial"),
        ("before", "initial", "end"),
    ]


def test_method_before_gives_its_own_context(quiet: Config) -> None:
    """previous_context of a later method is the Context that the method before returned."""

    @action
    class Pipe:
        @action
        def first(self) -> int:
            return 1

        @action
        def second(self, previous_context: Context) -> str | None:
            return previous_context.task_id

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    flow.start()
    first, second = flow.result_storage()[0]
    assert second.storage == first.task_id


def test_next_task_reads_the_contexts(in_process_mode: str, quiet: Config, run: Run) -> None:
    """The next task reads previous_context.storage[i].storage."""

    @action
    class Pipe:
        @action
        def one(self) -> int:
            return 1

        @action
        def two(self) -> int:
            return 2

    @action
    def after(previous_context: Context) -> list[int]:
        return [inner.storage for inner in previous_context.storage]

    flow: Any = DotFlow(config=quiet)
    flow.task.add([Pipe, after])
    run(flow, in_process_mode)
    assert flow.result_storage()[1] == [1, 2]


def test_async_methods(mode: str, quiet: Config, run: Run) -> None:
    """Methods may be coroutine functions."""

    @action
    class Pipe:
        @action
        async def one(self) -> int:
            return 1

        @action
        def two(self, previous_context: Context) -> int:
            return int(previous_context.storage) + 1

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    run(flow, mode)
    assert _values(flow.result_context()[0]) == [1, 2]


def test_retry_of_the_class_repeats_all_of_it(
    mode: str, quiet: Config, run: Run, tmp_path: Path
) -> None:
    """Retry on the class constructs it anew and runs every method again."""
    tally = tmp_path / "tally"

    @action(retry=3, retry_delay=0)
    class Pipe:
        def __init__(self) -> None:
            with tally.open("a") as file:
                file.write("i")

        @action
        def one(self) -> int:
            with tally.open("a") as file:
                file.write("1")
            return 1

        @action
        def two(self) -> int:
            with tally.open("a") as file:
                file.write("2")
            if tally.read_text().count("2") < 3:
                raise ValueError("no")
            return 2

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    run(flow, mode)
    [task] = flow.result_task()
    assert tally.read_text() == "i12i12i12"
    assert (task.status, task.retry_count) == ("Completed", 2)
    assert [(error.attempt, error.exception) for error in task.errors] == [
        (1, "ValueError"),
        (2, "ValueError"),
    ]


def test_failing_method_fails_the_task(mode: str, quiet: Config, run: Run) -> None:
    """An error of a method is the task's error, with its type and text."""

    @action
    class Pipe:
        @action
        def one(self) -> int:
            raise LookupError("gone")

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    run(flow, mode)
    [task] = flow.result_task()
    assert task.status == "Failed"
    assert [(e.attempt, e.exception, e.message) for e in task.errors] == [
        (None, "LookupError", "gone")
    ]


def test_retry_of_a_method_is_honoured(mode: str, quiet: Config, run: Run, tmp_path: Path) -> None:
    """Retry on a method repeats that method alone."""
    tally = tmp_path / "tally"

    @action
    class Pipe:
        @action
        def one(self) -> int:
            with tally.open("a") as file:
                file.write("1")
            return 1

        @action(retry=3, retry_delay=0)
        def two(self) -> int:
            with tally.open("a") as file:
                file.write("2")
            if tally.read_text().count("2") < 3:
                raise ValueError("no")
            return 2

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    run(flow, mode)
    [task] = flow.result_task()
    assert task.status == "Completed"
    assert tally.read_text() == "1222"
    assert _values(task.current_context) == [1, 2]


def test_timeout_of_a_method_is_honoured(in_process_mode: str, quiet: Config, run: Run) -> None:
    """Timeout on a method fails the task with TimeoutError when the method is over it."""
    end = threading.Event()

    @action
    class Pipe:
        @action
        def quick(self) -> int:
            return 1

        @action(timeout=0.1)
        def slow(self) -> None:
            end.wait(30)

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Pipe)
    begun = time.monotonic()
    run(flow, in_process_mode)
    took = time.monotonic() - begun
    end.set()
    [task] = flow.result_task()
    assert (task.status, task.errors[-1].exception) == ("Failed", "TimeoutError")
    assert "0.1" in task.errors[-1].message
    assert took < 20


def test_a_step_times_out_after_its_coroutine_ended(quiet: Config, run: Run) -> None:
    """A class step times out as such also where a method that is a coroutine has ended."""
    end = threading.Event()

    @action(timeout=0.3)
    class Step:
        @action
        async def a_first(self) -> None:
            """End at once."""

        @action
        def b_second(self) -> None:
            """Take too long."""
            end.wait(20)

    flow = DotFlow(config=quiet)
    flow.task.add(Step)
    run(flow, "sequential")
    end.set()
    (task,) = flow.task.queue
    assert [error.exception for error in task.errors] == ["TimeoutError"]


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        Decimal("1.5"),
        defaultdict(list, a=[1]),
        deque([1, 2]),
        SimpleNamespace(a=1),
        re.compile("a+"),
        array.array("i", [1]),
        _Angry(),
        object(),
        range(3),
        threading.Lock(),
        {"a": {1, 2}},
        int,
        len,
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_object_is_the_result_unchanged(value: object, quiet: Config) -> None:
    """An object without decorated methods is the result itself, whatever it is."""

    @action
    def step() -> object:
        return value

    flow: Any = DotFlow(config=quiet)
    flow.task.add(step)
    flow.start()
    [task] = flow.result_task()
    assert task.status == "Completed", task.errors[-1].traceback
    assert flow.result_storage()[0] is value


def test_properties_are_never_evaluated(quiet: Config) -> None:
    """Looking for decorated methods reads no property and no attribute of the instance."""
    looked = []

    class Pipe:
        @property
        def early(self) -> None:
            looked.append("early")
            raise RuntimeError("do not look")

        def __getattr__(self, name: str) -> None:
            looked.append(name)
            raise AttributeError(name)

        @action
        def run(self) -> str:
            return "ran"

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    flow.start()
    assert _values(flow.result_context()[0]) == ["ran"]
    assert "early" not in looked


def test_no_source_is_needed(mode: str, quiet: Config, run: Run) -> None:
    """A class made by exec, with no source to read, has its methods run in order."""
    names: dict[str, Any] = {"__name__": "__main__", "action": action}
    exec(  # noqa: S102 - a class without a source file is the point
        "@action\n"
        "class Pipe:\n"
        "    @action\n"
        "    def z(self): return 1\n"
        "    @action\n"
        "    def a(self, previous_context): return previous_context.storage + 1\n",
        names,
    )
    flow: Any = DotFlow(config=quiet)
    flow.task.add(names["Pipe"])
    run(flow, mode)
    [task] = flow.result_task()
    assert task.status == "Completed", task.errors[-1].traceback
    assert _values(task.current_context) == [1, 2]


def test_inherited_methods_run(quiet: Config) -> None:
    """Decorated methods of a base class run as well; one that is overridden runs once."""

    class Base:
        @action
        def shared(self) -> str:
            return "base"

        @action
        def own(self) -> str:
            return "own"

    class Pipe(Base):
        @action
        def shared(self) -> str:
            return "derived"

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    flow.start()
    assert sorted(_values(flow.result_context()[0])) == ["derived", "own"]


def test_instance_without_decorated_methods_is_the_result(
    mode: str, quiet: Config, run: Run
) -> None:
    """A decorated class without decorated methods gives its instance."""

    @action
    class Plain:
        def __init__(self) -> None:
            self.value = 5

    flow: Any = DotFlow(config=quiet)
    flow.task.add(Plain)
    run(flow, mode)
    assert flow.result_storage()[0].value == 5


def _wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def _unnamed(function: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class _Span(contextlib.ContextDecorator):
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


class _Wrapper:
    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


@pytest.mark.parametrize(
    "wrap",
    [
        _wrapped,
        _unnamed,
        _Span(),
        _Wrapper,
        lambda function: _wrapped(_Span()(_wrapped(function))),
        lambda function: functools.update_wrapper(functools.partial(function), function),
    ],
    ids=["wraps", "no wraps", "context", "instance", "several", "partial"],
)
def test_wrapped_methods_get_their_instance(wrap: Any, mode: str, quiet: Config, run: Run) -> None:
    """Whatever has wrapped a method below `@action`, as without it."""

    class Pipe:
        start = 3

        @action
        @wrap
        def first(self) -> int:
            return self.start

        @action(retry=2)
        @wrap
        def second(self) -> int:
            return self.start + 1

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    run(flow, mode)
    [task] = flow.result_task()
    assert task.status == "Completed", task.errors[-1].traceback
    assert _values(task.current_context) == [3, 4]


def test_wrapped_methods_of_other_kinds(quiet: Config) -> None:
    """Those without `self`, of the class, static ones and coroutines are as without a wrapper."""

    class Pipe:
        start = 3

        @action
        @_wrapped
        def without() -> int:  # type: ignore[misc] # the contract's own kind
            return 1

        @action
        @_wrapped
        def previous(previous_context: Context) -> int:  # noqa: N805 # type: ignore[misc] # likewise
            return int(previous_context.storage) + 1  # type: ignore[attr-defined]

        @classmethod
        @action
        @_wrapped
        def of_the_class(cls) -> int:
            return cls.start

        @staticmethod
        @action
        @_wrapped
        def static() -> int:
            return 4

        @action
        @_wrapped
        async def coroutine(self, previous_context: Context) -> int:
            return int(previous_context.storage) + self.start - 2

        @action
        @functools.cache  # noqa: B019 - it is the wrapper that is asked for here
        def cached(self) -> int:
            return self.start + 3

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    flow.start()
    [task] = flow.result_task()
    assert task.status == "Completed", task.errors[-1].traceback
    assert _values(task.current_context) == [1, 2, 3, 4, 5, 6]


def test_a_bound_method_is_bound_once(quiet: Config) -> None:
    """An action of a method of another instance stays that one's."""

    class Other:
        def value(self) -> str:
            return type(self).__name__

    class Pipe:
        run = action(Other().value)

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    flow.start()
    assert _values(flow.result_context()[0]) == ["Other"]


def test_a_static_type_hides_an_action_behind_it(quiet: Config) -> None:
    """As it does for Python itself: `dict.get` comes before `get` of the base after it."""

    class Base:
        @action
        def get(self) -> int:
            return 1

        @action
        def other(self) -> int:
            return 2

    class Pipe(dict[str, int], Base): ...

    @action
    def build() -> Pipe:
        return Pipe()

    flow: Any = DotFlow(config=quiet)
    flow.task.add(build)
    flow.start()
    assert _values(flow.result_context()[0]) == [2]
