"""How an attempt failed: a frozen record that travels."""

from __future__ import annotations

from typing import Final, NamedTuple

from dotflow.core.exception import TaskError, text_of, traceback_of
from dotflow.core.limit import is_limit_error

ERROR: Final = "error"
TIMEOUT: Final = "timeout"
WORKER_LOST: Final = "worker_lost"
INTERRUPTED: Final = "interrupted"


class Failure(NamedTuple):
    """How an attempt failed.

    Attributes:
        kind: `error`, `timeout`, `worker_lost` or `interrupted`.
        exception_type: The exception's qualified class name (`KeyError`, `pkg.mod.Error`).
        name: The class name alone.
        message: The exception's text.
        traceback: The formatted traceback, made where it was raised.
        exception: The exception itself; None where it could not travel.
    """

    kind: str
    exception_type: str
    name: str
    message: str
    traceback: str
    exception: BaseException | None

    @classmethod
    def of(cls, error: BaseException, kind: str | None = None) -> Failure:
        """Make the record of an exception; the kind follows from it unless given."""
        return cls(
            kind=kind or _kind_of(error),
            exception_type=_qualified(type(error)),
            name=type(error).__name__,
            message=text_of(error),
            traceback=traceback_of(error),
            exception=error,
        )

    @classmethod
    def recorded(cls, error: TaskError) -> Failure:
        """Return the record of a failure of which only the task's own record is known."""
        name = error.exception or "Exception"
        return cls(ERROR, name, name, error.message, error.traceback, None)

    @property
    def error_type(self) -> str:
        """What telemetry calls it: the class, or the kind where dotflow made the error."""
        return self.kind if self.kind in (TIMEOUT, WORKER_LOST) else self.exception_type

    def as_error(self, attempt: int | None = None) -> TaskError:
        """Give the record that users find in `task.errors`."""
        error = TaskError(attempt=attempt)
        error.exception = self.name
        error.message = self.message
        error.traceback = self.traceback
        return error


def _kind_of(error: BaseException) -> str:
    if _is_interruption(error):
        return INTERRUPTED
    return TIMEOUT if is_limit_error(error) else ERROR


def _is_interruption(error: BaseException) -> bool:
    # Task groups gather what ended their children, an interruption among it.
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return True
    if not isinstance(error, BaseExceptionGroup):
        return False
    # As it was made, whatever the attribute of a subclass is.
    within: tuple[BaseException, ...] = BaseExceptionGroup.exceptions.__get__(error)
    return any(map(_is_interruption, within))


def _qualified(kind: type[BaseException]) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
