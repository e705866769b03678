"""Frames on a stream socket: a small head and a body of any size."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from socket import socket

_LENGTHS = Struct("!QQ")

# Frames up to this size are joined and read in one piece; larger ones are not copied.
_SMALL = 1 << 16


class Frame(NamedTuple):
    """One message, as views of what was received."""

    head: memoryview
    body: memoryview


class Closed(Exception):  # noqa: N818 - a state of the peer, not an error of ours
    """The peer has closed the connection, or died."""


def packed(head: bytes, body: bytes) -> list[bytes]:
    """Give what is to be sent for a frame, in pieces."""
    lengths = _LENGTHS.pack(len(head), len(body))
    if len(body) <= _SMALL:
        return [lengths + head + body]
    return [lengths + head, body]


def send(connection: socket, head: bytes, body: bytes) -> None:
    """Send a frame over a blocking socket."""
    for piece in packed(head, body):
        connection.sendall(piece)


def receive(connection: socket) -> Frame:
    """Wait for the next frame on a blocking socket.

    Raises:
        Closed: The peer is gone.
    """
    reader = FrameReader(connection)
    while True:
        frame = reader.read()
        if frame is not None:
            return frame


class FrameReader:
    """Puts one frame together from what has arrived, without ever waiting for more."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._filled = 0
        self._lengths: tuple[int, int] | None = None

    def read(self) -> Frame | None:
        """Take in what has arrived; give the frame once it is complete, else None.

        On a blocking socket a call waits for some bytes, on another one it raises
        `BlockingIOError` where there are none.

        Raises:
            Closed: The peer is gone.
        """
        try:
            self._take_in()
        except (ConnectionError, TimeoutError) as error:
            raise Closed from error
        if self._lengths is None or self._filled < len(self._buffer):
            return None
        return self._frame(*self._lengths)

    def _take_in(self) -> None:
        if self._lengths is not None:
            count = self._connection.recv_into(memoryview(self._buffer)[self._filled :])
            self._filled += count
        else:
            piece = self._connection.recv(max(_SMALL, _LENGTHS.size))
            count = len(piece)
            self._buffer += piece
            self._filled += count
            self._make_room()
        if not count:
            raise Closed

    def _make_room(self) -> None:
        if self._filled < _LENGTHS.size:
            return
        self._lengths = _LENGTHS.unpack_from(self._buffer)
        total = _LENGTHS.size + sum(self._lengths)
        if self._filled < total:
            whole = bytearray(total)
            whole[: self._filled] = self._buffer
            self._buffer = whole

    def _frame(self, head: int, body: int) -> Frame:
        view = memoryview(self._buffer)
        self._buffer, self._filled, self._lengths = bytearray(), 0, None
        begin = _LENGTHS.size
        return Frame(view[begin : begin + head], view[begin + head : begin + head + body])
