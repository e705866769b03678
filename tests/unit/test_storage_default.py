"""StorageDefault, beyond what every storage promises, and what `Storage` gives to all."""

from __future__ import annotations

import gc
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from waiting import wait_for

from dotflow import Config, DotFlow, action
from dotflow.abc.storage import Storage
from dotflow.core.context import Context
from dotflow.core.ids import belongs_to, prefix_of
from dotflow.providers import storage_default
from dotflow.providers.storage_default import StorageDefault

TASK_ID = "01HXYZ0123456789ABCDEFGHJK"


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock in the place of the real one."""
    made = Clock()
    monkeypatch.setattr(storage_default, "time", made)
    return made


def test_keeps_the_object_itself() -> None:
    """The context that was posted is the one that is got: no copy."""
    storage = StorageDefault()
    context = Context(storage=[1])
    storage.post("a", context)
    assert storage.get("a") is context


def test_key_names_workflow_and_task() -> None:
    """The key is workflow id, dash, task id."""
    task: Any = SimpleNamespace(workflow_id=UUID(int=1), task_id=TASK_ID)
    assert StorageDefault().key(task) == f"00000000-0000-0000-0000-000000000001-{TASK_ID}"


def test_value_lives_until_its_ttl(clock: Clock) -> None:
    """A value is there before its ttl has passed and gone at it, its mark as well."""
    storage = StorageDefault()
    storage.post("a", Context(storage=1), ttl=5, fingerprint="f")
    clock.now += 4.9
    assert (storage.get("a").storage, storage.fingerprint("a")) == (1, "f")
    clock.now += 0.1
    assert storage.fingerprint("a") is None
    assert storage.get("a").storage is None
    assert not storage.delete("a")


def test_post_without_marks_clears_both(clock: Clock) -> None:
    """A later post without ttl and fingerprint leaves neither behind."""
    storage = StorageDefault()
    storage.post("a", Context(storage=1), ttl=5, fingerprint="f")
    storage.post("a", Context(storage=2))
    clock.now += 10
    assert storage.get("a").storage == 2
    assert storage.fingerprint("a") is None


def test_swap_sees_an_expired_value_as_absent(clock: Clock) -> None:
    """After the ttl a swap from nothing succeeds."""
    storage = StorageDefault()
    storage.post("a", Context(storage=1), ttl=5)
    assert not storage.atomic_swap("a", None, Context(storage=2))
    clock.now += 5
    assert storage.atomic_swap("a", None, Context(storage=2), fingerprint="f")
    assert storage.fingerprint("a") == "f"


def test_listing_and_prefix_skip_expired(clock: Clock) -> None:
    """Expired keys are neither listed nor counted."""
    storage = StorageDefault()
    storage.post("a-1", Context(storage=1), ttl=5)
    storage.post("a-2", Context(storage=2))
    clock.now += 5
    assert storage.list_keys("a-") == ["a-2"]
    assert storage.delete_prefix("a-") == 1


class Value:
    """A value that can be counted."""


def test_forgotten_keys_do_not_pile_up(clock: Clock) -> None:
    """Expired values that nobody asks for are dropped as others with a ttl come."""
    storage = StorageDefault()
    for number in range(1000):
        storage.post(str(number), Context(storage=Value()), ttl=1)
        clock.now += 0.5
    gc.collect()
    assert 0 < sum(type(each) is Value for each in gc.get_objects()) <= 64


def test_many_live_keys_with_ttl_stay(clock: Clock) -> None:
    """A sweep drops nothing that lives."""
    storage = StorageDefault()
    for number in range(300):
        storage.post(str(number), Context(storage=number), ttl=1)
    assert len(storage.list_keys("")) == 300
    clock.now += 1
    assert storage.list_keys("") == []


def test_swap_from_a_stored_none() -> None:
    """A stored None equals an empty context, but it is something: not a swap from nothing."""
    storage = StorageDefault()
    storage.post("a", Context())
    assert not storage.atomic_swap("a", None, Context(storage=1))
    assert storage.atomic_swap("a", storage.get("a"), Context(storage=1))


def test_swap_of_a_value_that_equals_nothing() -> None:
    """The very object matches itself, also where it does not equal itself."""
    storage = StorageDefault()
    storage.post("a", Context(storage=float("nan")))
    assert storage.atomic_swap("a", storage.get("a"), Context(storage=1))


def test_value_may_use_the_storage_while_it_is_compared() -> None:
    """An `__eq__` that reads the storage does not block."""
    storage = StorageDefault()

    class Curious:
        def __eq__(self, other: object) -> bool:
            storage.post("seen", Context(storage=True))
            return True

        __hash__ = None  # type: ignore[assignment]

    storage.post("a", Context(storage=Curious()))
    assert storage.atomic_swap("a", Context(storage=1), Context(storage=2))
    assert storage.get("seen").storage is True


def test_swaps_of_threads_lose_nothing() -> None:
    """Four threads that count up together reach the sum."""
    storage = StorageDefault()
    storage.post("n", Context(storage=0))

    def count() -> None:
        done = 0
        while done < 200:
            seen = storage.get("n")
            done += storage.atomic_swap("n", seen, Context(storage=seen.storage + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.get("n").storage == 800


@pytest.mark.parametrize(
    ("key", "workflow_id", "mine"),
    [
        (f"etl-{TASK_ID}", "etl", True),
        (f"etl-{TASK_ID}.json", "etl", True),
        ("etl-_run", "etl", True),
        ("etl-_input_fp", "etl", True),
        (f"etl-daily-{TASK_ID}", "etl", False),
        (f"etl-daily-{TASK_ID}.json", "etl", False),
        ("etl-daily-_run", "etl", False),
        ("etl-daily-_input_fp", "etl", False),
        ("etl-daily-_run", "etl-daily", True),
        ("etlx-_run", "etl", False),
        (f"{UUID(int=1)}-{TASK_ID}", UUID(int=1), True),
    ],
)
def test_whose_key_it_is(key: str, workflow_id: Any, *, mine: bool) -> None:
    """A key belongs to exactly one workflow, also where one id begins with another."""
    assert belongs_to(key, workflow_id) is mine


def test_prefix_of_a_workflow() -> None:
    """All keys of a workflow begin with its id and a dash."""
    assert prefix_of(UUID(int=1)) == "00000000-0000-0000-0000-000000000001-"


def test_clear_counts_what_it_removed() -> None:
    """Clearing `etl` removes its two keys and leaves `etl-daily` whole."""
    storage = StorageDefault()
    others = [f"etl-daily-{TASK_ID}", "etl-daily-_run", "other"]
    for key in [f"etl-{TASK_ID}", "etl-_run", *others]:
        storage.post(key, Context(storage=1))
    assert storage.clear("etl") == 2
    assert storage.list_keys("") == others
    assert storage.clear("etl") == 0


def test_optional_methods_say_what_is_missing() -> None:
    """A storage with the three methods of 1.x only says by name what it lacks."""

    class Small(Storage):
        def post(self, key: str, context: Context) -> None:  # type: ignore[override]
            raise AssertionError(key, context)

        def get(self, key: str) -> Context:
            raise AssertionError(key)

        def key(self, task: Any) -> str:
            raise AssertionError(task)

    small = Small()
    for call in (
        lambda: small.delete("a"),
        lambda: small.delete_prefix("a"),
        lambda: small.list_keys("a"),
        lambda: small.atomic_swap("a", None, Context()),
        lambda: small.clear("a"),
    ):
        with pytest.raises(NotImplementedError, match=r"Small does not implement \w+\(\)"):
            call()


def test_real_clock_is_monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ttl is counted on the clock that nobody sets."""
    storage = StorageDefault()
    storage.post("a", Context(storage=1), ttl=60)
    storage.post("b", Context(storage=2), ttl=0.001)
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert storage.get("a").storage == 1
    wait_for(lambda: storage.get("b").storage is None)


@pytest.mark.parametrize("calls", range(2, 10))
def test_entries_go_at_the_recursion_limit(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow that is dropped where hardly a call is left takes its contexts along.

    They are gone when the storage is asked what it has, at the latest.
    """
    # Other finalizers may find no call left, which pytest would fail for.
    monkeypatch.setattr(sys, "unraisablehook", lambda told: None)
    storage = StorageDefault()
    flows = [DotFlow(Config(storage=storage))]
    flows[0].task.add(action(lambda: 1))
    flows[0].start()
    assert len(storage.list_keys("")) > 0
    gc.collect()

    def drop_at(limit: int, depth: int) -> None:
        if depth < limit:
            drop_at(limit, depth + 1)
        else:
            flows.clear()

    depth = 0

    def deepest(here: int) -> None:
        nonlocal depth
        depth = here
        deepest(here + 1)

    with pytest.raises(RecursionError):
        deepest(0)
    trace = sys.gettrace()
    # What measures coverage would take calls of its own.
    sys.settrace(None)
    try:
        drop_at(depth - calls, 0)
    finally:
        sys.settrace(trace)
    gc.collect()
    assert storage.list_keys("") == []
