"""Scopes that came along with an attempt, entered where it is performed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from dotflow.abc.scope import RemoteScope

_logger = logging.getLogger("dotflow")


def entered(remote: Mapping[str, RemoteScope]) -> dict[str, _Guarded]:
    """Give the scopes, guarded: none of them can make a step fail."""
    return {slot: _Guarded(scope) for slot, scope in remote.items()}


def collected(scopes: Mapping[str, _Guarded]) -> dict[str, object]:
    """Give what the scopes recorded, by slot."""
    return {slot: scope.collect() for slot, scope in scopes.items()}


class _Guarded:
    def __init__(self, scope: RemoteScope) -> None:
        self._scope = scope
        self._entered = False

    def __enter__(self) -> None:
        try:
            self._scope.__enter__()
            self._entered = True
        except Exception:
            _logger.exception("a scope could not be entered; the step runs without it")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._entered:
            return
        try:
            self._scope.__exit__(kind, error, traceback)
        except Exception:
            _logger.exception("a scope could not be left")

    def collect(self) -> object:
        if not self._entered:
            return None
        try:
            return self._scope.collect()
        except Exception:
            _logger.exception("what a scope recorded is lost")
            return None
