"""What a worker and its owner say to each other: messages, frames on a socket, shared memory.

Messages are named here and nowhere else; each travels as the head of a frame, whose body is what
is pickled on its own and may be large.

Descriptors are in no standard stream's place: a program whose standard streams are closed gets
their numbers for what it opens next, and a child finds its own streams there.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import pickle
import socket
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.workers.verdict import Moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    Body = bytes | Sequence[bytes]


_FIRST: Final = 3


def off_standard_streams(descriptor: int) -> int:
    """Move a descriptor out of the place of a standard stream, if it is there; return it."""
    if descriptor >= _FIRST:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(descriptor)


def pipe() -> tuple[int, int]:
    """Make a pipe: its reading and its writing end."""
    reading, writing = os.pipe()
    return off_standard_streams(reading), off_standard_streams(writing)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make two sockets that are connected and block, also where the application's time out."""
    one, other = (_blocking(end) for end in socket.socketpair())
    return one, other


def _blocking(end: socket.socket) -> socket.socket:
    # Whether it blocks goes along to a child, which knows of no timeout.
    moved = socket.socket(fileno=off_standard_streams(end.detach()))
    moved.settimeout(None)
    return moved


# --- messages of the owner ------------------------------------------------------------------


class Environment(NamedTuple):
    """A run begins; the body is its process environment."""


class Initializer(NamedTuple):
    """The body is to be called once."""


class SharedScopes(NamedTuple):
    """The body is the scopes that all attempts have in common."""


class ScopeData(NamedTuple):
    """The body is what the remote scopes of several attempts share.

    Attributes:
        key: What attempts refer to it by.
    """

    key: int


class Step(NamedTuple):
    """The body is a step.

    Attributes:
        key: What attempts refer to it by.
        keeps_others: Whether the steps that came before are needed still.
        by_name: Whether the owner can import all modules that what it returns may refer to.
    """

    key: int
    keeps_others: bool
    by_name: bool


class Run(NamedTuple):
    """An attempt is to be performed; the body is its input.

    Attributes:
        number: What it is called between the two.
        step: The key of its step.
        task_id: The task's id.
        attempt: Which attempt of the task this is, from 1.
        name: The task's name, for messages.
        seeds: For the generators of random numbers that its step has in common with others.
        batch: Which permit it needs, as it may be taken back until it begins; 0: none.
    """

    number: int
    step: int
    task_id: str
    attempt: int
    name: str
    seeds: Sequence[int]
    batch: int = 0


# --- messages of the worker -----------------------------------------------------------------


class Recorded(NamedTuple):
    """The body is what was recorded while a step runs.

    Attributes:
        number: That of the attempt; None: for all attempts.
    """

    number: int | None


class Ended(NamedTuple):
    """An attempt has ended; the body is the value that it returned.

    Attributes:
        number: That of the attempt.
        failure: The fields of how it failed, without the exception; None where it did not.
        started: When it started, in seconds of the monotonic clock.
        ended: When it ended, likewise.
        recorded: What its scopes recorded; as bytes, that pickled on its own.
        exception: The exception, pickled, where it failed and that travels.
        is_spent: Whether the worker is of no use any more: a coroutine that could not be
            cancelled goes on there.
    """

    number: int
    failure: tuple[Any, ...] | None
    started: float
    ended: float
    recorded: dict[str, object] | bytes | None
    exception: bytes | None
    is_spent: bool


Message = Environment | Initializer | SharedScopes | ScopeData | Step | Run | Recorded | Ended

# A message travels as its place here and a plain tuple.
_KINDS: Final[Sequence[Any]] = (
    *(Environment, Initializer, SharedScopes, ScopeData, Step, Run),
    *(Recorded, Ended),
)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


def encoded(message: Message) -> bytes:
    """Return a message as the head of a frame."""
    return pickle.dumps((_NUMBERS[type(message)], tuple(message)))


def decoded(head: bytes | memoryview) -> Message:
    """Return the message that is the head of a frame."""
    number, fields = pickle.loads(head)  # noqa: S301 - from our own child or parent
    # Not by its constructor, which takes several times as long, twice an attempt on either side.
    message: Message = tuple.__new__(_KINDS[number], fields)
    return message


# --- frames ---------------------------------------------------------------------------------

_LENGTHS = Struct("!QQ")

# Frames up to this size are joined and read in one piece; larger ones are not copied.
_SMALL = 1 << 16


class Frame(NamedTuple):
    """One message, as views of what was received."""

    head: memoryview
    body: memoryview


class Closed(Exception):
    """The peer has closed the connection, or died."""


def packed(head: bytes, body: Body) -> list[bytes]:
    """Return what is to be sent for a frame, in pieces; so may the body be."""
    pieces: Sequence[bytes] = (body,) if isinstance(body, bytes) else body
    size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
    lengths = _LENGTHS.pack(len(head), size)
    if size <= _SMALL:
        return [b"".join((lengths, head, *pieces))]
    return [lengths + head, *pieces]


def send(connection: socket.socket, head: bytes, body: Body) -> None:
    """Send a frame over a blocking socket."""
    for piece in packed(head, body):
        connection.sendall(piece)


