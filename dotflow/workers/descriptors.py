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
    """Make two sockets that are connected and block, also where the application's time out."""
    one, other = (_blocking(end) for end in socket.socketpair())
    return one, other


def _blocking(end: socket.socket) -> socket.socket:
    # Whether it blocks goes along to a child, which knows of no timeout.
    moved = socket.socket(fileno=apart(end.detach()))
    moved.settimeout(None)
    return moved
