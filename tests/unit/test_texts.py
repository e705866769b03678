"""Texts that whoever gets them can take."""

from __future__ import annotations

import gc
import io
import json
from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import Any, NoReturn

import pytest

from dotflow.core.user_objects import strict_json, write_text


class Detached:
    """Has no text, as a row of a database whose session is closed."""

    def __repr__(self) -> NoReturn:
        raise RuntimeError("no session")


class Closed(dict[str, int]):
    """Has items that cannot be read."""

    def items(self) -> NoReturn:
        raise RuntimeError("closed")


class Number(IntEnum):
    """Numbers with names."""

    ONE = 1


class Word(StrEnum):
    """Texts with names."""

    A = "a"


def circle() -> dict[str, Any]:
    """Return a dictionary that contains itself, in a list."""
    made: dict[str, Any] = {"n": 1}
    made["self"] = [made]
    return made


def deep() -> list[Any]:
    """Return a list in a list, and so on."""
    made: list[Any] = []
    for _ in range(100_000):
        made = [made]
    return made


def refuse(constant: str) -> NoReturn:
    """Take no constant that is not JSON's."""
    raise ValueError(constant)


CASES: dict[str, tuple[Any, Any]] = {
    "a circle": (circle(), {"n": 1, "self": ["{...}"]}),
    "keys": (
        {(1, 2): 3, None: 4, True: 5, 6: 7},
        {"(1, 2)": 3, "null": 4, "true": 5, "6": 7},
    ),
    "a key without a text": (
        {(Detached(),): 1},
        {"<tuple whose text raises RuntimeError>": 1},
    ),
    "no text": (Detached(), "<Detached whose text raises RuntimeError>"),
    "no text, and a circle": (
        [circle(), Detached()],
        [{"n": 1, "self": ["{...}"]}, "<Detached whose text raises RuntimeError>"],
    ),
    "unreadable items": ([Closed(a=1), {(): 1}], ["<Closed>", {"()": 1}]),
    "no number": ([float("nan"), float("inf"), -float("inf")], ["NaN", "Infinity", "-Infinity"]),
    "a lone surrogate": ({"\udcff": "a\udcff✓"}, {"\\udcff": "a\\udcff✓"}),
    "pairs of surrogates": ("🙂", "🙂"),
    "enumerations": ([Number.ONE, Word.A, {(): Number.ONE}], [1, "a", {"()": 1}]),
    "a dictionary of another kind": (OrderedDict({(): 1}), {"()": 1}),
    "a number with too many digits": (10**5000, hex(10**5000)),
    "shared, not a circle": ([[1]] * 2, [[1], [1]]),
    "bytes": (b"\xff", "b'\\xff'"),
}


@pytest.mark.parametrize("name", CASES)
def test_strict_json(name: str) -> None:
    """Any value becomes JSON that strict parsers read, and keeps what can be kept of it."""
    value, expected = CASES[name]
    line = strict_json({"event": "x", "value": value})
    told = json.loads(line, parse_constant=refuse)
    assert told == {"event": "x", "value": expected}
    line.encode("ascii")
    json.dumps(told, ensure_ascii=False).encode()


def test_deeper_than_any_parser() -> None:
    """What has no end is cut off."""
    gc.collect()  # finalizers of other tests would find no call left
    told = json.loads(strict_json({"value": deep()}))["value"]
    for _ in range(49):
        (told,) = told
    assert told == "<list>"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_streams_of_other_encodings(encoding: str) -> None:
    """What a stream's encoding lacks is escaped, and the rest is as it was."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    write_text(stream, "ä \udcff\n")
    stream.flush()
    assert written.getvalue().decode(encoding) in {"\\xe4 \\udcff\n", "ä \\udcff\n"}