class FrameReader:
    """Puts frames together from what arrives on a stream socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer: bytes | bytearray = b""
        self._filled = 0

    def wait(self) -> Frame:
        """Wait for the next frame on a blocking socket.

        Raises:
            Closed: The peer is gone.
        """
        while True:
            frame = self._complete_one()
            if frame is not None:
                return frame
            self._receive()

    @property
    def has_more(self) -> bool:
        """Whether something has arrived that was not returned."""
        return self._filled > 0

    def read(self) -> Frame | None:
        """Return the next frame of a socket that does not block, if all of it has arrived.

        Raises:
            Closed: The peer is gone.
        """
        try:
            return self.wait()
        except BlockingIOError:
            return None

    def _receive(self) -> None:
        try:
            if self._filled < len(self._buffer):
                # A buffer for a frame that came in part; see `_make_room`.
                rest = memoryview(self._buffer)[self._filled :]
                count = self._connection.recv_into(rest)
            else:
                piece = self._connection.recv(_SMALL)
                count = len(piece)
                self._buffer = self._buffer + piece if self._filled else piece
        except ConnectionError as error:
            raise Closed from error
        if not count:
            raise Closed
        self._filled += count

    def _complete_one(self) -> Frame | None:
        if self._filled < _LENGTHS.size:
            return None
        head, body = _LENGTHS.unpack_from(self._buffer)
        total = _LENGTHS.size + head + body
        if self._filled < total:
            self._make_room(total)
            return None
        return self._split_off(head, total)

    def _make_room(self, total: int) -> None:
        # Once, for a frame that came in part: what follows is received in place.
        if len(self._buffer) < total:
            whole = bytearray(total)
            whole[: self._filled] = self._buffer
            self._buffer = whole

    def _split_off(self, head: int, total: int) -> Frame:
        view = memoryview(self._buffer)
        # Mostly one frame has come and no more.
        self._buffer = bytes(view[total : self._filled]) if self._filled > total else b""
        self._filled -= total
        begin = _LENGTHS.size
        return Frame(view[begin : begin + head], view[begin + head : total])


# --- shared memory --------------------------------------------------------------------------

_NOTE = Struct("=dQ")
_TIME = Struct("=d")
_NUMBER = Struct("=Q")

# Where the moments of an attempt are noted: the time, and its number after it.
_RECEIVED, _BEGUN, _ENDED = (place * _NOTE.size for place in range(3))


def make_shared_state() -> int:
    """Make the memory and return its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = off_standard_streams(os.memfd_create("dotflow", os.MFD_CLOEXEC))
    else:
        from tempfile import TemporaryFile  # noqa: PLC0415 - where there is no memfd

        with TemporaryFile() as file:
            descriptor = off_standard_streams(os.dup(file.fileno()))
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


class SharedState:
    """One side's view of a few bytes that both share: which attempt the worker has, since when.

    So the owner knows of a dead worker whether it had the attempt, without a message more for
    each attempt.

    Args:
        descriptor: That of the memory.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)

    def receive(self, number: int, now: float) -> None:
        """Note that an attempt has arrived whole, at a time of the monotonic clock."""
        self._note(_RECEIVED, number, now)

    def begin(self, number: int, now: float) -> None:
        """Note that the step of an attempt begins."""
        self._note(_BEGUN, number, now)

    def end(self, number: int, now: float) -> None:
        """Note that the outcome of an attempt that has a limit is ready to be sent."""
        self._note(_ENDED, number, now)

    def moments(self, number: int) -> Moments:
        """Return when an attempt got how far."""
        return Moments(*(self._noted(place, number) for place in (_RECEIVED, _BEGUN, _ENDED)))

    def _note(self, place: int, number: int, now: float) -> None:
        # The number is written last: who reads it finds the time that goes with it.
        _NOTE.pack_into(self._memory, place, now, number)

    def _noted(self, place: int, number: int) -> float | None:
        if _NUMBER.unpack_from(self._memory, place + _TIME.size)[0] != number:
            return None
        noted: float = _TIME.unpack_from(self._memory, place)[0]
        return noted

    def close(self) -> None:
        """Release the memory."""
        self._memory.close()


# --- permits --------------------------------------------------------------------------------

_BATCHES: Final = 256


class Permits:
    """The owner's end of a pipe with a byte for each attempt that waits in a worker.

    Before the worker begins one it takes a byte; the owner takes back what waits by reading them
    itself. The system gives each byte to one of them, so an attempt is never begun and taken back.
    All bytes have the number of their batch: after some were taken back, the next ones have
    another, and are not for what the worker still has of the batch before.
    """

    def __init__(self) -> None:
        self._ends: Sequence[int] = pipe()
        self.reading, self._writing = self._ends
        # For both: it is that of the pipe's end.
        os.set_blocking(self.reading, False)
        self._batch = 1

    def add(self) -> int:
        """Permit one more attempt, and return its batch."""
        os.write(self._writing, bytes((self._batch,)))
        return self._batch

    def withdraw(self) -> int:
        """Take back what was not taken; return how many attempts that is."""
        count = len(read_permits(self.reading, _BATCHES))
        self._batch = self._batch % (_BATCHES - 1) + 1
        return count

    def close(self) -> None:
        """End it; a second call does nothing."""
        # Forgotten before they are closed: their numbers may be those of others by then.
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)


class PermitTaker:
    """The worker's end of that pipe.

    Args:
        reading: Its descriptor.
    """

    def __init__(self, reading: int) -> None:
        self._reading = reading
        # One of a batch whose attempts come later.
        self._held = 0

    def take(self, batch: int) -> bool:
        """Return whether an attempt of a batch may begin: it was not taken back."""
        if not self._held:
            found = read_permits(self._reading, 1)
            self._held = found[0] if found else 0
        if self._held != batch:
            return False
        self._held = 0
        return True


def read_permits(descriptor: int, most: int) -> bytes:
    """Read so many bytes at most of a pipe that does not block."""
    try:
        return os.read(descriptor, most)
    except BlockingIOError:
        return b""
