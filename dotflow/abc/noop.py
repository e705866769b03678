"""Marks the hooks that do nothing, so that the engine need not call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Hook = TypeVar("_Hook", bound="Callable[..., Any]")

_MARK = "__dotflow_noop__"


def noop(hook: _Hook) -> _Hook:
    """Mark a hook as doing nothing. An override is not marked, and so is called."""
    setattr(hook, _MARK, hook)
    return hook


def is_noop(hook: object) -> bool:
    """Return whether a (bound) hook is one that does nothing."""
    # Compared, for what is made like such a hook, by `functools.wraps` say, has its mark as well.
    marked = getattr(hook, _MARK, None)
    return marked is not None and marked is getattr(hook, "__func__", hook)
