"""What is blamed where a value cannot travel."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from dotflow import Context, action
from dotflow.core.exception import PicklingFailed
from dotflow.workers.pickling import dump

LOCK = threading.Lock()


class Holder:
    def __init__(self, held: object) -> None:
        self.name = "holder"
        self.held = held


HOLDER = Holder(LOCK)


@action
def uses_a_global() -> None:
    """Hold a lock of the module."""
    with LOCK:
        pass


@action
def uses_a_holder() -> object:
    """Return what holds one."""
    return [HOLDER for _ in range(1)]


def closure() -> Any:
    """Make a step that holds a lock of its own."""
    inner = threading.Lock()

    @action
    def uses_a_variable() -> None:
        inner.acquire()

    return uses_a_variable


def default() -> Any:
    """Make a step with a lock as a default."""

    def with_default(lock: object = threading.Lock()) -> object:
        return lock

    return action(with_default)


def method() -> Any:
    """Make a step of a method of an instance that holds one."""

    class Step:
        lock = "no lock"

        def __init__(self) -> None:
            self.held = LOCK

        def run(self) -> None:
            """Do nothing."""

    return action(Step().run)


@pytest.mark.parametrize(
    ("value", "blamed"),
    [
        (uses_a_global, "the global 'LOCK' (_thread.lock)"),
        (uses_a_holder, "the global 'HOLDER' (*Holder), the attribute 'held' (_thread.lock)"),
        (closure(), "the variable 'inner' (_thread.lock)"),
        (default(), "a default (_thread.lock)"),
        (method(), "its instance (*Step), the attribute 'held' (_thread.lock)"),
        (Context({"db": [1, LOCK]}), "the value of 'db' (list), item 1 (_thread.lock)"),
    ],
)
def test_blamed(value: object, blamed: str) -> None:
    """The error names what cannot travel, by the names that its author gave."""
    with pytest.raises(PicklingFailed) as raised:
        dump(value, "step charge", [sys.modules[__name__]])
    text = str(raised.value)
    begin, _, end = blamed.partition("*")
    assert text.startswith(f"step charge cannot travel to another process because of {begin}")
    assert f"{end}: TypeError: " in text
    assert text.endswith("Make it inside the step, or pass what it is made from.")


def test_the_value_itself() -> None:
    """Where it is the value itself, nothing is blamed but that."""
    with pytest.raises(PicklingFailed) as raised:
        dump(LOCK, "the result of step charge (lock)")
    begin = "the result of step charge (lock) cannot travel to another process: TypeError: "
    assert str(raised.value).startswith(begin)


def test_a_value_that_holds_itself() -> None:
    """A value without end is followed for a while only."""
    endless: list[object] = [LOCK]
    endless.insert(0, endless)
    with pytest.raises(PicklingFailed, match="item 0 \\(list\\), item 0 \\(list\\)"):
        dump(endless, "it")


class Changing:
    """Changes what it is held by whenever it is looked at."""

    def __reduce__(self) -> Any:
        holder: Any = CHANGING
        vars(holder)[f"more{len(vars(holder))}"] = None
        return int, ()


CHANGING = Holder(LOCK)
vars(CHANGING)["name"] = Changing()


def test_an_object_changes_while_it_is_looked_at() -> None:
    """An object that another thread changes meanwhile is blamed as a whole, and as such."""
    with pytest.raises(PicklingFailed, match=r"^it cannot travel to another process: TypeError"):
        dump(CHANGING, "it")
