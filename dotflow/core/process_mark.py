"""Which process wrote something, and whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from dotflow.core.timing import system_time_ns

# Of a process that cannot be looked at, such as one on another machine: how long after its last
# heartbeat it counts as gone. The clocks of two machines are not the same.
SILENCE: Final = 60 * 10**9


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

    @property
    def is_elsewhere(self) -> bool:
        """Whether nobody can look at it from here: another machine, or another container."""
        here = socket.gethostname(), _boot(), _namespace()
        return (self.host, self.boot, self.namespace) != here

    def is_gone(self, beat: int) -> bool:
        """Return whether the process has ended.

        Args:
            beat: Its last heartbeat, in nanoseconds since the epoch.
        """
        if self.is_elsewhere:
            return system_time_ns() - beat > SILENCE
        born = _born(self.pid)
        return born != self.born if born and self.born else born is None


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
    """Return when a process began; None where there is none, or it has ended.

    0 where that cannot be seen: on some systems, or of the processes of other users.
    """
    # The second field is a name, which may have spaces and brackets in it.
    fields = _text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields:
        return 0 if _is_there(pid) else None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _is_there(pid: int) -> bool:
    if os.name == "nt":  # pragma: no cover - it would send Ctrl-C there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
