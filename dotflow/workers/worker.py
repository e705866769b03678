"""One worker process, seen from its owner."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections import deque
from os.path import dirname
from typing import TYPE_CHECKING, Any, Final

from dotflow.workers.allowance import VARIABLE
from dotflow.workers.environment import environment, working_folder
from dotflow.workers.imports import import_path
from dotflow.workers.interpreter import interpreter, variables
from dotflow.workers.payload import KnownSteps
from dotflow.workers.protocol import (
    Closed,
    FrameReader,
    SharedState,
    encoded,
    make_shared_state,
    packed,
    socket_pair,
)

if TYPE_CHECKING:
    from dotflow.workers.protocol import Body, Frame, Message

# It leaves no names behind: the worker's main module stands in for that of the run's process.
_BOOT: Final = """\
import sys
sys.path[:] = sys.argv[4].split("\\n")
__import__("dotflow.workers.child", fromlist=["main"]).main(*map(int, sys.argv[1:4]))
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
        ours, theirs = socket_pair()
        for end in (ours, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER)
        state = make_shared_state()
        try:
            self._process = _spawn(command, nested, theirs.fileno(), state, lifeline)
            self.shared_state = SharedState(state)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(state)
        ours.setblocking(False)
        self.pid = self._process.pid
        self.connection = ours
        # Becomes readable when the process ends, also while a child of its holds the socket.
        self.death = _death_of(self.pid)
        self.known_steps = KnownSteps()
        self.known_scope_data: set[int] = set()
        self.environment: object = None
        # Whether it has an attempt, as far as its run has read, and how many it has had.
        self.has_attempt = False
        self.attempts = 0
        self.is_initialised = False
        # How often the owner's modules had been loaded again when it was started.
        self.code_version = 0
        self._reader = FrameReader(ours)
        self._outbox: deque[bytes | memoryview] = deque()

    @property
    def wants_to_send(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._outbox)

    def send(self, message: Message, body: Body = b"") -> None:
        """Send a message, now or as the worker receives it.

        Raises:
            Closed: The worker is gone.
        """
        self._outbox += packed(encoded(message), body)
        self.send_more()

    def send_more(self) -> None:
        """Send what is left, as far as the socket takes it.

        Raises:
            Closed: The worker is gone.
        """
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
