"""What Linux tells of processes: their memory, and the children of this one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# How often the children are counted, in seconds.
_LOOK = 0.02


def memory(pid: int | str, field: str) -> int:
    """Return bytes of a process: `VmRSS` are those in memory now, `VmHWM` the most ever."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"/proc/{pid}/status has no {field}")


def children() -> set[int]:
    """Return the ids of the living children of this process, of all its threads."""
    found: set[int] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        try:
            found |= set(map(int, (task / "children").read_text(encoding="ascii").split()))
        except FileNotFoundError:
            continue  # the thread has ended
    return found


class Most:
    """The most children that there were at a time."""

    def __init__(self) -> None:
        self.count = 0

    def look(self) -> None:
        """Count once more."""
        self.count = max(self.count, len(children()))


@contextmanager
def most_children() -> Iterator[Most]:
    """Count the children all the time, in a thread."""
    most, ended = Most(), Event()

    def watch() -> None:
        while not ended.wait(_LOOK):
            most.look()

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()
        most.look()
