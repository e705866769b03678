"""What attempts record in one process is kept apart, and given once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from held_locks import holding

from dotflow_otel._process import TRACES, drop_counter
from dotflow_otel.relay.buffers import (
    AttemptBuffer,
    BoundedBuffer,
    BufferRegistry,
    Drained,
    Orphan,
    size_of,
)
from dotflow_otel.relay.remote_attempt import OrphanSpans

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE, OTHER = (1, b"one"), (1, b"other")


@pytest.fixture
def hasty() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def opened(
    buffers: BufferRegistry[Any], owner: tuple[int, bytes] = ONE, run: int = 1
) -> AttemptBuffer[Any]:
    """Return a buffer that is open."""
    buffer: AttemptBuffer[Any] = AttemptBuffer(owner, run)
    buffers.open(buffer)
    return buffer


def items_of(closed: Any) -> list[Any]:
    """Return all items that came when a buffer was closed."""
    own, late = closed or (Drained((), 0), Drained((), 0))
    return [*(each.item for each in late.items), *own.items]


def test_each_buffer_has_its_own() -> None:
    """What is put into one buffer does not come with another."""
    buffers: BufferRegistry[str] = BufferRegistry()
    one, other = opened(buffers), opened(buffers)
    assert buffers.put(one, "one")
    assert buffers.put(other, "other")
    assert buffers.close(one) == ((("one",), 0), ((), 0))
    assert buffers.close(other) == ((("other",), 0), ((), 0))


def test_what_is_late_comes_with_the_next_outcome_of_its_application() -> None:
    """An item for a closed buffer waits for the next one of the same process, and tells its run."""
    buffers: BufferRegistry[str] = BufferRegistry()
    first = opened(buffers, run=1)
    buffers.close(first)
    others = opened(buffers, OTHER)
    assert buffers.put(first, "late")
    assert buffers.close(others) is None
    assert buffers.close(opened(buffers, run=2)) == (((), 0), ((Orphan(1, "late"),), 0))
    assert buffers.close(opened(buffers, run=2)) is None


def test_what_is_of_nobody_is_the_only_attempts() -> None:
    """Where one attempt alone runs, what nothing tells of belongs to it."""
    buffers: BufferRegistry[str] = BufferRegistry()
    buffer = opened(buffers)
    assert buffers.put(None, "somebody's")
    assert buffers.close(buffer)[0].items == ("somebody's",)


def test_what_is_of_nobody_is_the_only_applications() -> None:
    """Where several run, or none does, it comes with any outcome of their application."""
    buffers: BufferRegistry[str] = BufferRegistry()
    assert not buffers.put(None, "before all")
    one, other = opened(buffers, run=1), opened(buffers, run=2)
    assert buffers.put(None, "somebody's")
    assert buffers.close(other)[1].items == (Orphan(None, "somebody's"),)
    buffers.close(one)
    assert buffers.put(None, "after all")
    assert buffers.close(opened(buffers))[1].items == (Orphan(None, "after all"),)


def test_what_is_of_nobody_is_refused_where_there_are_two_applications() -> None:
    """Once a process has had attempts of two applications, it may be either's: neither gets it."""
    buffers: BufferRegistry[str] = BufferRegistry()
    buffers.close(opened(buffers))
    buffer = opened(buffers, OTHER)
    assert buffers.only_owner is None
    assert not buffers.put(None, "whose?")
    assert buffers.close(buffer) is None


def test_applications_that_went_away_do_not_fill_the_memory() -> None:
    """What is late is kept for so many applications; the first of them has none then."""
    buffers: BufferRegistry[str] = BufferRegistry()
    first, *rest = ((number, b"") for number in range(65))
    for owner in (first, *rest):
        buffers.put_orphan(owner, "late")
    assert buffers.close(opened(buffers, first)) is None
    for owner in rest:
        assert len(buffers.close(opened(buffers, owner))[1].items) == 1


def test_late_items_are_bounded_too() -> None:
    """Beyond what there is room for they are counted."""
    buffers: BufferRegistry[str] = BufferRegistry(most=1)
    for _ in range(3):
        buffers.put_orphan(ONE, "late")
    assert buffers.close(opened(buffers))[1].dropped == 2


def test_nothing_is_lost_or_doubled_while_a_buffer_is_closed(hasty: None) -> None:
    """An item put just as its buffer is closed is in it or an orphan, never both or neither."""
    buffers: BufferRegistry[int] = BufferRegistry()
    found: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(0, 4000, 20):
            buffer = opened(buffers)
            start = threading.Barrier(2)

            def put(
                buffer: AttemptBuffer[int] = buffer, first: int = number, start: Any = start
            ) -> None:
                start.wait(10)
                for item in range(first, first + 20):
                    assert buffers.put(buffer, item)

            putting = pool.submit(put)
            start.wait(10)
            found += items_of(buffers.close(buffer))
            putting.result(10)
    found += items_of(buffers.close(opened(buffers)))
    assert sorted(found) == list(range(4000))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_can_put_while_its_parent_did() -> None:
    """A lock that a thread of the parent has held is free in the child."""
    buffers: BufferRegistry[str] = BufferRegistry()
    buffer = opened(buffers)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with holding(buffers):
            held.set()
            free.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        signal.alarm(10)  # which ends it
        os._exit(0 if buffers.put(buffer, "x") else 1)
    free.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_latecomers_go_to_their_own_runs() -> None:
    """Each run gets its spans at once; a broken one keeps no other from its."""
    orphan_spans = OrphanSpans()
    seen: list[tuple[str, Any]] = []

    def breaks(spans: Any) -> None:
        raise KeyError("k")

    orphan_spans.expect(1, breaks)
    orphan_spans.expect(2, lambda spans: seen.append(("two", spans)))
    spans: Any = [(1, "a"), (2, "b"), (2, "c")]
    with pytest.raises(KeyError):
        orphan_spans.hand_over(spans)
    assert seen == [("two", ["b", "c"])]


def test_spans_of_a_run_that_is_long_over_are_counted() -> None:
    """Where nobody knows any more where a run's spans go they count as dropped."""
    orphan_spans = OrphanSpans()
    for run in range(257):
        orphan_spans.expect(run, lambda spans: None)
    before = drop_counter.total(TRACES)
    spans: Any = [(0, "a"), (0, "b"), (1, "c")]
    orphan_spans.hand_over(spans)
    assert drop_counter.total(TRACES) - before == 2


def test_a_burst_of_records_fits() -> None:
    """A step that logs 10,000 lines before any of them is fetched loses none."""
    record = {f"field {number}": "a value of some length" for number in range(32)}
    kept: BoundedBuffer[dict[str, str]] = BoundedBuffer()
    for _ in range(10_000):
        kept.put(record)
    assert size_of(record) > 5_000
    assert (len(kept), kept.take().dropped) == (10_000, 0)
