"""What a worker sends: what steps record while they run, and how attempts ended."""

from __future__ import annotations

import pickle
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.abc.scope import RemoteScope
from dotflow.core.guard import Guard, GuardedScopes
from dotflow.workers import answers as module
from dotflow.workers.answers import Answers
from dotflow.workers.pickling import load_or_none
from dotflow.workers.protocol import Ended, FrameReader, Recorded, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Kept(RemoteScope):
    """A remote scope that has recorded something, which is taken once."""

    def __init__(self, *items: str) -> None:
        self.items = list(items)

    def drain(self) -> list[str] | None:
        """Return what has been recorded since the last time."""
        items, self.items = self.items, []
        return items or None

    def collect(self) -> list[str] | None:
        """Return the rest."""
        return self.drain()


class Broken(Kept):
    def drain(self) -> list[str] | None:
        raise OSError("no more")


class Wired:
    """Both ends of a worker's connection."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.settimeout(10)
        self.answers = Answers(self.theirs)
        self.reports: list[tuple[str, str, str]] = []
        self._reader = FrameReader(self.ours)

    def scopes(self, **scopes: Any) -> GuardedScopes:
        """Return guarded scopes by slot."""
        return GuardedScopes(list(scopes.items()), Guard(self._report))

    def _report(self, slot: str, hook: str, error: BaseException) -> None:
        self.reports.append((slot, hook, str(error)))

    def next(self) -> tuple[Any, Any]:
        """Return the head and body of the next message."""
        head, body = self._reader.wait()
        return decoded(head), load_or_none(body)


def ended(number: int) -> Ended:
    """Return the end of an attempt."""
    return Ended(number, None, 1.0, 2.0, None, None, False)


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wired]:
    """Return a worker's sending side whose messages follow each other at once."""
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    monkeypatch.setattr(module, "PAUSE", 0.001)
    found = Wired()
    with found.ours, found.theirs:
        yield found


def test_what_a_step_records_is_sent_while_it_runs(wired: Wired) -> None:
    """By slot, and again when there is more; what cannot be taken is reported."""
    log = Kept("one")
    wired.answers.begin(7, wired.scopes(log=log, tracer=Broken(), other=object()))
    wired.answers.note(1)
    assert wired.next() == (Recorded(7), {"log": ["one"]})
    log.items.append("two")
    wired.answers.note(1)
    assert wired.next() == (Recorded(7), {"log": ["two"]})
    assert set(wired.reports) == {("tracer", "drain", "no more")}


def test_many_items_wait_no_longer(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full batch goes at once, however long others wait."""
    monkeypatch.setattr(module, "INTERVAL", 60)
    wired.answers.begin(1, wired.scopes(log=Kept("one", "two")))
    wired.answers.note(1)
    wired.answers.note(512)
    assert wired.next() == (Recorded(1), {"log": ["one", "two"]})


def test_what_belongs_to_no_attempt(wired: Wired) -> None:
    """It goes with the others; what is left of it goes before the end of the attempt."""
    shared, own = Kept("first"), Kept("own")
    of_all = wired.scopes(metrics=shared)
    wired.answers.share(of_all)
    with of_all:
        wired.answers.begin(3, wired.scopes(log=own))
        wired.answers.note_shared(1)
        assert wired.next() == (Recorded(None), {"metrics": ["first"]})
        assert wired.next() == (Recorded(3), {"log": ["own"]})
        wired.answers.begin(4, wired.scopes())
        shared.items.append("last")
        wired.answers.send(ended(4), pickle.dumps("ended"))
    assert wired.next() == (Recorded(None), {"metrics": ["last"]})
    assert wired.next() == (ended(4), "ended")


def test_nothing_is_sent_after_the_end(wired: Wired) -> None:
    """What is noted when the attempt has ended comes with no message of its own."""
    wired.answers.begin(5, wired.scopes(log=Kept()))
    wired.answers.send(ended(5), pickle.dumps(None))
    wired.answers.note(1)
    wired.answers.begin(6, wired.scopes(log=Kept("next")))
    wired.answers.note(1)
    assert wired.next() == (ended(5), None)
    assert wired.next() == (Recorded(6), {"log": ["next"]})


def test_the_owner_is_gone(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the thread that sends ends, and nothing is said."""
    ended = threading.Event()
    errors: list[BaseException | None] = []
    start = module.start_thread

    def noting(run: Callable[[], object]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)
        ended.set()

    monkeypatch.setattr(module, "start_thread", lambda run: start(noting, run))
    wired.answers.begin(1, wired.scopes(log=Kept("one")))
    wired.ours.close()
    wired.answers.note(1)
    assert ended.wait(10)
    assert errors == []


def test_draining_is_asked_for(wired: Wired) -> None:
    """A scope that can be drained learns whom to notify."""
    log, broken = Kept(), Kept()

    def refuse() -> None:
        raise OSError("cannot")

    broken.prepare = refuse  # type: ignore[attr-defined]
    wired.scopes(log=log, tracer=broken).prepare(wired.answers.note)
    assert log.on_recorded == wired.answers.note
    assert wired.reports == [("tracer", "prepare", "cannot")]
