"""Ports that nobody listens on."""

from __future__ import annotations

import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


_NEVER_GIVEN: Final = range(20_000, 32_000)


@contextmanager
def closed_port() -> Iterator[str]:
    """Return an address on loopback that refuses connections, and that nobody else can take."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"


def free_port() -> int:
    """Return a port on loopback for a server that cannot tell which it took.

    It is none of those that the system gives to connections, so that it stays free while the
    server is stopped.
    """
    for port in random.sample(_NEVER_GIVEN, 100):
        with socket.socket() as holder:
            try:
                holder.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port on loopback")
