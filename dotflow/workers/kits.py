"""What goes along with attempts to a worker, around their steps: kits once, the rest each time.

A kit is what the remote scopes of a run have in common (see `dotflow.abc.scope.RemoteKit`).
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.workers.pickling import dump_or_none, load_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dotflow.abc.scope import RemoteScope

_logger: Final = logging.getLogger("dotflow")

# How many kits of a run are kept, here and in its workers: a tracer may make one for each
# attempt, where the application's sampler decides so. The rest goes with each attempt.
_MOST: Final = 256

_keys = itertools.count(1)


class Kit(NamedTuple):
    """A kit to be sent.

    Attributes:
        key: What attempts refer to it by.
        data: The kit, pickled.
        made_of: The kit: kept, so that its identity stays its own.
    """

    key: int
    data: bytes
    made_of: object


class Kits:
    """The kits of a run."""

    def __init__(self) -> None:
        self._kits: dict[int, Kit] = {}
        self._has_warned = False

    def pack(self, scopes: Mapping[str, RemoteScope]) -> tuple[list[tuple[Any, ...]], list[Kit]]:
        """Give what is sent of the scopes of an attempt, and the kits that they need."""
        sent: list[tuple[Any, ...]] = []
        needed = []
        for slot, scope in scopes.items():
            kit = self._kit_of(scope)
            if kit is not None:
                needed.append(kit)
                sent.append((slot, kit.key, scope.own))  # type: ignore[attr-defined] # has a kit
                continue
            data = dump_or_none(scope)
            if data is None:
                self.warn()
            else:
                sent.append((slot, 0, data))
        return sent, needed

    def _kit_of(self, scope: RemoteScope) -> Kit | None:
        kit = getattr(scope, "kit", None)
        if kit is None:
            return None
        found = self._kits.get(id(kit))
        if found is None and len(self._kits) < _MOST:
            data = dump_or_none(kit)
            if data is not None:
                found = self._kits[id(kit)] = Kit(next(_keys), data, kit)
        return found

    def warn(self) -> None:
        """Tell, once, that scopes cannot travel."""
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("the scopes of attempts cannot be pickled; steps run without them")


def unpack(sent: Sequence[tuple[Any, ...]], kits: Mapping[int, Any]) -> dict[str, RemoteScope]:
    """Make the scopes of an attempt, where it runs, of what was sent and the kits that came."""
    scopes = {}
    for slot, key, given in sent:
        scope = _scope_of(kits.get(key), given) if key else load_or_none(given)
        if scope is None:
            _logger.warning("a scope of an attempt cannot be read; the step runs without it")
        else:
            scopes[slot] = scope
    return scopes


def _scope_of(kit: Any, given: Sequence[Any]) -> RemoteScope | None:
    if kit is None:
        return None
    try:
        scope: RemoteScope = kit.scope(*given)
    except Exception:
        _logger.exception("a scope of an attempt cannot be made; the step runs without it")
        return None
    return scope
