"""Random workflows: what their tasks are to do, and steps that do it and note what they were given.

Steps note in a file each, so that what ran in a worker is known as well.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from dotflow import Context, action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MODES: Final = ("sequential", "sequential_group", "background", "parallel")
_LONGEST: Final = 200
LIMIT: Final = 0.05  # seconds, of a step that takes longer than any test


class Demanding(Exception):
    """An error that does not pickle by itself: it is made of two arguments, and keeps none."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


class Error(NamedTuple):
    """How an attempt fails.

    Attributes:
        make: Makes what it raises; None: it takes too long.
        name: What the task's error is called.
        message: What it says; None: of dotflow's own.
        type: What telemetry calls it.
    """

    make: Callable[[], Exception] | None
    name: str
    message: str | None
    type: str


LATE: Final = Error(None, "TimeoutError", None, "timeout")
STOP: Final = Error(lambda: StopIteration(1), "StopIteration", "1", "StopIteration")
# What Python makes of it in a coroutine.
STOPPED: Final = Error(None, "RuntimeError", "coroutine raised StopIteration", "RuntimeError")
ERRORS: Final = (
    Error(lambda: KeyError("k"), "KeyError", "'k'", "KeyError"),
    Error(lambda: RuntimeError(""), "RuntimeError", "", "RuntimeError"),
    Error(lambda: ValueError("a\n\u2028\ud800"), "ValueError", "a\n\u2028\ud800", "ValueError"),
    Error(lambda: AssertionError("no"), "AssertionError", "no", "AssertionError"),
    Error(lambda: TimeoutError("own"), "TimeoutError", "own", "TimeoutError"),
    STOP,
    Error(lambda: Demanding("x", "y"), "Demanding", "x: y", f"{__name__}.Demanding"),
    Error(
        lambda: ExceptionGroup("all", [OSError(2, "gone"), KeyError()]),
        "ExceptionGroup",
        "all (2 sub-exceptions)",
        "ExceptionGroup",
    ),
)


class Value(NamedTuple):
    """What a step returns.

    Attributes:
        make: Makes it.
        shape: What becomes of it, as `shape` has it.
    """

    make: Callable[[], Any]
    shape: str


def shape(value: Any) -> str:
    """Return a text that tells a value with its types, contexts without ids and times."""
    if isinstance(value, Context):
        return f"Context({shape(value.storage)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {shape(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(shape, value))}]"
    # Of a long integer Python refuses to make decimal digits.
    text = hex(value) if type(value) is int else repr(value)
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... of {len(text)}"
    return f"{type(value).__name__}:{short}"


def _value(make: Callable[[], Any]) -> Value:
    return Value(make, shape(make()))


# That last: lists and mappings may be changed by whoever gets them.
PLAIN: Final = tuple(
    map(
        _value,
        (
            lambda: None,
            lambda: 0,
            lambda: "",
            lambda: False,
            lambda: float("nan"),
            lambda: -0.0,
            lambda: -(10**5_000),
            lambda: "\ud800\0",
            lambda: b"\0" * 100_000,
            lambda: (1, (2, {"$type": 3})),
            lambda: {1: "a", "1": [None]},
            lambda: frozenset({b"x"}),
            lambda: Decimal("sNaN1"),
            lambda: UUID(int=7),
            lambda: Path("../a"),
            lambda: SimpleNamespace(a=[1]),
            lambda: KeyError("as a value"),
            lambda: NotImplemented,
            lambda: int,
            list,
            lambda: [Context(storage={"in": []}), [Context()]],
        ),
    )
)
# Those that are run to their end, or unwrapped.
DEFERRED: Final = (
    Value(lambda: (number for number in (1, 2)), "[int:0x1, int:0x2]"),
    Value(lambda: iter([]), "[]"),
    Value(lambda: asyncio.sleep(0, "done"), "str:'done'"),
    Value(lambda: Context(storage=[3]), "[int:0x3]"),
    Value(lambda: Context(storage=Context(storage=None)), "NoneType:None"),
)


class Unit(NamedTuple):
    """What is called once an attempt: a step, or a method of a class step.

    Attributes:
        fails: How many calls of it fail, in the life of a workflow.
        error: How.
        retry: How often it is tried.
        value: What it returns after that.
    """

    fails: int
    error: Error
    retry: int
    value: Value


class Spec(NamedTuple):
    """What one task is.

    Attributes:
        kind: A function, a coroutine function, a class, or a function that returns an instance.
        takes: A function's contexts: `i` and `p`.
        own: What the step does.
        methods: What the methods of the class do.
        group: The group of the task.
        initial: The initial context.
        changes: Whether a function changes what it was given.
        callback: Whether there is none, one, or one that raises.
    """

    kind: str
    takes: str
    own: Unit
    methods: tuple[Unit, ...]
    group: str
    initial: Value
    changes: bool
    callback: str


