"""Pickled forms in pieces: what is copied, and what is found in them."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from dotflow.workers.pickling import dump_in_pieces, load
from dotflow.workers.pieces import NotImportable, pickled

LARGE = 1 << 16
NAMES = (b"json.decoder",)


def foreign() -> Any:
    """Return something that is pickled by the name of its module."""
    from json.decoder import JSONDecoder

    return JSONDecoder


class Viewed:
    """What pickles a buffer of its own, as arrays do."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Viewed, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [0, 1, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
@pytest.mark.parametrize("of", [bytes, bytearray, lambda size: "ä" * size])
def test_values_of_any_size(size: int, of: Any) -> None:
    """Whatever goes in pieces of its own, it comes back as it was."""
    value = {"before": [1] * 5, "large": of(size), "after": [of(size), foreign()]}
    assert load(b"".join(pickled(value)), "it") == value


def test_large_bytes_are_not_copied() -> None:
    """They are themselves a piece of the pickled form, also within other things."""
    value = bytes(LARGE)
    pieces = dump_in_pieces({"value": [value]}, "it")
    assert sum(piece is value for piece in pieces) == 1


@pytest.mark.parametrize("of", [bytearray, lambda size: Viewed(bytearray(size))])
def test_what_may_change_is_copied(of: Any) -> None:
    """Its pickled form is of the moment, and holds no buffer that its owner may resize."""
    value = of(2 * LARGE)
    pieces = pickled(value)
    data = getattr(value, "data", value)
    data[0] = 1
    data.extend(b"more")
    read = load(b"".join(pieces), "it")
    assert getattr(read, "data", read) == bytearray(2 * LARGE)


def test_a_reference_is_found_wherever_it_is() -> None:
    """Also between small and large things of any kind."""
    chance = random.Random(1)  # noqa: S311 - a test's
    others = [
        lambda: bytes(chance.randrange(4 * LARGE)),
        lambda: "x" * chance.randrange(4 * LARGE),
        lambda: bytearray(chance.randrange(4 * LARGE)),
        lambda: [str(number) for number in range(chance.randrange(20_000))],
        lambda: b"\x80\x95" * LARGE,
        lambda: 1 << chance.randrange(10 * LARGE),
    ]
    for _ in range(60):
        value = [chance.choice(others)() for _ in range(chance.randrange(6))]
        assert pickled(value, NAMES)
        value.insert(chance.randrange(len(value) + 1), foreign())
        with pytest.raises(NotImportable):
            pickled(value, NAMES)


def test_a_reference_ends_the_pickling() -> None:
    """What follows it is not pickled in vain."""
    seen = []

    class Counted:
        def __reduce__(self) -> Any:
            seen.append(self)
            return int, ()

    with pytest.raises(NotImportable):
        pickled([foreign(), *(str(number) for number in range(50_000)), Counted()], NAMES)
    assert seen == []


def test_large_content_is_not_searched() -> None:
    """A name within large bytes or a large text is no reference."""
    content = NAMES[0] * LARGE
    assert content in pickled([content], NAMES)
    assert content in pickled([content.decode()], NAMES)


def test_a_pickler_that_does_not_tell_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where large pieces are not known to be content, all are searched."""
    monkeypatch.setattr("dotflow.workers.pieces.TELLS_FRAMES", False)
    with pytest.raises(NotImportable):
        pickled([NAMES[0] * LARGE], NAMES)
