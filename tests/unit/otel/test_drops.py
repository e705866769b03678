"""The counter of dropped telemetry, and the account of what is on its way."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from log_records import own_records
from prometheus_client import CollectorRegistry

from dotflow_otel import MetricsPrometheus
from dotflow_otel._process import DropCounter, drop_counter
from dotflow_otel.sdk.batching import RESERVE, Account

if TYPE_CHECKING:
    from collections.abc import Callable

# Python 3.12 and later warn of forks beside threads: that is what is tested.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def drops() -> DropCounter:
    """Return a counter of this test's own."""
    return DropCounter()


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def take(self, signal: str, count: int) -> None:
        """Keep it."""
        self.told.append((signal, count))


def in_a_forked_child(check: Callable[[], bool]) -> bool:
    """Return whether something holds in a forked child."""
    child = os.fork()
    if not child:
        holds = False
        try:
            holds = check()
        finally:
            os._exit(0 if holds else 1)
    return os.waitpid(child, 0)[1] == 0


def test_one_line(drops: DropCounter, caplog: pytest.LogCaptureFixture) -> None:
    """What was dropped is told in one line, once, by signal; nothing dropped is no line."""
    drops.tell()
    drops.add("traces", 1000)
    drops.add("logs", 1)
    drops.add("traces", 1)
    drops.add("metrics", 0)
    drops.tell()
    drops.tell()
    (record,) = own_records(caplog)
    assert record.getMessage() == "telemetry was dropped: 1 log record, 1001 spans"
    assert (record.name, record.levelno) == ("dotflow_otel", logging.WARNING)
    assert [drops.total(signal) for signal in ("traces", "logs", "metrics")] == [1001, 1, 0]


def test_a_reason_is_told_in_any_case(drops: DropCounter, caplog: pytest.LogCaptureFixture) -> None:
    """A reason is a line of its own where nothing was dropped."""
    drops.tell("telemetry was late")
    assert [record.getMessage() for record in own_records(caplog)] == ["telemetry was late"]


def test_watchers(drops: DropCounter) -> None:
    """Each watcher is told each drop once; one that is gone is not missed."""
    watchers = [Watcher(), Watcher()]
    for watcher in watchers:
        drops.watch(watcher.take)
    drops.add("traces", 2)
    drops.tell()
    watchers.pop()
    drops.add("traces", 3)
    drops.tell()
    assert [watcher.told for watcher in watchers] == [[("traces", 2), ("traces", 3)]]


@forks
def test_a_forked_child_begins_anew(drops: DropCounter) -> None:
    """What a parent lost is not told by its forked child."""
    drops.add("traces", 5)
    assert in_a_forked_child(lambda: drops.total("traces") == 0)
    assert drops.total("traces") == 5


def test_counter() -> None:
    """Each registry counts what was dropped once, however many providers it has."""
    registry, other = CollectorRegistry(), CollectorRegistry()
    kept = [MetricsPrometheus(each) for each in (registry, registry, other)]
    drop_counter.tell()
    drop_counter.add("logs", 3)
    drop_counter.tell()
    kept[0].telemetry_dropped("logs", 2)
    name, labels = "dotflow_telemetry_dropped_total", {"signal": "logs"}
    assert registry.get_sample_value(name, labels) == 5
    assert other.get_sample_value(name, labels) == 3


def test_a_full_queue(drops: DropCounter) -> None:
    """What does not fit is dropped; what matters has a reserve, which ends as well."""
    account = Account("traces", 2, drops)
    assert [account.admit() for _ in range(3)] == [True, True, False]
    assert [account.admit(matters=True) for _ in range(RESERVE + 1)] == [True] * RESERVE + [False]
    assert drops.total("traces") == 2
    account.send(RESERVE + 2)
    assert account.admit()


def test_every_item_is_accounted_for(drops: DropCounter) -> None:
    """Delivered, failed, on its way and queued: only the first is not dropped in the end."""
    account = Account("traces", 100, drops)
    for _ in range(10):
        account.admit()
    account.send(3)
    account.answered(3, delivered=True)
    account.send(2)
    account.answered(2, delivered=False)
    account.send(1)
    assert drops.total("traces") == 2
    account.abandon()
    assert drops.total("traces") == 7
    account.answered(1, delivered=False)
    account.abandon()
    assert drops.total("traces") == 7
    assert not account.admit()
    assert drops.total("traces") == 8


@forks
def test_an_account_in_a_forked_child(drops: DropCounter) -> None:
    """A forked child delivers nothing of what its parent has queued, so it drops nothing."""
    account = Account("traces", 1, drops)
    account.admit()

    def check() -> bool:
        account.abandon()
        return drops.total("traces") == 0

    assert in_a_forked_child(check)
