"""One worker process, seen from its owner."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from functools import cache
from os.path import dirname
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import InterpreterNotFound
from dotflow.workers.environment import VARIABLE, environment, working_folder
from dotflow.workers.imports import import_path
from dotflow.workers.payload import KnownSteps
from dotflow.workers.protocol import (
    Closed,
    FrameReader,
    Permits,
    SharedState,
    encoded,
    make_shared_state,
    packed,
    socket_pair,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow.workers.protocol import Body, Frame, Message


_NAMES: Final = re.compile(r"(python|pypy|graalpy)[\w.-]*", re.IGNORECASE)
_ABOUT: Final = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.abiflags)"

# Set for one that is asked: where that is a program with Python in it, it does not ask in turn.
ASKED: Final = "DOTFLOW_ASKED_INTERPRETER"
_SECONDS: Final = 10.0

# The flags of `sys.flags` and the options that set them; isolated mode stands for three others.
_FLAGS: Final = {
    "ignore_environment": "E",
    "no_user_site": "s",
    "safe_path": "P",
    "no_site": "S",
    "debug": "d",
    "optimize": "O",
    "bytes_warning": "b",
    "verbose": "v",
    "quiet": "q",
}
_OF_ISOLATED: Final = ("ignore_environment", "no_user_site", "safe_path")

# What is read when an interpreter starts, by itself or by the system's loader.
_READ_AT_START: Final = ("PYTHON", "LD_", "DYLD_")

# By `sys.executable`, which an application may set; None: there is none.
found_before: dict[object, str | None] = {}


def interpreter() -> list[str]:
    """Return the command of an interpreter like this one, with the flags that this one has.

    Raises:
        InterpreterNotFound: There is none.
    """
    executable: Any = sys.executable
    if executable not in found_before:
        found_before[executable] = _find(executable)
    found = found_before[executable]
    if found is None:
        raise InterpreterNotFound(executable)
    return [found, *flags()]


def variables(now: dict[str, str]) -> dict[str, str]:
    """Return the variables to start an interpreter with.

    Args:
        now: Those of this process.
    """
    began = at_start()
    if began is None:
        return dict(now)
    kept = {name: value for name, value in now.items() if not name.startswith(_READ_AT_START)}
    return {**kept, **began}


def hint(now: dict[str, str]) -> str:
    """Return what to say of a worker that does not begin: which variables may be the reason.

    Args:
        now: Those of this process.
    """
    read = sorted(name for name in now if name.startswith(_READ_AT_START))
    if not read or at_start() is not None:
        return ""
    return f" (its interpreter reads {', '.join(read)} when it starts: are they right?)"


@cache
def at_start() -> dict[str, str] | None:
    """Return the variables with which this process was started, where that can be known."""
    # None where the system does not tell, or the process has written over it to change its title.
    try:
        with open("/proc/self/environ", "rb") as file:
            told = file.read()
    except OSError:
        return None
    pairs = [entry.partition(b"=") for entry in told.removesuffix(b"\0").split(b"\0") if told]
    if not all(name and equals for name, equals, _ in pairs):
        return None
    found = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    return {name: value for name, value in found.items() if name.startswith(_READ_AT_START)}


def flags() -> list[str]:
    """Return the options of the command line that give an interpreter the flags of this one."""
    isolated = bool(sys.flags.isolated)
    given = ["-I"] if isolated else []
    for name, letter in _FLAGS.items():
        times = int(getattr(sys.flags, name))
        if times and not (isolated and name in _OF_ISOLATED):
            given.append("-" + letter * times)
    if sys.dont_write_bytecode:
        given.append("-B")
    for name, value in getattr(sys, "_xoptions", {}).items():
        given += ["-X", name if value is True else f"{name}={value}"]
    for option in _warn_options():
        given += ["-W", option]
    return given


def _warn_options() -> list[str]:
    # Without those that the flags and the environment give there as well.
    options = list(sys.warnoptions)
    implied = ["default"] if sys.flags.dev_mode else []
    if not sys.flags.ignore_environment:
        implied += os.environ.get("PYTHONWARNINGS", "").split(",")
    if sys.flags.bytes_warning:
        implied.append(f"{'default' if sys.flags.bytes_warning == 1 else 'error'}::BytesWarning")
    for option in implied:
        if option in options:
            options.remove(option)
    return options


def _find(executable: Any) -> str | None:
    if _is_named_so(executable) and _runs_here(executable) and not _is_application(executable):
        return str(executable)
    if ASKED not in os.environ:
        for candidate in dict.fromkeys(_candidates(executable)):
            is_own = candidate == executable or _runs_here(candidate)
            if is_own and _is_application(candidate):
                continue
            if _is_named_so(candidate) and _is_alike(candidate):
                return str(candidate)
    return None


def _is_application(own: Any) -> bool:
    # A launcher may say that it is frozen as well, where Python runs as it was installed.
    return bool(getattr(sys, "frozen", False)) and not _is_installed(own)


def _candidates(executable: Any) -> Iterator[Any]:
    yield executable
    yield from _in_prefix(sys.prefix)
    yield from _in_prefix(sys.exec_prefix)
    yield getattr(sys, "_base_executable", None)
    yield from _in_prefix(sys.base_prefix)
    yield from _in_prefix(sys.base_exec_prefix)


def _in_prefix(prefix: str) -> Iterator[str]:
    major, minor = sys.version_info[:2]
    for name in (f"python{major}.{minor}{sys.abiflags}", f"python{major}", "python", "pypy3"):
        yield os.path.join(prefix, "bin", name)


def _is_named_so(path: Any) -> bool:
    if not isinstance(path, str) or not os.access(path, os.X_OK):
        return False
    names = (os.path.basename(each) for each in (path, os.path.realpath(path)))
    return any(_NAMES.fullmatch(name) for name in names)


def _is_installed(path: Any) -> bool:
    # The standard library is in files, where such a program finds it if it is Python.
    from pathlib import Path  # noqa: PLC0415 - for frozen programs alone

    try:
        libraries = Path(os.path.realpath(path)).parent.parent / sys.platlibdir
        return Path(os.__file__).is_file() and Path(os.__file__).parents[1].samefile(libraries)
    except (OSError, TypeError, ValueError):
        return False


def _runs_here(path: Any) -> bool:
    # Where the system tells which program this process runs, that one needs not be asked.
    try:
        return os.path.samefile(path, "/proc/self/exe")
    except (OSError, TypeError, ValueError):
        return False


def _is_alike(candidate: str) -> bool:
    own = f"{sys.implementation.name} {sys.version_info[0]} {sys.version_info[1]} {sys.abiflags}"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(  # noqa: S603 - called like an interpreter
            [candidate, "-I", "-S", "-c", _ABOUT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**variables(environment()), ASKED: "1"},
            start_new_session=True,
            timeout=_SECONDS,
            check=True,
        )
        return answer.stdout.decode(errors="replace").strip() == own.strip()
    return False


# It leaves no names behind: the worker's main module stands in for that of the run's process.
_BOOT: Final = """\
import sys
sys.path[:] = sys.argv[5].split("\\n")
__import__("dotflow.workers.child", fromlist=["main"]).main(*map(int, sys.argv[1:5]))
"""

_HOME: Final = dirname(dirname(dirname(__file__)))
_SOCKET_BUFFER: Final = 1 << 20
_HAS_WAITID: Final = hasattr(os, "waitid")


class Worker:
    """A child interpreter: its own process group, one socket, a few shared bytes.

    Args:
        lifeline: The reading end of a pipe whose other end this process holds open.
        nested: How many workers may be below it.

    Raises:
        OSError: No process can be started.
        InterpreterNotFound: There is no interpreter to start.
    """

    def __init__(self, lifeline: int, nested: int) -> None:
        command = interpreter()
        own_end, child_end = socket_pair()
        for end in (own_end, child_end):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        state = make_shared_state()
        self._permits = Permits()
        ends = child_end.fileno(), state, lifeline, self._permits.reading
        try:
            self._process = _spawn(command, nested, *ends)
            self.shared_state = SharedState(state)
        except BaseException:
            own_end.close()
            self._permits.close()
            raise
        finally:
            child_end.close()
            os.close(state)
        own_end.setblocking(False)
        self.pid = self._process.pid
        self.connection = own_end
        # Becomes readable when the process ends, also while a child of its holds the socket.
        self.death = _death_of(self.pid)
        self.known_steps = KnownSteps()
        self.known_scope_data: set[int] = set()
        self.environment: object = None
        # Whether it has an attempt, as far as its run has read, and how many it has had.
        self.has_attempt = False
        self.attempts = 0
        # Whether its attempt takes so long that none is to wait behind it.
        self.is_slow = False
        self.is_initialised = False
        # How often the owner's modules had been loaded again when it was started.
        self.code_version = 0
        self._reader = FrameReader(own_end)
        self._outbox: deque[bytes | memoryview] = deque()

    @property
    def wants_to_send(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._outbox)

    def hold(self, message: Message, body: Body = b"") -> None:
        """Add a message to what is to be sent."""
        self._outbox += packed(encoded(message), body)

    def send_more(self) -> None:
        """Send what is to be sent, as far as the socket takes it, small messages in one piece.

        Raises:
            Closed: The worker is gone.
        """
        if len(self._outbox) > 1 and sum(map(len, self._outbox)) <= _SOCKET_BUFFER:
            self._outbox = deque((b"".join(self._outbox),))
        try:
            while self._outbox:
                piece = self._outbox[0]
                sent = self.connection.send(piece)
                if sent == len(piece):
                    self._outbox.popleft()
                else:
                    self._outbox[0] = memoryview(piece)[sent:]
        except BlockingIOError:
            return
        except OSError as error:
            raise Closed from error

    def permit(self) -> int:
        """Let it begin one more attempt after those that it has, and return that one's batch."""
        return self._permits.add()

    def withdraw(self) -> int:
        """Have it begin no more than it has; return how many attempts it has left."""
        return self._permits.withdraw()

    @property
    def has_more(self) -> bool:
        """Whether something has arrived that is not announced any more."""
        return self._reader.has_more

    def read(self) -> Frame | None:
        """Return the next message, if all of it has arrived.

        Raises:
            Closed: The worker is gone.
        """
        return self._reader.read()

    def stands_still(self) -> bool:
        """Return whether it has no attempt, or one whose outcome nobody has read; in any thread."""
        if not self.has_attempt:
            return True
        outcome = select.poll()
        try:
            outcome.register(self.connection, select.POLLIN)
            return bool(outcome.poll(0))
        except (OSError, ValueError):  # its run closes it at this moment
            return True

    def is_alive(self) -> bool:
        """Return whether the process is there."""
        if _HAS_WAITID:
            # A dead one is not reaped here: until then its group's id is nobody else's, and
            # `kill` can still end its children.
            return not self._is_in_state(os.WEXITED)
        return self._process.poll() is None

    def is_stopped(self) -> bool:
        """Return whether the process was stopped by a signal, where that can be known."""
        return _HAS_WAITID and self._is_in_state(os.WSTOPPED)

    def _is_in_state(self, state: int) -> bool:
        try:
            found = os.waitid(os.P_PID, self.pid, state | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True  # reaped: by us, or by a handler of the application's
        return found is not None

    def kill(self) -> str:
        """End the process and its children at once; tell how it ended."""
        self.signal()
        return self._reap()

    def signal(self) -> None:
        """Kill the process and its children, and leave the rest to who has it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def end(self, seconds: float) -> None:
        """Let the process end by itself, in that time, when it has nothing to do."""
        self.connection.close()
        if self.death is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        else:
            self.has_ended(seconds)
        self.kill()

    def has_ended(self, seconds: float) -> bool:
        """Return whether the process ends in that time; at once where the system does not tell."""
        if self.death is None:
            return not self.is_alive()
        death = select.poll()
        death.register(self.death, select.POLLIN)
        return bool(death.poll(seconds * 1000))

    def forget(self) -> None:
        """Let go of it in a forked copy of its owner, where it is not a child."""
        self._close()
        self._process.returncode = 0

    def _reap(self) -> str:
        code = self._process.wait()
        self._close()
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"

    def _close(self) -> None:
        self.connection.close()
        self.shared_state.close()
        self._outbox.clear()
        self._permits.close()
        # Forgotten before it is closed: its number may be another one's when this is called again.
        death, self.death = self.death, None
        if death is not None:
            os.close(death)

    def __repr__(self) -> str:
        return f"<Worker {self.pid}>"


def _death_of(pid: int) -> int | None:
    # There is none on other systems than Linux, nor where its kernel or a sandbox refuses.
    with contextlib.suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time one


def _spawn(command: list[str], nested: int, *descriptors: int) -> subprocess.Popen[Any]:
    # This package is found also where the path leads to it no more.
    path = "\n".join([*import_path(), _HOME])
    return subprocess.Popen(  # noqa: S603 - an interpreter like this one
        [*command, "-c", _BOOT, *map(str, descriptors), path],
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        env={**variables(environment()), VARIABLE: str(nested)},
        process_group=0,
        # In one that was removed Python 3.13.0 cannot import its own library.
        cwd=None if working_folder() else "/",
    )
