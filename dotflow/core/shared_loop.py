"""The event loop that the coroutine steps of a chain share; made when the first of them runs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

_current: Final[ContextVar[SharedLoop | None]] = ContextVar("dotflow_shared_loop", default=None)


class SharedLoop:
    """Stands around the steps of a chain, so that a client opened in one serves the next.

    Entering costs next to nothing: chains without coroutines have no loop, and import none.

    Attributes:
        is_over: Whether the chain has ended.
        loop: The `EventLoop` that the coroutines run in; None: none has run yet.
    """

    __slots__ = ("_token", "is_over", "loop")

    def __init__(self) -> None:
        self.loop: Any = None
        self.is_over = False

    def __enter__(self) -> Self:
        self._token: Token[SharedLoop | None] = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._token)
        self.is_over = True
        loop, self.loop = self.loop, None
        if loop is not None:
            loop.leave(is_interrupted=not isinstance(error, Exception | None))


def shared_loop() -> SharedLoop | None:
    """Return what this code's chain has; None: it belongs to no chain, or to one that is over."""
    shared = _current.get()
    return None if shared is None or shared.is_over else shared
