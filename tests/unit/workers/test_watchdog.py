"""The watchdog of a worker."""

from __future__ import annotations

import os
import signal
import threading
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from dotflow.workers import watchdog
from dotflow.workers.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator


class Killed(threading.Event):
    """Set where this process would be killed."""

    def take(self, group: int, sent: int) -> None:
        assert (group, sent) == (0, signal.SIGKILL)
        self.set()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Killed]:
    """Have nothing killed, and no thread left."""
    told = Killed()
    monkeypatch.setattr(os, "killpg", told.take)
    monkeypatch.setattr(watchdog, "_LOOK", 0.001)
    monkeypatch.setattr(watchdog, "_LATE", 0.01)
    yield told
    for thread in watching():
        thread.join(5)
        assert not thread.is_alive()


def watching() -> list[threading.Thread]:
    """Give the threads of watchdogs."""
    return [each for each in threading.enumerate() if each.name == "dotflow-watchdog"]


def test_a_late_attempt_is_ended(killed: Killed) -> None:
    """After its limit, and some time for its owner to do so."""
    dog = Watchdog()
    began = monotonic()
    dog.watch(began, 0.02)
    assert killed.wait(5)
    assert monotonic() - began >= 0.03
    assert dog.rest()


def test_what_has_ended_in_time_is_left_alone(killed: Killed) -> None:
    """One thread watches one attempt after another, and none where there is none."""
    dog = Watchdog()
    assert not dog.rest()
    assert watching() == []
    for _ in range(3):
        dog.watch(monotonic(), 60)
        assert dog.rest()
    assert len(watching()) == 1
    assert not killed.wait(0.05)
    dog.watch(monotonic() - 1, 0.5)
    assert killed.wait(5)
