"""What goes along with attempts to a worker: kits once, the rest with each."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from own_records import own_records

from dotflow.workers.kits import Kits, unpack

if TYPE_CHECKING:
    from types import TracebackType


class Scope:
    """A scope that has a kit where it is given one."""

    def __init__(self, kit: Any = None, *own: Any) -> None:
        self.kit = kit
        self.own = own

    def __reduce__(self) -> tuple[Any, ...]:
        return Scope, (self.kit, *self.own)

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def collect(self) -> None: ...


class SomeKit:
    """Makes scopes."""

    def __init__(self, held: object = None) -> None:
        self.held = held

    def scope(self, *own: Any) -> Scope:
        """Make one."""
        if own == ("broken",):
            raise ValueError("no scope of that")
        return Scope(self, *own)


def test_a_kit_is_packed_once() -> None:
    """Scopes of one kit refer to it by its key, and are made of it anew, in their order."""
    kits, kit = Kits(), SomeKit("common")
    first, needed = kits.pack({"tracer": Scope(kit, 1, "a"), "log": Scope()})
    second, again = kits.pack({"tracer": Scope(kit, 2, "b")})
    assert needed == again
    come = {needed[0].key: pickle.loads(needed[0].data)}
    made = unpack(first, come)
    assert list(made) == ["tracer", "log"]
    tracer: Any = made["tracer"]
    assert (tracer.kit.held, tracer.own) == ("common", (1, "a"))
    assert unpack(second, come)["tracer"].own == (2, "b")  # type: ignore[attr-defined]


def test_kits_have_keys_of_their_own() -> None:
    """Two kits are sent apart, also where they are equal."""
    kits = Kits()
    _, needed = kits.pack({"tracer": Scope(SomeKit("x")), "log": Scope(SomeKit("x"))})
    assert len({each.key for each in needed}) == 2


def test_so_many_kits_are_kept() -> None:
    """Where each attempt has a kit of its own, those beyond the first go whole, with the scope."""
    kits = Kits()
    needed = [kits.pack({"tracer": Scope(SomeKit(n), n)})[1] for n in range(256)]
    assert [len(each) for each in needed] == [1] * 256
    sent, more = kits.pack({"tracer": Scope(SomeKit("last"), "own")})
    assert more == []
    made: Any = unpack(sent, {})["tracer"]
    assert (made.kit.held, made.own) == ("last", ("own",))
    assert len(kits._kits) == 256


def test_what_cannot_travel_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A scope that does not pickle, or whose kit does not, is left out, with one warning."""
    kits = Kits()
    lock = threading.Lock()
    for _ in range(2):
        assert kits.pack({"tracer": Scope(SomeKit(lock)), "log": Scope(None, lock)}) == ([], [])
    assert [record.message for record in own_records(caplog)] == [
        "the scopes of attempts cannot be pickled; steps run without them"
    ]


@pytest.mark.parametrize(
    "sent",
    [("tracer", 9, (1,)), ("tracer", 5, ("broken",)), ("tracer", 0, b"no pickle")],
    ids=["an unknown kit", "a kit that raises", "no pickle"],
)
def test_what_cannot_be_read_does_no_harm(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A scope that cannot be made is left out, with a record that says so; others are made."""
    made = unpack([sent, ("log", 5, ())], {5: SomeKit()})
    assert list(made) == ["log"]
    assert "the step runs without it" in caplog.text
