"""What goes along with attempts to a worker: what scopes share once, the rest with each."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest
from log_records import own_records

from dotflow.abc.scope import RemoteScope
from dotflow.workers.payload import ScopeStore
from dotflow.workers.performing import scopes_made


class Scope(RemoteScope):
    """A scope that shares data where it is given some."""

    def __init__(self, shared: Any = None, *arguments: Any) -> None:
        self.shared = shared
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return Scope, (self.shared, *self.arguments)


class SharedData:
    """Makes scopes."""

    def __init__(self, held: object = None) -> None:
        self.held = held

    def scope(self, *arguments: Any) -> Scope:
        """Make one."""
        if arguments == ("broken",):
            raise ValueError("no scope of that")
        return Scope(self, *arguments)


def test_shared_data_is_packed_once() -> None:
    """Scopes that share data refer to it by its key, and are made of it again, in their order."""
    store, shared = ScopeStore(), SharedData("common")
    first, needed = store.pack({"tracer": Scope(shared, 1, "a"), "log": Scope()})
    second, again = store.pack({"tracer": Scope(shared, 2, "b")})
    assert needed == again
    come = {needed[0].key: pickle.loads(needed[0].data)}
    made = scopes_made(first, come)
    assert list(made) == ["tracer", "log"]
    tracer: Any = made["tracer"]
    assert (tracer.shared.held, tracer.arguments) == ("common", (1, "a"))
    assert scopes_made(second, come)["tracer"].arguments == (2, "b")


def test_shared_data_has_keys_of_its_own() -> None:
    """Two of them are sent separately, also where they are equal."""
    store = ScopeStore()
    _, needed = store.pack({"tracer": Scope(SharedData("x")), "log": Scope(SharedData("x"))})
    assert len({each.key for each in needed}) == 2


def test_so_much_shared_data_is_kept() -> None:
    """Where each attempt has data of its own, those beyond the first go whole, with the scope."""
    store = ScopeStore()
    needed = [store.pack({"tracer": Scope(SharedData(n), n)})[1] for n in range(256)]
    assert [len(each) for each in needed] == [1] * 256
    sent, more = store.pack({"tracer": Scope(SharedData("last"), "own")})
    assert more == []
    made: Any = scopes_made(sent, {})["tracer"]
    assert (made.shared.held, made.arguments) == ("last", ("own",))


def test_what_cannot_travel_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A scope that does not pickle, or whose data does not, is left out, with one warning."""
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
    ids=["unknown data", "data that raises", "no pickle"],
)
def test_what_cannot_be_read_does_no_harm(sent: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A scope that cannot be made is left out, with a record that says so; others are made."""
    made = scopes_made([sent, ("log", 5, ())], {5: SharedData()})
    assert list(made) == ["log"]
    assert "the step runs without it" in caplog.text
