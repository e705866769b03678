"""What is current while a step runs: a span, the ids in its log records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from dotflow.core.action import Action


class Scope(Protocol):
    """A context manager that is entered around one attempt, in the step's own thread context.

    It is told the step's exception, if any, and never swallows it. It may have a method
    `method_scope` as `MethodScopes` has it.
    """

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> object: ...


class MethodScopes(Protocol):
    """What a scope of an attempt may have besides, for the methods of a class step."""

    def method_scope(self, action: Action, attempt: int | None) -> Scope | None:
        """Return what is entered around one method.

        Args:
            action: The method.
            attempt: None: around the method as a whole; else the number of the try, from 1,
                of a method that may have several.
        """
        ...


class RemoteScope(Scope, Protocol):
    """A scope that travels to a worker: it must pickle, by reference to importable code.

    It may have a method `prepare`, without arguments, which is called there before the step
    is read. Its `collect` is called then also where the step could not be read, and the scope
    was not entered. It may have attributes `kit` and `own`, as `RemoteKit` tells.

    It may have a method `drain`, without arguments, which returns what was recorded since it was
    last called, bounded, or None where that is nothing. In our own workers it is called in another
    thread while the step runs, soon after `on_recorded` was: an attribute that is set on the scope
    before `prepare`, a function to be called with how many items wait whenever one was recorded.
    What `drain` returned comes to the provider's `attempt_recorded`, before the attempt has
    ended, and also where the worker is killed.
    """

    def collect(self) -> object:
        """Return what was recorded, called after the exit: a value that pickles, or None."""
        ...


class WorkerScope(Protocol):
    """What is set up once in each of our own workers for a run: it must pickle.

    In the processes of other executors it is prepared before each attempt, in the thread that
    runs that, and `collect` is called after it; several applications may use such a process.
    Its methods are those of a `RemoteScope` of the same names: `prepare` is called before the first
    step of the run is read there, `collect` at the end of each attempt that recorded something,
    and `drain`, if there is one, while attempts run. So that nobody asks where nothing was
    recorded, an attribute `on_recorded` is set on it before `prepare`: a function to be called
    with how many items wait whenever one was recorded. What it returned comes to the provider's
    `worker_recorded`.
    """

    def prepare(self) -> None:
        """Set up what steps may look for."""
        ...

    def collect(self) -> object:
        """Return what was recorded since it was last called: a value that pickles, or None."""
        ...


class RemoteKit(Protocol):
    """What the remote scopes of a run have in common, so that less is sent with each.

    Where a scope has a `kit` that is not None, that is sent once to each worker, and with
    each attempt only the scope's `own`: a tuple of plain values.
    """

    def scope(self, *own: Any) -> RemoteScope:
        """Make the scope of an attempt, where it runs."""
        ...
