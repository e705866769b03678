"""What can travel between processes, and what is told of what cannot."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.core.exception import PicklingFailed
from dotflow.workers.pickling import (
    dump,
    dump_or_none,
    dump_small,
    is_found_elsewhere,
    is_small,
    load,
    load_or_none,
)

if TYPE_CHECKING:
    from pathlib import Path


class Unreadable:
    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("value", [None, 1, "text", b"bytes", {"a": [1, (2, {3})]}])
def test_plain_values(value: object) -> None:
    """Plain values come back as they were."""
    assert load(dump(value, "it"), "it") == value


def test_closures_travel_by_value() -> None:
    """A closure travels with what it holds."""
    factor = 3
    assert load(dump(lambda number: number * factor, "it"), "it")(2) == 6


def test_importable_functions_travel_by_reference() -> None:
    """A function that can be imported is the very same one at the other end."""
    assert load(dump(json.dumps, "it"), "it") is json.dumps


def test_a_module_that_is_not_elsewhere_travels_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """What such a module defines is read back where there is no such module."""
    module = ModuleType("only_here")
    exec("def double(number): return number * 2", vars(module))  # noqa: S102 - makes a module
    monkeypatch.setitem(sys.modules, "only_here", module)
    data = dump(module.double, "it", [module])
    read_back = "import pickle, sys; print(pickle.load(sys.stdin.buffer)(21))"
    done = subprocess.run(
        [sys.executable, "-c", read_back], input=data, capture_output=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (b"42", b"")


def test_modules_are_by_value_for_one_dump_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trace of it is left in cloudpickle, also where the value cannot travel."""
    import cloudpickle

    module = ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(PicklingFailed):
        dump(threading.Lock(), "it", [module])
    assert "only_here" not in cloudpickle.list_registry_pickle_by_value()


def test_what_cannot_travel() -> None:
    """The error says what it was and why, and what to do."""
    with pytest.raises(PicklingFailed, match=r"the result of step one cannot travel.*lock") as told:
        dump({"held": threading.Lock()}, "the result of step one")
    assert "Make it inside the step" in str(told.value)
    assert isinstance(told.value.__cause__, TypeError)


class Exits:
    def __reduce__(self) -> Any:
        raise SystemExit


def test_a_reason_without_a_text_is_its_name() -> None:
    """What an object raises as it is pickled may say nothing."""
    with pytest.raises(PicklingFailed) as told:
        dump(Exits(), "the result of step one (Exits)")
    assert str(told.value) == (
        "the result of step one (Exits) cannot travel to another process: SystemExit. "
        "Make it inside the step, or pass what it is made from."
    )


def test_what_cannot_be_read_back() -> None:
    """The error names what it was, and the error that reading it gave."""
    with pytest.raises(PicklingFailed, match=r"^the input cannot be read back.*ValueError.*no num"):
        load(pickle.dumps(Unreadable()), "the input")


def test_what_is_nice_to_have() -> None:
    """It is None where it cannot travel, cannot be read, or is not there."""
    data = dump_or_none([1])
    assert load_or_none(data) == [1]
    assert dump_or_none(threading.Lock()) is None
    assert load_or_none(None) is None
    assert load_or_none(pickle.dumps(Unreadable())) is None


@pytest.mark.parametrize("name", ["json", "json.decoder", "sys", "__main__", "never_imported"])
def test_modules_that_are_found(name: str) -> None:
    """What a new interpreter finds, or does not need, is found elsewhere."""
    assert is_found_elsewhere(name)


@pytest.mark.parametrize("name", ["only_here", "json.only_here", "only_here.inner"])
def test_modules_that_are_not_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module made here, also within a package of others, is not found elsewhere."""
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert not is_found_elsewhere(name)


def test_a_module_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was read from another file than an import would find is not that one."""
    module = ModuleType("json")
    module.__file__ = str(tmp_path / "json.py")
    monkeypatch.setitem(sys.modules, "json", module)
    assert not is_found_elsewhere("json")


def test_finders_without_find_spec_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd entry of `sys.meta_path` disturbs nothing."""
    monkeypatch.setattr(sys, "meta_path", [object(), *sys.meta_path])
    assert is_found_elsewhere("json")


def test_a_module_that_is_not_there() -> None:
    """The error names it, and tells what to do about it."""
    with pytest.raises(PicklingFailed) as caught:
        load(b"cmissing_here\nstep\n.", "step one")
    assert str(caught.value) == (
        "step one cannot be read back from its pickled form: ModuleNotFoundError: No module named "
        "'missing_here'. It must be importable there too; what your main module defines travels "
        "whole."
    )


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), (0.5, True), (None, True), (True, True), ("x", False)]
)
def test_numbers_are_small(value: object, expected: bool) -> None:
    """Of numbers, flags and None it is known that they are small, whatever they are."""
    assert is_small(value) is expected


def test_small_values_are_pickled_as_others_are() -> None:
    """What is small comes back the same, unless it does not pickle, or needs another module."""
    assert load(dump_small((1, None, {"n": 0.5})) or b"", "it") == (1, None, {"n": 0.5})
    assert dump_small(threading.Lock()) is None
    assert dump_small(Unreadable, [sys.modules[Unreadable.__module__]]) is None
    assert dump_small(Unreadable) is not None
