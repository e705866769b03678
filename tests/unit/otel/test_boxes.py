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
from dotflow_otel.relay.buffers import Backlog, Box, Boxes, Late, Taken, size_of
from dotflow_otel.relay.remote_attempt import Latecomers

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


def opened(boxes: Boxes[Any], owner: tuple[int, bytes] = ONE, run: int = 1) -> Box[Any]:
    """Give a box that is open."""
    box: Box[Any] = Box(owner, run)
    boxes.open(box)
    return box


def items_of(closed: Any) -> list[Any]:
    """Give all items that came when a box was closed."""
    own, late = closed or (Taken((), 0), Taken((), 0))
    return [*(each.item for each in late.items), *own.items]


def test_each_box_has_its_own() -> None:
    """What is put into one box does not come with another."""
    boxes: Boxes[str] = Boxes()
    one, other = opened(boxes), opened(boxes)
    assert boxes.put(one, "one")
    assert boxes.put(other, "other")
    assert boxes.close(one) == ((("one",), 0), ((), 0))
    assert boxes.close(other) == ((("other",), 0), ((), 0))


def test_what_is_late_comes_with_the_next_outcome_of_its_application() -> None:
    """An item for a closed box waits for the next one of the same process, and tells its run."""
    boxes: Boxes[str] = Boxes()
    first = opened(boxes, run=1)
    boxes.close(first)
    others = opened(boxes, OTHER)
    assert boxes.put(first, "late")
    assert boxes.close(others) is None
    assert boxes.close(opened(boxes, run=2)) == (((), 0), ((Late(1, "late"),), 0))
    assert boxes.close(opened(boxes, run=2)) is None


def test_what_is_of_nobody_is_the_only_attempts() -> None:
    """Where one attempt alone runs, what nothing tells of belongs to it."""
    boxes: Boxes[str] = Boxes()
    box = opened(boxes)
    assert boxes.put(None, "somebody's")
    assert boxes.close(box)[0].items == ("somebody's",)


def test_what_is_of_nobody_is_the_only_applications() -> None:
    """Where several run, or none does, it comes with any outcome of their application."""
    boxes: Boxes[str] = Boxes()
    assert not boxes.put(None, "before all")
    one, other = opened(boxes, run=1), opened(boxes, run=2)
    assert boxes.put(None, "somebody's")
    assert boxes.close(other)[1].items == (Late(None, "somebody's"),)
    boxes.close(one)
    assert boxes.put(None, "after all")
    assert boxes.close(opened(boxes))[1].items == (Late(None, "after all"),)


def test_what_is_of_nobody_is_refused_where_there_are_two_applications() -> None:
    """Once a process has had attempts of two applications, it may be either's: neither gets it."""
    boxes: Boxes[str] = Boxes()
    boxes.close(opened(boxes))
    box = opened(boxes, OTHER)
    assert boxes.only_owner is None
    assert not boxes.put(None, "whose?")
    assert boxes.close(box) is None


def test_applications_that_went_away_do_not_fill_the_memory() -> None:
    """What is late is kept for so many applications; the first of them has none then."""
    boxes: Boxes[str] = Boxes()
    first, *rest = ((number, b"") for number in range(65))
    for owner in (first, *rest):
        boxes.put_late(owner, "late")
    assert boxes.close(opened(boxes, first)) is None
    for owner in rest:
        assert len(boxes.close(opened(boxes, owner))[1].items) == 1


def test_late_items_are_bounded_too() -> None:
    """Beyond what there is room for they are counted."""
    boxes: Boxes[str] = Boxes(most=1)
    for _ in range(3):
        boxes.put_late(ONE, "late")
    assert boxes.close(opened(boxes))[1].dropped == 2


def test_nothing_is_lost_or_doubled_while_a_box_is_closed(hasty: None) -> None:
    """An item that comes just as its box is closed is in it or late, and never both or neither."""
    boxes: Boxes[int] = Boxes()
    found: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(0, 4000, 20):
            box = opened(boxes)
            start = threading.Barrier(2)

            def put(box: Box[int] = box, first: int = number, start: Any = start) -> None:
                start.wait(10)
                for item in range(first, first + 20):
                    assert boxes.put(box, item)

            putting = pool.submit(put)
            start.wait(10)
            found += items_of(boxes.close(box))
            putting.result(10)
    found += items_of(boxes.close(opened(boxes)))
    assert sorted(found) == list(range(4000))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_can_put_while_its_parent_did() -> None:
    """A lock that a thread of the parent has held is free in the child."""
    boxes: Boxes[str] = Boxes()
    box = opened(boxes)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with holding(boxes):
            held.set()
            free.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        signal.alarm(10)  # which ends it
        os._exit(0 if boxes.put(box, "x") else 1)
    free.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_latecomers_go_to_their_own_runs() -> None:
    """Each run gets its spans at once; a broken one keeps no other from its."""
    latecomers = Latecomers()
    seen: list[tuple[str, Any]] = []

    def breaks(spans: Any) -> None:
        raise KeyError("k")

    latecomers.expect(1, breaks)
    latecomers.expect(2, lambda spans: seen.append(("two", spans)))
    spans: Any = [(1, "a"), (2, "b"), (2, "c")]
    with pytest.raises(KeyError):
        latecomers.hand_over(spans)
    assert seen == [("two", ["b", "c"])]


def test_spans_of_a_run_that_is_long_over_are_counted() -> None:
    """Where nobody knows any more where a run's spans go they count as dropped."""
    latecomers = Latecomers()
    for run in range(257):
        latecomers.expect(run, lambda spans: None)
    before = drop_counter.total(TRACES)
    spans: Any = [(0, "a"), (0, "b"), (1, "c")]
    latecomers.hand_over(spans)
    assert drop_counter.total(TRACES) - before == 2


def test_a_burst_of_records_fits() -> None:
    """A step that logs 10,000 lines before any of them is fetched loses none."""
    record = {f"field {number}": "a value of some length" for number in range(32)}
    kept: Backlog[dict[str, str]] = Backlog()
    for _ in range(10_000):
        kept.put(record)
    assert size_of(record) > 5_000
    assert (len(kept), kept.take().dropped) == (10_000, 0)
