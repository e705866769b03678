"""The time limit of one call in this process."""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# How long a cancelled coroutine may take for its `finally` blocks, in seconds.
_CLEAN_UP: Final = 0.25


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
    neither the run nor the exit of the interpreter. A coroutine is cancelled.
    """

    def __init__(self, seconds: float, name: str) -> None:
        self._seconds = seconds
        self._name = name
        self._done = Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._lock = Lock()
        self._is_over = False
        self._cancel: Callable[[], object] | None = None

    def on_timeout(self, cancel: Callable[[], object]) -> None:
        """Set what stops the call where it can be stopped; it is called now if it is too late."""
        with self._lock:
            self._cancel = cancel
            is_over = self._is_over
        if is_over:
            cancel()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call `function` in a copy of this context.

        Raises:
            TimeoutError: It did not return in time; `is_limit_error` tells it from one
                that the function raised.
        """
        context = copy_context()
        context.run(_current.set, self)
        name = f"dotflow-{self._name}"
        Thread(target=context.run, args=(self._work, function), name=name, daemon=True).start()
        if not self._done.wait(self._seconds):
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
            self._done.set()

    def _give_up(self) -> None:
        error = LimitError.of(self._name, self._seconds)
        with self._lock:
            self._is_over = True
            cancel = self._cancel
        if cancel is not None:
            cancel()
        if cancel is None or not self._done.wait(_CLEAN_UP):
            error.is_abandoned = True
        raise error


def current_limit() -> Limit | None:
    """Give the limit that this code runs under."""
    return _current.get()


def is_limit_error(error: BaseException) -> bool:
    """Return whether this is a limit's own error, not a `TimeoutError` that a step raised."""
    return type(error) is LimitError


def is_abandoned(error: BaseException | None) -> bool:
    """Return whether this is a limit's error and the call that was late goes on all the same."""
    return type(error) is LimitError and error.is_abandoned
