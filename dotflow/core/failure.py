"""How an attempt failed: a frozen record that travels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.exception import TaskError
from dotflow.core.limit import is_limit_error
from dotflow.core.user_objects import name_of, qualified_name_of, text_of, traceback_of

if TYPE_CHECKING:
    from collections.abc import Iterable

ERROR: Final = "error"
TIMEOUT: Final = "timeout"
WORKER_LOST: Final = "worker_lost"
INTERRUPTED: Final = "interrupted"

# Of the base classes, whatever an exception's own class makes of these names.
_CAUSE: Final = vars(BaseException)["__cause__"].__get__
_CONTEXT: Final = vars(BaseException)["__context__"].__get__
_MEMBERS: Final = vars(BaseExceptionGroup)["exceptions"].__get__


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
        """Make the record of an exception; the kind follows from it unless given.

        Raises nothing that comes from the exception, whatever that does when it is looked at.
        """
        return cls(
            kind=kind or _kind_of(error),
            exception_type=qualified_name_of(type(error)),
            name=name_of(type(error)),
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
        """Return the record that users find in `task.errors`."""
        error = TaskError(attempt=attempt)
        error.exception = self.name
        error.message = self.message
        error.traceback = self.traceback
        return error


def drop_tracebacks(errors: Iterable[BaseException], keep: BaseException | None) -> None:
    """Release the frames, and so the steps' locals, that exceptions and their causes hold.

    Args:
        errors: The exceptions. They stay; their tracebacks are in `task.errors` as text.
        keep: What is being raised or handled; it keeps its traceback, and so do its causes.
    """
    seen = _linked([] if keep is None else [keep], {})
    kept = set(seen)
    for number, error in _linked(errors, seen).items():
        if number not in kept:
            BaseException.with_traceback(error, None)


def _linked(
    errors: Iterable[BaseException], seen: dict[int, BaseException]
) -> dict[int, BaseException]:
    """Add exceptions, and all that they come from or consist of, to `seen`, by their ids."""
    waiting = list(errors)
    while waiting:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen[id(error)] = error
        links = [_CAUSE(error), _CONTEXT(error)]
        if issubclass(type(error), BaseExceptionGroup):
            links += _MEMBERS(error)
        waiting += [each for each in links if each is not None]
    return seen


def _kind_of(error: BaseException) -> str:
    if _is_interruption(error):
        return INTERRUPTED
    return TIMEOUT if is_limit_error(error) else ERROR


def _is_interruption(error: BaseException) -> bool:
    # Task groups gather what ended their children, an interruption among it. Groups in groups
    # may be deeper than a function can call itself.
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if issubclass(type(each), (KeyboardInterrupt, SystemExit)):
            return True
        if issubclass(type(each), BaseExceptionGroup):
            waiting += _MEMBERS(each)
    return False
