"""What is current while a step runs: a span, the ids in its log records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType


class Scope(Protocol):
    """A context manager that is entered around one attempt, in the step's own thread context.

    It is told the step's exception, if any, and never swallows it.
    """

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> object: ...


class RemoteScope(Scope, Protocol):
    """A scope that travels to a worker: it must pickle, by reference to importable code."""

    def collect(self) -> object:
        """Give what was recorded, called after the exit: a value that pickles, or None."""
        ...
