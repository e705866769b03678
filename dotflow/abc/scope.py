"""What is current while a step runs: a span, the ids in its log records.

Base classes, whose methods do nothing: a provider's scope overrides what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from dotflow.core.action import Action


class Scope:
    """A context manager that is entered around one attempt, in the step's own thread context.

    It receives the step's exception, if any, and never swallows it. Where methods of class steps do
    not matter, any other context manager will do.
    """

    __slots__ = ()

    def __enter__(self) -> object:
        """Make it current."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        """Make current what was before."""

    def method_scope(
        self, action: Action, attempt: int | None
    ) -> AbstractContextManager[object] | None:
        """Return what is entered around one method of a class step, if anything.

        Args:
            action: The method.
            attempt: None: around the method as a whole; else the number of the try, from 1,
                of a method that may have several.
        """


class WorkerScope:
    """What is set up once in each of our own workers for a run: it must pickle.

    In the processes of other executors it is prepared before each attempt, in the thread that
    runs that, and `collect` is called after it; several applications may use such a process.
    What `drain` and `collect` returned comes to the provider's `worker_recorded`.

    Attributes:
        on_recorded: Set before `prepare` where it is drained: to be called with how many items wait
            whenever one was recorded. Nobody asks where nothing was recorded.
    """

    on_recorded: Callable[[int], object] | None = None

    def prepare(self) -> None:
        """Set up what steps may look for, before the first step of the run is read there."""

    def drain(self) -> object:
        """Return what was recorded since it was last called, bounded; None: nothing.

        Called in our own workers, in another thread while steps run.
        """

    def collect(self) -> object:
        """Return what was recorded since then, at the end of an attempt: it pickles, or is None."""


class RemoteScope(Scope, WorkerScope):
    """The scope of one attempt in a worker: it must pickle, by reference to importable code.

    It is prepared before the step is read, and collected also where the step could not be read and
    the scope was not entered. What it recorded comes to the provider's `attempt_recorded`: what
    `drain` returned before the attempt has ended, and also where the worker is killed.

    Attributes:
        shared: What it has in common with the scopes of other attempts, if anything. That is sent
            once to each worker, and with each attempt its arguments alone.
        arguments: What `shared.scope` makes it of: plain values.
    """

    shared: SharedScopeData | None = None
    arguments: tuple[Any, ...] = ()


class SharedScopeData(Protocol):
    """What the remote scopes of a run have in common, so that less is sent with each."""

    def scope(self, *arguments: Any) -> RemoteScope:
        """Return the scope of an attempt, where it runs."""
        ...
