"""Frames on a stream socket: a small head and a body of any size."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

    Body = bytes | Sequence[bytes]

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
    """Give what is to be sent for a frame, in pieces; so may the body be."""
    pieces = (body,) if isinstance(body, bytes) else body
    size = sum(map(len, pieces))
    lengths = _LENGTHS.pack(len(head), size)
    if size <= _SMALL:
        return [b"".join((lengths, head, *pieces))]
    return [lengths + head, *pieces]


def send(connection: socket, head: bytes, body: Body) -> None:
    """Send a frame over a blocking socket."""
    for piece in packed(head, body):
        connection.sendall(piece)


class FrameReader:
    """Puts frames together from what arrives on a stream socket."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
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
            self._take_in()

    def read(self) -> Frame | None:
        """Give the next frame of a socket that does not block, if all of it has arrived.

        Raises:
            Closed: The peer is gone.
        """
        try:
            return self.wait()
        except BlockingIOError:
            return None

    def _take_in(self) -> None:
        try:
            if self._filled < len(self._buffer):
                rest = memoryview(self._buffer)[self._filled :]
                count = self._connection.recv_into(rest)
            else:
                piece = self._connection.recv(_SMALL)
                count = len(piece)
                self._buffer += piece
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
        return self._cut_off(head, total)

    def _make_room(self, total: int) -> None:
        # Once, for a frame that came in part: what follows is received in place.
        if len(self._buffer) < total:
            whole = bytearray(total)
            whole[: self._filled] = self._buffer
            self._buffer = whole

    def _cut_off(self, head: int, total: int) -> Frame:
        view = memoryview(self._buffer)
        self._buffer = bytearray(view[total : self._filled])
        self._filled = len(self._buffer)
        begin = _LENGTHS.size
        return Frame(view[begin : begin + head], view[begin + head : total])
