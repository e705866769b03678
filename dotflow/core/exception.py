"""The errors that dotflow raises, one tree below `DotflowError`.

Every message says what was wrong, with which value, and what to do.
"""

from __future__ import annotations

from dotflow.core.user_objects import is_a, name_of, repr_of, text_of, traceback_of


class DotflowError(Exception):
    """The root of every error that dotflow itself raises."""


class MissingActionDecorator(DotflowError):
    """A step was not made by `@action`."""

    def __init__(self, step: object = None) -> None:
        given = "" if step is None else f" (given: {repr_of(step)})"
        super().__init__(
            f"A step must be made with the @action decorator{given}. "
            "Decorate the function or class with `@action` and add that, not what it returns; "
            "several steps as a list."
        )


class ParameterNotPassed(DotflowError, TypeError):
    """A step has a parameter without a default that no workflow passes."""

    def __init__(self, step: str = "", parameter: str = "") -> None:
        if parameter == "self":
            hint = "It is a method: add its class, or the method of an instance."
        elif parameter in ("initial_context", "previous_context"):
            hint = "They are passed by name: remove the '/' after it."
        else:
            hint = (
                f"Give {parameter!r} a default, or pass its value with "
                "add(step, initial_context=...) and read initial_context.storage."
            )
        super().__init__(
            f"The step {step!r} needs the parameter {parameter!r}, but a workflow passes only "
            f"initial_context and previous_context. {hint}"
        )


class ExecutionModeNotExist(DotflowError):
    """`start(mode=...)` names no execution mode."""

    def __init__(self, mode: object = None, allowed: tuple[str, ...] = ()) -> None:
        names = ", ".join(repr(name) for name in allowed)
        meant = _close_to(mode, allowed)
        super().__init__(f"There is no execution mode {repr_of(mode)}{meant} Use one of: {names}.")


class ImportModuleError(DotflowError):
    """A step, callback or factory given as a string cannot be imported."""

    def __init__(self, module: object = None, reason: str = "", place: str = "") -> None:
        because = f": {reason}" if reason else ""
        hint = (
            f"That comes from {place}, which is run by the import: mend it there."
            if place
            else "Write 'package.module:attribute' or 'package.module.attribute', "
            "importable from here."
        )
        super().__init__(f"Cannot import {repr_of(module)}{because}. {hint}")


class NotCallableObject(DotflowError):
    """A callback cannot be called, or a provider is of the wrong type."""

    def __init__(self, name: object = None, expected: str = "a callable") -> None:
        super().__init__(f"{text_of(name)} is not usable: expected {expected}.")


class ModuleNotFound(DotflowError):
    """A provider needs an optional dependency that is not installed."""

    def __init__(self, module: str = "", library: str = "") -> None:
        super().__init__(
            f"The module {module!r} is not installed. Install it with: pip install '{library}'"
        )


class InputChangedError(DotflowError):
    """A run is resumed with other input than its checkpoints were made from."""

    def __init__(self, workflow_id: object = None) -> None:
        super().__init__(
            f"The input of workflow {workflow_id!s} changed since its checkpoints were "
            "written. Resume with on_input_change='reset' to run everything again, or "
            "'reuse' to keep the checkpoints."
        )


class MissingScheduler(DotflowError):
    """`DotFlow.schedule()` was called where no scheduler is configured."""

    def __init__(self) -> None:
        super().__init__(
            "DotFlow.schedule() needs a scheduler, and none is configured. Set one: "
            "Config(scheduler=SchedulerCron('*/5 * * * *')), with SchedulerCron from "
            "dotflow.providers (extra dotflow[scheduler])."
        )


class RunInProgress(DotflowError):
    """`start()` was called while another call runs the same tasks."""

    def __init__(self, name: str = "") -> None:
        super().__init__(
            f"The workflow {name!r} is running: nothing else was started. Wait until it has "
            "ended (manager.thread.join() where it runs in the background), or make a DotFlow "
            "for each run."
        )


class WorkflowInUse(DotflowError):
    """Another run of the workflow goes on with the same storage, here or in another process."""

    def __init__(self, workflow_id: object = None, owner: str = "") -> None:
        # The arguments themselves, so that a pickled copy has the same text.
        super().__init__(workflow_id, owner)

    def __str__(self) -> str:
        workflow_id, owner = self.args
        return (
            f"The workflow {workflow_id!s} is run already {owner}: nothing was started. Two runs "
            "would overwrite each other's checkpoints. Wait until that one has ended, or give this "
            "one another workflow_id or storage."
        )


class InvalidOnInputChange(DotflowError):
    """`on_input_change` is not one of the three policies."""

    def __init__(self, value: object = None) -> None:
        super().__init__(
            f"on_input_change={repr_of(value)} is not a policy. Use 'reuse', 'reset' or 'raise'."
        )


