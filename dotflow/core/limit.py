"""What stands around calls of steps in this process: a time limit, a shared event loop."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Self

from dotflow.core.timing import Latch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

# What is late is ended by the first of these that can, so long after its limit, in seconds: a
# cancelled coroutine may take the first for its `finally` blocks; the owner of a worker then ends
# that one; and a worker whose owner is too busy ends itself.
CLEAN_UP: Final = 0.25
OWNER_GRACE: Final = 0.5
WORKER_GRACE: Final = 0.6


class LimitError(TimeoutError):
    """A call took longer than its limit: raised by dotflow alone, and recognised by its type.

    Its name is `TimeoutError`, which it is for users, also in tracebacks.

    Attributes:
        is_abandoned: Whether the call that was late goes on all the same.
    """

    __module__ = "builtins"
    __qualname__ = "TimeoutError"

    is_abandoned = False

    @classmethod
    def of(cls, name: str, seconds: float) -> LimitError:
        """Make the error of a call by its name and its limit."""
        return cls(f"{name} did not end within its timeout of {seconds:g} s")

    def __reduce__(self) -> tuple[Any, ...]:
        # By a function, for its class is not found under the name that it has.
        return _limit_error, self.args


LimitError.__name__ = "TimeoutError"


def _limit_error(message: str) -> LimitError:
    return LimitError(message)


_current: ContextVar[Limit | None] = ContextVar("dotflow_limit", default=None)


class Limit:
    """Runs one call in a thread of its own and waits for it a limited time.

    A thread cannot be stopped: one that is late is abandoned. It is a daemon, so it delays
    neither the run nor the exit of the interpreter. A coroutine is cancelled. The same holds
    where the waiting is interrupted.

    Args:
        seconds: How long; None: until it ends.
        name: What runs, for the thread and the error.
        outer: One around it, which stops it as well; `call` finds its own.
    """

    def __init__(self, seconds: float | None, name: str, outer: Limit | None = None) -> None:
        self._seconds = seconds
        self._name = name
        self._done = Latch()
        self._value: Any = None
        self._error: BaseException | None = None
        self._lock = Lock()
        self._is_over = False
        self._cancel: Callable[[], object] | None = None
        self._outer = outer

    def on_timeout(self, cancel: Callable[[], object]) -> None:
        """Set what stops the call where it can be stopped; it is called now if it is too late."""
        with self._lock:
            self._cancel = cancel
            is_over = self._is_over
        if is_over:
            cancel()
        elif self._outer is not None:
            self._outer.on_timeout(cancel)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a copy of this context.

        Raises:
            TimeoutError: It did not return in time; `is_limit_error` tells it from one
                that the function raised.
        """
        self._outer = _current.get()
        context = copy_context()
        context.run(self.cover)
        name = f"dotflow-{self._name}"
        thread = Thread(target=context.run, args=(self._work, function), name=name, daemon=True)
        try:
            thread.start()
            is_in_time = self._done.wait(self._seconds)
        except BaseException as error:  # noqa: BLE001 - interrupted, or there are no more threads
            if self.cancel():
                self._done.wait(CLEAN_UP)
            raise interruption_of(error) from None
        if not is_in_time:
            self._give_up()
        if self._error is not None:
            raise self._error
        return self._value

    @property
    def is_over(self) -> bool:
        """Whether the call is late: nobody waits for it any more."""
        return self._is_over

    def _work(self, function: Callable[[], Any]) -> None:
        try:
            self._value = function()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = error
        finally:
            self._done.open()

    def _give_up(self) -> None:
        assert self._seconds is not None  # noqa: S101 - else it waits until the call ends
        error = LimitError.of(self._name, self._seconds)
        error.is_abandoned = not (self.cancel() and self._done.wait(CLEAN_UP))
        raise error

    def cover(self) -> None:
        """Be the limit of what this context runs from now on."""
        _current.set(self)

    def cancel(self) -> bool:
        """Stop the call where it can be stopped; return whether it can."""
        with self._lock:
            self._is_over = True
            cancel = self._cancel
        if cancel is not None:
            cancel()
        return cancel is not None


def interruption_of(error: BaseException) -> BaseException:
    """Return the interrupt that the start of a thread lost in an error of its own, else the error.

    `Thread.start` waits for an `Event`, and of two interrupts of that it makes a RuntimeError.
    """
    found: BaseException | None = error
    while type(found) is RuntimeError:
        found = found.__context__
    return error if found is None or isinstance(found, Exception) else found


def current_limit() -> Limit | None:
    """Return the limit that this code runs under."""
    return _current.get()


def is_limit_error(error: BaseException) -> bool:
    """Return whether this is a limit's own error, not a `TimeoutError` that a step raised."""
    return type(error) is LimitError


def is_abandoned(error: BaseException | None) -> bool:
    """Return whether this is a limit's error and the call that was late goes on all the same."""
    return type(error) is LimitError and error.is_abandoned


_shared: Final[ContextVar[SharedLoop | None]] = ContextVar("dotflow_shared_loop", default=None)


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
        self._token: Token[SharedLoop | None] = _shared.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _shared.reset(self._token)
        self.is_over = True
        loop, self.loop = self.loop, None
        if loop is not None:
            loop.leave(is_interrupted=not isinstance(error, Exception | None))


def shared_loop() -> SharedLoop | None:
    """Return what this code's chain has; None: it belongs to no chain, or to one that is over."""
    shared = _shared.get()
    return None if shared is None or shared.is_over else shared
