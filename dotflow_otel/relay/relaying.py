"""Whether code hands over what was recorded elsewhere, so that pipelines know."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_relays: Final[ContextVar[bool]] = ContextVar("dotflow_relays", default=False)


@contextmanager
def relaying() -> Iterator[None]:
    """Mark what is done inside as handing over what comes from a worker."""
    token = _relays.set(True)
    try:
        yield
    finally:
        _relays.reset(token)


def is_relaying() -> bool:
    """Return whether this code hands over what comes from a worker."""
    return _relays.get()