class InvalidWorkflowFactory(DotflowError):
    """A workflow factory is not callable or returned something else than a DotFlow."""

    def __init__(self, factory: object = None, reason: str = "") -> None:
        because = f" ({reason})" if reason else ""
        super().__init__(
            f"{text_of(factory)} is not a workflow factory{because}: it must be a callable without "
            "arguments that returns a DotFlow."
        )


class WorkflowFlagConflict(DotflowError):
    """Two command line flags exclude each other."""

    def __init__(self, flag: object = None) -> None:
        super().__init__(
            f"{flag!s} cannot be combined with --workflow: set it inside the workflow factory."
        )


class InvalidOption(DotflowError, ValueError):
    """An option has a value that it cannot have."""

    def __init__(self, option: str = "", value: object = None, expected: str = "") -> None:
        super().__init__(f"{option}={repr_of(value)} is not valid: {expected}.")


class WrongMoment(DotflowError, RuntimeError):
    """A call came too early, too late, or a second time."""


class UnstableInput(DotflowError):
    """An input has no form that is the same in every process, so it has no fingerprint."""

    def __init__(self, value: object = None) -> None:
        # Short, and safe where the value's own `repr` raises or never ends.
        from reprlib import repr as shown  # noqa: PLC0415 - for this message alone

        super().__init__(
            f"No stable fingerprint can be made of {name_of(type(value))} "
            f"({repr_of(value, shown)}). "
            "Pass start(fingerprint='...') with a text that changes when the input does."
        )


class StorageError(DotflowError):
    """A stored value cannot be read back, or a value cannot be stored."""


class PicklingFailed(DotflowError):
    """Something could not travel between the run and a worker process."""


class WorkerLost(DotflowError):
    """A worker process ended while it ran a step."""


class RunWhileReading(DotflowError):
    """A worker process was to begin a run while it was still reading the step that it shall run."""

    def __init__(self, _message: object = None) -> None:
        super().__init__(
            "A worker process was to begin a run while it was still reading its own step: a module "
            "that the step needs starts a workflow when it is imported. Put that start into a "
            'function, or under `if __name__ == "__main__":`.'
        )


class TooManyNestedWorkers(DotflowError):
    """A step, or what it started, was to start more workers than a tree of processes may have."""

    def __init__(self, _message: object = None) -> None:
        super().__init__(
            "No more workers can be started here, inside a step that runs in a worker itself: "
            "workers that start workers that start workers would be without end. Run this workflow "
            "in mode 'sequential', or outside of the step."
        )


class InterpreterNotFound(DotflowError):
    """There is no Python interpreter that worker processes could be started with."""

    def __init__(self, executable: object = None) -> None:
        super().__init__(
            f"There is no interpreter to start workers with: sys.executable={executable!r} is none "
            "of this version of Python, and neither sys.prefix nor sys.base_prefix has one. Set "
            "sys.executable to the path of one, run in mode 'sequential', or give "
            "Config(executor=ThreadPoolExecutor())."
        )


class ClusterUnusable(DotflowError):
    """A cluster does not answer, or refuses what dotflow needs of it."""

    def __init__(self, address: object = None, reason: object = "", hint: str = "") -> None:
        why = text_of(reason).rstrip(".")
        super().__init__(f"The Dask cluster at {address!s} cannot be used: {why}. {hint}".rstrip())


class ExecutorUnusable(DotflowError):
    """An executor takes no attempts: it was shut down, say."""

    def __init__(self, step: str = "", reason: object = "") -> None:
        why = f"{text_of(reason)} ({name_of(type(reason))})".lstrip()
        super().__init__(
            f"The executor did not take {step}: {why}. "
            "Give Config(executor=...) one that is neither shut down nor broken."
        )


class ProblemOrdering(DotflowError):
    """Kept for programs that catch it; never meant to reach a user."""


class ExecutionWithClassError(DotflowError):
    """Kept for programs that catch it; never meant to reach a user."""


class TaskError:
    """What went wrong in one attempt of a task: a record, not an exception.

    Args:
        error: The exception, if any.
        attempt: The number of the attempt, from 1, where another followed.

    Raises:
        InvalidOption: `error` is no exception.

    Attributes:
        attempt: The number of the attempt, from 1, where another followed; None at the last.
        exception: The name of the exception's type.
        message: The exception's text.
        traceback: The formatted traceback.
    """

    def __init__(self, error: BaseException | None = None, attempt: int | None = None) -> None:
        if error is not None and not issubclass(type(error), BaseException):
            raise InvalidOption("error", error, "give an exception")
        self.attempt = attempt
        self.exception = "" if error is None else name_of(type(error))
        self.message = "" if error is None else text_of(error)
        self.traceback = "" if error is None else traceback_of(error)

    def __repr__(self) -> str:
        return f"TaskError({self.exception}: {self.message!r}, attempt={self.attempt})"


def _close_to(name: object, allowed: tuple[str, ...]) -> str:
    if not is_a(name, str):
        return "."
    from difflib import get_close_matches  # noqa: PLC0415 - for this message alone

    close = get_close_matches(name.lower(), allowed, 1)
    return f": is {close[0]!r} meant?" if close else "."
