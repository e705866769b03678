"""Contract section 11.3: the fingerprint helpers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dotflow import Context
from dotflow.core.exception import UnstableInput
from dotflow.core.fingerprint import (
    FP_KEY_SUFFIX,
    fingerprint_of,
    fp_key,
    read_fingerprint,
    write_fingerprint,
)
from dotflow.providers import StorageDefault


def test_fingerprint_is_64_hexadecimal_digits() -> None:
    """fingerprint_of gives the hexadecimal text of a sha256."""
    assert re.fullmatch("[0-9a-f]{64}", fingerprint_of([None, 1, {"a": [1]}]))


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    """Dictionaries of the same content have the same fingerprint; sets too."""
    assert fingerprint_of([{"a": 1, "b": 2}]) == fingerprint_of([{"b": 2, "a": 1}])
    assert fingerprint_of([{3, 1, 2}]) == fingerprint_of([{1, 2, 3}])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], [2]),
        ([1], [1, 1]),
        (["1"], [1]),
        ([None], []),
        ([{"a": 1}], [{"a": 2}]),
        ([[1, 2]], [[2, 1]]),
    ],
)
def test_other_values_have_another_fingerprint(one: list[Any], other: list[Any]) -> None:
    """Values that differ in content or order differ in fingerprint."""
    assert fingerprint_of(one) != fingerprint_of(other)


def test_fingerprint_is_the_same_in_every_process(script: Any) -> None:
    """The hash seed of a process does not matter."""
    source = """
        from datetime import date
        from dotflow.core.fingerprint import fingerprint_of
        values = [{"b": {"x", "y"}, "a": (1, 2)}, frozenset("abc"), date(2020, 1, 2)]
        print(fingerprint_of(values))
    """
    seen = {script(source, PYTHONHASHSEED=seed).stdout for seed in ("1", "2")}
    assert len(seen) == 1
    assert len(seen.pop().strip()) == 64


def test_value_without_a_stable_form() -> None:
    """An object that has no stable form raises an error that asks for fingerprint=."""
    with pytest.raises(UnstableInput, match="fingerprint="):
        fingerprint_of([object()])


def test_key() -> None:
    """The fingerprint of a workflow is kept under <workflow id>-_input_fp."""
    assert fp_key("etl") == "etl-_input_fp"
    assert FP_KEY_SUFFIX
    assert fp_key("etl").endswith(FP_KEY_SUFFIX)


def test_write_and_read() -> None:
    """What write_fingerprint stores read_fingerprint gives; without any it gives None."""
    storage = StorageDefault()
    assert read_fingerprint(storage, "etl") is None
    write_fingerprint(storage, "etl", "v1")
    assert read_fingerprint(storage, "etl") == "v1"
    assert read_fingerprint(storage, "other") is None


def test_read_of_something_else() -> None:
    """A stored value that is no text reads as None."""
    storage = StorageDefault()
    storage.post(key=fp_key("etl"), context=Context(storage=5))
    assert read_fingerprint(storage, "etl") is None
