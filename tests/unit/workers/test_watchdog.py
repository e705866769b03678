"""The watchdog of a worker."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from backends.waiting import eventually

from dotflow.workers import answers
from dotflow.workers.answers import Watchdog, start_thread

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
    monkeypatch.setattr(answers, "LOOK", 0.001)
    monkeypatch.setattr(answers, "WORKER_GRACE", 0.01)
    before = threads()
    yield told
    eventually(lambda: threads() <= before, "the end of the watchdog's thread")


def threads() -> set[str]:
    """Return the ids of the threads of this process, as the system knows them."""
    return {each.name for each in Path("/proc/self/task").iterdir()}


def blocked_by(thread: str) -> int:
    """Return the signals that a thread blocks, as a bit mask."""
    status = Path("/proc/self/task", thread, "status").read_text()
    return int(re.search(r"SigBlk:\t(\w+)", status)[1], 16)  # type: ignore[index]


def test_a_late_attempt_is_ended(killed: Killed) -> None:
    """After its limit, and some time for its owner to do so."""
    dog = Watchdog()
    began = monotonic()
    dog.watch(began, 0.02)
    assert killed.wait(5)
    assert monotonic() - began >= 0.03
    assert dog.stop()


def test_what_has_ended_in_time_is_left_alone(killed: Killed) -> None:
    """One thread watches one attempt after another, and none where there is none."""
    dog = Watchdog()
    before = threads()
    assert not dog.stop()
    assert threads() == before
    for _ in range(3):
        dog.watch(monotonic(), 60)
        assert dog.stop()
    assert len(threads() - before) == 1
    assert not killed.wait(0.05)
    dog.watch(monotonic() - 1, 0.5)
    assert killed.wait(5)


def test_threads_of_a_worker_block_signals_from_their_first_moment() -> None:
    """A step may block a signal to wait for it, and no thread beside it may take that one."""
    noted: list[int] = []
    done = threading.Event()

    def note() -> None:
        noted.append(blocked_by(str(threading.get_native_id())))
        done.set()

    own = str(threading.get_native_id())
    before = blocked_by(own)
    start_thread(note)
    assert done.wait(5)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD, signal.SIGRTMAX):
        assert noted[0] >> (number - 1) & 1
    assert blocked_by(own) == before
