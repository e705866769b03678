"""What the standard variables change for all signals together, on the wire."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from wire.otlp import Received
from wire.spans import roots

if TYPE_CHECKING:
    from wire.receivers import OwnReceiver
    from wire.sender import Wire

ALL = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}
FEW = ("workflow few", ["task first", "task second", "task third"])
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

# Seconds: what the program may take to end, and with what an interpreter takes beside it. The
# bounds of three signals, one after another, would be longer.
BOUND = 4.0
EXIT = BOUND + 7.5


def test_job_of_a_traced_parent(wire: Wire) -> None:
    """A process that was started with TRACEPARENT goes on in that trace."""
    done = wire.run("few.py", 5, TRACEPARENT=f"00-{TRACE}-{SPAN}-01")
    (root,) = roots(done.sent.traces)
    assert root.outline() == FEW
    assert (root.span.trace_id.hex(), root.span.parent_span_id.hex()) == (TRACE, SPAN)


def test_job_of_an_unsampled_parent(own: Wire) -> None:
    """A process whose parent is not sampled is not, either."""
    assert own.run("few.py", 5, TRACEPARENT=f"00-{TRACE}-{SPAN}-00").sent.traces == []


def test_nothing_is_sent_of_a_disabled_sdk(own: Wire) -> None:
    """Where the SDK is disabled no signal is sent, whatever else is asked for."""
    sent = own.run("few.py", 5, OTEL_SDK_DISABLED="true", **ALL).sent
    assert sent == Received([], [], [])


def test_signals_are_asked_for(own: Wire) -> None:
    """Without variables of their own, metrics and log records are not sent."""
    sent = own.run("few.py", 5).sent
    assert (sent.metrics, sent.logs) == ([], [])


def test_silent(own: Wire, own_receiver: OwnReceiver) -> None:
    """A receiver that never answers holds the exit up for one bound, not for one a signal."""
    own_receiver.conduct(own.protocol).be_silent()
    began = monotonic()
    done = own.run("signals.py", "sequential", BOUND, **ALL)
    assert monotonic() - began < EXIT
    assert done.sent == Received([], [], [])
