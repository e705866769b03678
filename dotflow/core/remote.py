"""Scopes that came along with an attempt, entered where it is performed."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from dotflow.core.scopes import GuardedScope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotflow.abc.scope import RemoteScope

_logger = logging.getLogger("dotflow")


def entered(remote: Mapping[str, RemoteScope]) -> dict[str, GuardedScope]:
    """Give the scopes, guarded: none of them can make a step fail."""
    return {slot: GuardedScope(scope, partial(_report, slot)) for slot, scope in remote.items()}


def collected(scopes: Mapping[str, GuardedScope]) -> dict[str, object]:
    """Give what the scopes recorded, by slot."""
    return {slot: scope.collect() for slot, scope in scopes.items()}


def _report(slot: str, hook: str, error: Exception) -> None:
    _logger.error(
        "%s of %s failed in a worker; the step is not affected", hook, slot, exc_info=error
    )
