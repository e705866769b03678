"""What arrives at a receiver that is slow, refuses or never answers."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from wire.spans import roots

if TYPE_CHECKING:
    from wire.receivers import OwnReceiver
    from wire.sender import Wire

FEW = ("workflow few", ["task first", "task second", "task third"])

# Seconds: what the program may take to end, and with what an interpreter takes beside it.
BOUND = 1.0
EXIT = BOUND + 10.0


def test_slow(own: Wire, own_receiver: OwnReceiver) -> None:
    """A slow receiver gets every span, once, and does not slow the run."""
    own_receiver.conduct(own.protocol).be_slow(2.0)
    done = own.run("few.py", 10)
    (root,) = roots(done.sent.traces)
    assert root.outline() == FEW
    assert float(done.printed) < 2.0


def test_refused_once(own: Wire, own_receiver: OwnReceiver) -> None:
    """What a receiver refused for the moment arrives later, once."""
    own_receiver.conduct(own.protocol).refuse(1)
    done = own.run("few.py", 10)
    (root,) = roots(done.sent.traces)
    assert root.outline() == FEW
    assert own_receiver.conduct(own.protocol).refused == 1


def test_refused_for_good(own: Wire, own_receiver: OwnReceiver) -> None:
    """A receiver that refuses gets nothing; the program ends well, and in time."""
    own_receiver.conduct(own.protocol).refuse()
    began = monotonic()
    done = own.run("few.py", BOUND)
    assert monotonic() - began < EXIT
    assert done.sent.traces == []
    assert own_receiver.conduct(own.protocol).refused >= 1
    assert float(done.printed) < 2.0


def test_silent(own: Wire, own_receiver: OwnReceiver) -> None:
    """A receiver that never answers holds neither the run up, nor the exit beyond its bound."""
    own_receiver.conduct(own.protocol).be_silent()
    began = monotonic()
    done = own.run("few.py", BOUND)
    assert monotonic() - began < EXIT
    assert done.sent.traces == []
    assert float(done.printed) < 2.0
