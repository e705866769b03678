"""Which process this is, and whether another one still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from dotflow.core.timing import system_time_ns

# Of a process that cannot be looked at, such as one on another machine: how long after its last
# heartbeat it counts as gone. The clocks of two machines are not the same.
_SILENCE: Final = 60 * 10**9


class ProcessMark(NamedTuple):
    """What distinguishes a process from every other, also from a later one of the same number.

    Attributes:
        host: The name of its machine.
        boot: Which start of the machine.
        namespace: Where its number counts: containers have numbers of their own.
        pid: Its number.
        born: When it began, in ticks since the machine's start; 0 where that is not known.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    born: int

    @classmethod
    def of_this(cls) -> ProcessMark:
        """Return the mark of this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), _boot(), _namespace(), pid, _born(pid) or 0)

    def is_gone(self, beat: int) -> bool:
        """Return whether the process has ended.

        Args:
            beat: Its last heartbeat, in nanoseconds since the epoch.
        """
        if (self.host, self.boot, self.namespace) != (socket.gethostname(), _boot(), _namespace()):
            return system_time_ns() - beat > _SILENCE
        if not self.born:
            return not _is_there(self.pid)
        return _born(self.pid) != self.born


def _boot() -> str:
    return _text_of("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _text_of(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _born(pid: int) -> int | None:
    """Return when a process began; None where there is none, or it has ended."""
    # The second field is a name, which may have spaces and brackets in it.
    fields = _text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields or fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
