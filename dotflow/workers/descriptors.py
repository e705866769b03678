"""Descriptors that are in no standard stream's place.

A program whose standard streams are closed gets their numbers for what it opens next. A child
finds its own streams there, in place of what it was to be given.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import Final

_FIRST: Final = 3


def apart(descriptor: int) -> int:
    """Move a descriptor, if it is in such a place; give where it is now."""
    if descriptor >= _FIRST:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(descriptor)


def pipe() -> tuple[int, int]:
    """Make a pipe: its reading and its writing end."""
    reading, writing = os.pipe()
    return apart(reading), apart(writing)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make two sockets that are connected."""
    one, other = (apart(end.detach()) for end in socket.socketpair())
    return socket.socket(fileno=one), socket.socket(fileno=other)
