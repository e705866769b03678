"""The main module of a worker, which stands in for that of the run's process."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from dotflow.workers import imports


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The main module of this process, as if it were a worker's."""
    monkeypatch.setattr(imports.StandIn, "names", None)
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    imports.become_stand_in()
    return module


def set_state(value: Any, state: dict[str, Any]) -> None:
    """Set the attributes of a definition."""
    for name, each in state.items():
        setattr(value, name, each)


def defined(name: str, *, of_main: bool = True) -> type:
    """Return a class that has just been read, and is found in the main module under a name."""
    made = type(name.rpartition(".")[2], (), {"__module__": "__main__"})
    imports.settle(made, (set_state, name, of_main, {"number": 5}))
    return made


def test_what_travels_is_found(main: Any) -> None:
    """A class of the script is found under its name, and has its state."""
    made = defined("Made")
    assert main.Made is made
    assert vars(made)["number"] == 5
    assert imports.is_defined_in_main(made)


def test_what_is_not_of_the_module_is_not_put_there(main: Any) -> None:
    """A class that the script made in a function stays out of its main module."""
    made = defined("local", of_main=False)
    assert not hasattr(main, "local")
    assert not imports.is_defined_in_main(made)


def test_a_class_within_a_class(main: Any) -> None:
    """It is found by its qualified name, by way of the outer one."""
    outer, inner = defined("Outer"), defined("Outer.Inner")
    outer.Inner = inner  # type: ignore[attr-defined]
    assert inner.__qualname__ == "Outer.Inner"
    assert imports.is_defined_in_main(inner)
    assert set(vars(main)) & {"Outer", "Inner", "Outer.Inner"} == {"Outer"}


def test_a_metaclass_that_forbids_it(main: Any) -> None:
    """A class whose name cannot be set is read all the same."""

    class Fixed(type):
        def __setattr__(cls, name: str, value: object) -> None:
            raise AttributeError(name)

    made = Fixed("Inner", (), {"__module__": "__main__"})
    read: list[object] = []
    imports.settle(made, (lambda value, state: read.append(state), "Outer.Inner", True, 1))
    assert (read, made.__qualname__) == ([1], "Inner")


def test_a_new_run_begins_with_nothing(main: Any) -> None:
    """What the run before has put there is gone; a child of a step finds the module's file."""
    defined("Made")
    main.of_a_step = 1
    imports.renew("/a/script.py", None)
    assert not hasattr(main, "Made")
    assert (main.of_a_step, main.__file__, main.__spec__) == (1, "/a/script.py", None)

    defined("Again")
    imports.renew("/a/package/__main__.py", "package.__main__")
    assert not hasattr(main, "Again")
    spec = main.__spec__
    assert (spec.name, spec.origin) == ("package.__main__", "/a/package/__main__.py")

    imports.renew(None, None)
    assert not hasattr(main, "__file__")
    assert main.__spec__ is None


def test_the_module_of_another_process_stays(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process is no worker, its main module is left alone."""
    assert imports.is_stand_in()
    monkeypatch.setattr(imports.StandIn, "names", None)
    assert not imports.is_stand_in()
    before = dict(vars(main))
    defined("Made")
    imports.renew("/a/script.py", "script")
    assert vars(main) == before


def test_what_comes_back_stays_as_it_is(main: Any) -> None:
    """A class that this process has sent keeps its state; one that it received is not sent."""
    sent = type("Sent", (), {"number": 1})
    imports.note_sent(sent)
    imports.settle(sent, (set_state, "Sent", True, {"number": 2}))
    assert (vars(sent)["number"], hasattr(main, "Sent")) == (1, False)

    received = defined("Received")
    imports.note_sent(received)
    imports.settle(received, (set_state, "Received", True, {"number": 2}))
    assert vars(received)["number"] == 2
