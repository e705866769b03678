"""What steps of several applications measure in one process goes to its own application each."""

from __future__ import annotations

from contextvars import copy_context

import pytest

from dotflow_otel import conventions as names
from dotflow_otel._process import Owners
from dotflow_otel.metrics import instruments, relay
from dotflow_otel.metrics.relay import COUNTER, Instrument, MeterRelay

ONE, OTHER = (1, b"one"), (2, b"other")
ROWS = Instrument(COUNTER, ("app", None, None), "rows", "", "")


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> Owners:
    """Make a process that no application has used."""
    found = Owners()
    monkeypatch.setattr(relay, "owners", found)
    monkeypatch.setattr(instruments, "owners", found)
    return found


def test_measurements_of_two_applications(owners: Owners) -> None:
    """Each takes its own; what may be anybody's is nobody's."""
    here = MeterRelay()
    contexts = {owner: copy_context() for owner in (ONE, OTHER)}
    for owner, context in contexts.items():
        context.run(owners.begin, owner)
    for amount, owner in ((1, ONE), (10, OTHER), (2, ONE)):
        contexts[owner].run(here.put, ROWS, amount, None, None)
    here.put(ROWS, 100, None, None)
    for owner, expected in ((ONE, 3), (OTHER, 10)):
        taken = here.take(owner, own=True)
        assert taken is not None
        (measured,), dropped = taken
        assert (measured.values, dropped) == ([(expected, None)], 0)
        assert here.take(owner, own=True) is None


def test_a_thread_without_a_context(owners: Owners) -> None:
    """Where one application has used the process, what a thread measures is that one's."""
    here = MeterRelay()
    copy_context().run(owners.begin, ONE)
    here.put(ROWS, 100, None, None)
    assert here.take(ONE, own=True) is not None


def test_counts_of_two_applications(owners: Owners) -> None:
    """Likewise, what workflows count that steps run."""
    here = instruments.CountedHere()
    for owner in (ONE, OTHER, ONE):
        context = copy_context()
        context.run(owners.begin, owner)
        context.run(here.put, names.WORKFLOW_STARTED, ("w", "sequential"), "add", (1, None))
    key = names.WORKFLOW_STARTED.name, ("w", "sequential"), "add"
    assert here.take(ONE) == {key: [(2, None)]}
    assert here.take(OTHER) == {key: [(1, None)]}
    assert here.take(ONE) is None
