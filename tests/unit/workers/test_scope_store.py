"""What goes along with attempts to a worker: what scopes share once, the rest with each."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from own_records import own_records

from dotflow.workers.payload import ScopeStore
from dotflow.workers.performing import scopes_made

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


class SharedData:
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
    store, shared = ScopeStore(), SharedData("common")
    first, needed = store.pack({"tracer": Scope(shared, 1, "a"), "log": Scope()})
    second, again = store.pack({"tracer": Scope(shared, 2, "b")})
    assert needed == again
    come = {needed[0].key: pickle.loads(needed[0].data)}
    made = scopes_made(first, come)
    assert list(made) == ["tracer", "log"]
    tracer: Any = made["tracer"]
    assert (tracer.kit.held, tracer.own) == ("common", (1, "a"))
    assert scopes_made(second, come)["tracer"].own == (2, "b")  # type: ignore[attr-defined]


def test_shared_data_has_keys_of_its_own() -> None:
    """Two of them are sent separately, also where they are equal."""
    store = ScopeStore()
    _, needed = store.pack({"tracer": Scope(SharedData("x")), "log": Scope(SharedData("x"))})
    assert len({each.key for each in needed}) == 2


def test_so_much_shared_data_is_kept() -> None:
    """Where each attempt has a kit of its own, those beyond the first go whole, with the scope."""
    store = ScopeStore()
    needed = [store.pack({"tracer": Scope(SharedData(n), n)})[1] for n in range(256)]
    assert [len(each) for each in needed] == [1] * 256
    sent, more = store.pack({"tracer": Scope(SharedData("last"), "own")})
    assert more == []
    made: Any = scopes_made(sent, {})["tracer"]
    assert (made.kit.held, made.own) == ("last", ("own",))
    assert len(store._kept) == 256


def test_what_cannot_travel_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A scope that does not pickle, or whose kit does not, is left out, with one warning."""
    store = ScopeStore()
    lock = threading.Lock()
    for _ in range(2):
        assert store.pack({"tracer": Scope(SharedData(lock)), "log": Scope(None, lock)}) == ([], [])
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
    made = scopes_made([sent, ("log", 5, ())], {5: SharedData()})
    assert list(made) == ["log"]
    assert "the step runs without it" in caplog.text