def spec(kind: str = "function", **options: Any) -> Spec:
    """Return a task that is as simple as can be, but for what is given."""
    unit = Unit(0, ERRORS[0], 1, PLAIN[1])
    own = unit._replace(
        **{name: options.pop(name) for name in Unit.__annotations__ if name in options}
    )
    plain = Spec(kind, "ip", own, (unit,), "a", PLAIN[0], changes=False, callback="notes")
    return plain._replace(**options)


_units = st.builds(
    Unit,
    fails=st.sampled_from((0, 0, 0, 1, 2)),
    error=st.sampled_from(ERRORS),
    retry=st.sampled_from((0, 1, 1, 2, 3)),
    value=st.sampled_from(PLAIN + DEFERRED),
)

SPECS: Final = st.builds(
    Spec,
    kind=st.sampled_from(("function", "function", "coroutine", "class", "instance")),
    takes=st.sampled_from(("", "i", "p", "ip")),
    own=_units,
    methods=st.lists(_units, min_size=1, max_size=3).map(tuple),
    group=st.sampled_from("aab"),
    initial=st.sampled_from(PLAIN),
    changes=st.booleans(),
    callback=st.sampled_from(("none", "notes", "raises")),
)


# --- steps ------------------------------------------------------------------------------


def make_step(spec: Spec, file: Path) -> Any:
    """Return a step that does what a task is to do, and notes it in a file."""
    own = spec.own
    decorated = action(retry=own.retry, retry_delay=0, timeout=LIMIT * (own.error is LATE))
    if spec.kind == "class":
        return decorated(_class_of(spec, file))
    if spec.kind == "instance":
        made = _class_of(spec, file)

        def build(initial_context: Context, previous_context: Context) -> Any:
            call("step", own, file, initial_context, previous_context)
            return made()

        return decorated(build)
    if spec.kind == "coroutine":

        async def step(previous_context: Context, *, initial_context: Context) -> Any:
            try:
                call("step", own, file, initial_context, previous_context)
            except TooLong:
                await asyncio.sleep(60)
            return own.value.make()

        return decorated(step)
    return decorated(_function_of(spec, file))


class TooLong(Exception):
    """A call is to take too long."""


def call(unit: str, todo: Unit, file: Path, *given: Context | None) -> None:
    """Note a call and what it was given; fail where it is to fail."""
    earlier = file.read_text().splitlines() if file.exists() else []
    with file.open("a") as notes:
        notes.write(noted(unit, [None if each is None else shape(each) for each in given]) + "\n")
    if sum(line.startswith(f"{unit} ") for line in earlier) < todo.fails:
        raise TooLong if todo.error.make is None else todo.error.make()


def noted(unit: str, given: Sequence[str | None]) -> str:
    """Return the line of a call."""
    return f"{unit} {list(given)!a}"


def _function_of(spec: Spec, file: Path) -> Callable[..., Any]:
    own, changes = spec.own, spec.changes

    def run(initial: Context | None, previous: Context | None) -> Any:
        given = [context.storage for context in (initial, previous) if context is not None]
        try:
            call("step", own, file, initial, previous)
        finally:
            for value in given if changes else ():
                change(value)
        return own.value.make()

    functions: dict[str, Callable[..., Any]] = {
        "ip": lambda previous_context, *, initial_context: run(initial_context, previous_context),
        "i": lambda initial_context: run(initial_context, None),
        "p": lambda previous_context: run(None, previous_context),
        "": lambda: run(None, None),
    }
    return functions[spec.takes]


def change(value: Any) -> None:
    """Change a value for whoever else has it."""
    if isinstance(value, list):
        value.append("changed")
    elif isinstance(value, dict):
        value["changed"] = True
    elif isinstance(value, SimpleNamespace):
        value.a = "changed"


def _class_of(spec: Spec, file: Path) -> type:
    def begin(_: Any, previous_context: Context) -> None:
        call("step", spec.own, file, None, previous_context)

    members: dict[str, Any] = {"helper": lambda _: 1 / 0}
    if spec.kind == "class":
        members["__init__"] = begin
    for number, unit in enumerate(spec.methods):
        members[f"m{number}"] = _method(f"m{number}", unit, file)
    return type("Steps", (), members)


def _method(name: str, unit: Unit, file: Path) -> Any:
    def method(_: Any, previous_context: Context, initial_context: Context) -> Any:
        call(name, unit, file, initial_context, previous_context)
        return unit.value.make()

    method.__name__ = name
    return action(retry=unit.retry, retry_delay=0)(method)
