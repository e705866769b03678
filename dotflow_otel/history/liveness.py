"""Where the history is, and which of the processes that wrote it still live."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from dotflow.core.arguments import check_file
from dotflow.core.exception import InvalidOption
from dotflow.core.timing import system_time_ns

VARIABLE: Final = "DOTFLOW_HISTORY"

FOLDER: Final = ".dotflow"
_NAME: Final = "history.db"

_OFF: Final = frozenset({"", "0", "false", "no", "off"})
_ON: Final = frozenset({"1", "true", "yes", "on"})


def default_path() -> Path:
    """Return where the history is unless set otherwise: below the working directory."""
    return Path.cwd() / FOLDER / _NAME


def history_path(history: bool | str | os.PathLike[str] | None = None) -> Path | None:
    """Return where the history is; None where there is to be none.

    Args:
        history: A path; True: where `DOTFLOW_HISTORY` says, or the usual place; False: none;
            None: as `DOTFLOW_HISTORY` says, which is a path, or `1` for the usual place.

    Raises:
        InvalidOption: It is none of these, or a path where no file can be.
    """
    if history is False:
        return None
    if history is None or history is True:
        named = os.environ.get(VARIABLE, "").strip()
        if named.lower() in _OFF:
            return default_path() if history else None
        return default_path() if named.lower() in _ON else Path(named).absolute()
    if not isinstance(history, (str, os.PathLike)):
        hint = "give True for the usual place, a path, or False for none"
        raise InvalidOption("history", history, hint)
    check_file("history", history)
    return Path(history).absolute()


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
