"""What `start` and `schedule` share: their options, and the workflow that these make."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Coroutine
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_type_hints

import typer

from dotflow.abc.log import Log
from dotflow.cli.output import print_note, shortened
from dotflow.core.config import default_providers
from dotflow.core.dotflow import DotFlow
from dotflow.core.exception import (
    DotflowError,
    InvalidOption,
    InvalidWorkflowFactory,
    ModuleNotFound,
    StorageError,
    WorkflowFlagConflict,
)
from dotflow.core.modes import MODES, check_run_options
from dotflow.core.module import import_object, place_of
from dotflow.core.types import TypeStorage
from dotflow.core.user_objects import text_of
from dotflow.providers.storage_default import StorageDefault
from dotflow.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow.abc.progress import Progress
    from dotflow.abc.storage import Storage
    from dotflow.core.config import Config
    from dotflow.core.options import RunOptions
    from dotflow.core.task import Task

_STORAGES: Final = (TypeStorage.DEFAULT, TypeStorage.FILE)
_BUCKETS: Final = (TypeStorage.S3, TypeStorage.GCS)
_LONGEST: Final = 200
_CONFIGURATIONS: Final = "dotflow.configurations"
_HISTORY: Final = "DOTFLOW_HISTORY"


def _begins_with(allowed: tuple[str, ...]) -> Any:
    return lambda incomplete: [each for each in allowed if each.startswith(incomplete)]


Steps = Annotated[
    list[str] | None,
    typer.Option("--step", "-s", metavar="MODULE:FUNCTION", help="A step; may be repeated."),
]
Workflow = Annotated[
    str | None,
    typer.Option(
        "--workflow", "-w", metavar="MODULE:FACTORY", help="A callable that returns a DotFlow."
    ),
]
Callback = Annotated[
    str | None,
    typer.Option(
        "--callback", "-c", metavar="MODULE:FUNCTION", help="Called as f(task=...) after each step."
    ),
]
InitialContext = Annotated[
    str | None,
    typer.Option(
        "--initial-context",
        "-i",
        metavar="JSON",
        help="What each step gets as initial_context. What is no JSON is passed as a text, unless "
        "it begins with {, [ or a double quote.",
    ),
]
StorageName = Annotated[
    str | None,
    typer.Option(
        "--storage",
        "-o",
        metavar="|".join(_STORAGES),
        help="Where contexts are kept: in memory (default), or in files or a bucket that a later "
        "run resumes from.",
        autocompletion=_begins_with(_STORAGES),
    ),
]
PathName = Annotated[
    str | None,
    typer.Option(
        "--path",
        "-p",
        metavar="FOLDER",
        help=f"The folder of '--storage file', {Settings.START_PATH} unless given; or "
        "BUCKET/PREFIX of 's3' and 'gcs'.",
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        "-m",
        metavar="MODE",
        show_default=False,
        help=f"{MODES[0]} (default), {', '.join(MODES[1:-1])} or {MODES[-1]}.",
        autocompletion=_begins_with(MODES),
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Restore the tasks that completed in an earlier run.")
]
WorkflowId = Annotated[
    str | None,
    typer.Option(
        "--workflow-id", metavar="ID", help="What names the workflow, for a later run to resume."
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="What it is called in traces, metrics and logs."),
]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Go on after a failed task with those behind it.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else to stdout.")
]
Observe = Annotated[
    bool,
    typer.Option(
        "--observe",
        envvar="DOTFLOW_OBSERVE",
        show_envvar=False,
        help="Export traces, metrics and logs as the OTEL_* variables say; DOTFLOW_OBSERVE=1 does "
        "the same.",
    ),
]
History = Annotated[
    bool | None,
    typer.Option(
        "--history/--no-history",
        show_default=False,
        help="Record the run in .dotflow/history.db (default with dotflow[otel]), or not; "
        "DOTFLOW_HISTORY names another file, and 0 records none.",
    ),
]
ShowProgress = Annotated[
    bool,
    typer.Option(
        "--progress/--no-progress",
        show_default=False,
        help="Show what runs while it runs (default), or not; nothing where stderr is no terminal.",
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error of dotflow's own.")
]


class Chosen(NamedTuple):
    """What the command line says about the workflow and its runs: an option for each field."""

    step: Steps = None
    workflow: Workflow = None
    callback: Callback = None
    initial_context: InitialContext = None
    storage: StorageName = None
    path: PathName = None
    mode: Mode = "sequential"
    resume: Resume = False
    workflow_id: WorkflowId = None
    name: Name = None
    keep_going: KeepGoing = False
    as_json: AsJson = False
    observe: Observe = False
    history: History = None
    progress: ShowProgress = True
    debug: Debug = False

    def run_options(self) -> RunOptions:
        """Return the options of each run.

        Raises:
            ExecutionModeNotExist: There is no such mode.
        """
        mode: Any = self.mode  # checked next
        options: RunOptions = {
            "mode": mode,
            "resume": self.resume,
            "keep_going": self.keep_going,
        }
        check_run_options(options)
        return options

    @contextmanager
    def flow(self) -> Iterator[DotFlow]:
        """Make the workflow; inside, its providers are those that the command line says.

        Raises:
            DotflowError: The options contradict each other, or one is wrong.
        """
        self._check()
        storage = self._storage()
        no_history = "0" if self.history is False else None
        with (
            default_providers(storage=storage, log=_Retries(), progress=self._progress()),
            _environment(_HISTORY, no_history),
        ):
            observed = _observed() if self.observe else None
            with default_providers(
                tracer=observed and observed.tracer,
                metrics=observed and observed.metrics,
                log=observed and observed.log,
            ):
                flow = self._of_steps() if self.workflow is None else self._of_factory(storage)
                self._check_resume(flow)
                self._record(flow.config)
                yield flow

    def _progress(self) -> Progress | None:
        # Asked here, so that what draws is loaded only where it can.
        if not self.progress or not sys.stderr.isatty():
            return None
        from dotflow.providers.progress_terminal import ProgressTerminal  # noqa: PLC0415

        return ProgressTerminal()

    def _record(self, config: Config) -> None:
        """Record the runs of a configuration, where there is what records them."""
        if self.history is False:
            return
        is_on = bool(self.history) or not os.environ.get(_HISTORY, "").strip()
        try:
            _configuration("history", "--history")(config, history=True if is_on else None)
        except _NotInstalled:
            if self.history:
                raise
        except Exception as error:
            if self.history or isinstance(error, InvalidOption):
                raise
            print_note(f"no history is recorded: {type(error).__name__}: {text_of(error)}")

    def _check(self) -> None:
        if (self.workflow is None) == (not self.step):
            both = self.workflow is not None
            given = "--step and --workflow are both given" if both else "nothing says what to run"
            raise WrongUse(
                f"{given}: give either --step MODULE:FUNCTION, once or more, or "
                "--workflow MODULE:FACTORY."
            )
        if self.workflow is not None:
            for flag, value in (
                ("--callback", self.callback),
                ("--initial-context", self.initial_context),
                ("--name", self.name),
            ):
                if value is not None:
                    raise WorkflowFlagConflict(flag)
        if self.path is not None and self.storage not in (TypeStorage.FILE, *_BUCKETS):
            raise WrongUse("--path is the folder of '--storage file': add that, or leave it out.")

    def _storage(self) -> Storage | None:
        if self.storage is None or self.storage == TypeStorage.DEFAULT:
            return None if self.storage is None else StorageDefault()
        if self.storage in _BUCKETS:
            return self._bucket()
        if self.storage != TypeStorage.FILE:
            raise InvalidOption("--storage", self.storage, f"use one of {', '.join(_STORAGES)}")
        from dotflow.providers.storage_file import StorageFile  # noqa: PLC0415 - where it is used

        folder = Settings.START_PATH if self.path is None else self.path
        try:
            return StorageFile(path=folder)
        except OSError as error:
            raise WrongUse(f"--storage file cannot use the folder {folder}: {error}.") from error

    def _bucket(self) -> Storage:
        if not self.path:
            raise WrongUse(f"--storage {self.storage} needs a bucket: add --path BUCKET/PREFIX.")
        from dotflow.providers.storage_gcs import StorageGCS  # noqa: PLC0415 - where it is used
        from dotflow.providers.storage_s3 import StorageS3  # noqa: PLC0415

        bucket, _, prefix = self.path.partition("/")
        kind = StorageS3 if self.storage == TypeStorage.S3 else StorageGCS
        try:
            return kind(bucket=bucket, prefix=prefix) if prefix else kind(bucket=bucket)
        except StorageError as error:
            raise WrongUse(f"--storage {self.storage}: {error}") from error

    def _of_steps(self) -> DotFlow:
        flow = DotFlow(workflow_id=self.workflow_id, name=self.name)
        more: dict[str, Any] = {} if self.callback is None else {"callback": self.callback}
        value = None if self.initial_context is None else _value(self.initial_context)
        flow.task.add(list(self.step or ()), initial_context=value, **more)
        return flow

    def _of_factory(self, storage: Storage | None) -> DotFlow:
        path = self.workflow or ""
        factory = import_object(path)
        with _environment("WORKFLOW_ID", self.workflow_id):
            flow = _made(path, factory)
        if self.workflow_id is not None and str(flow.workflow_id) != self.workflow_id:
            raise WorkflowFlagConflict("--workflow-id")
        if storage is not None and flow.config.storage is not storage:
            raise WorkflowFlagConflict("--storage")
        return flow

    def _check_resume(self, flow: DotFlow) -> None:
        if not self.resume:
            return
        if isinstance(flow.config.storage, StorageDefault):
            print_note(
                "--resume finds nothing that another process kept in memory: add --storage file, "
                "and --workflow-id ID, to this run and to the one before."
            )
        elif self.workflow is None and not (self.workflow_id or os.environ.get("WORKFLOW_ID")):
            print_note(
                "--resume finds nothing without the id of the earlier run: add --workflow-id ID."
            )


def takes_options(command: Callable[..., int]) -> Callable[..., int]:
    """Return a command that takes the options of `Chosen` besides its own.

    Args:
        command: Its first argument is what was chosen.
    """
    _, *own = signature(command, eval_str=True).parameters.values()
    hints = get_type_hints(Chosen, include_extras=True)
    shared = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=Chosen._field_defaults[name],
            annotation=hints[name],
        )
        for name in Chosen._fields
    ]

    @wraps(command)
    def taking(**given: Any) -> int:
        chosen = Chosen(**{name: given.pop(name) for name in Chosen._fields})
        return command(chosen, **given)

    own = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in own]
    taking.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined] # for typer
    return taking


class WrongUse(DotflowError):
    """The command line asks for something that cannot be."""


# Telemetry, as such or by one of its libraries.
_NotInstalled: Final = (WrongUse, ModuleNotFound)


class _Retries(Log):
    """Writes a line where an attempt failed and another follows."""

    def info(self, **kwargs: Any) -> None:
        """Write nothing."""

    def error(self, **kwargs: Any) -> None:
        """Write nothing: the command shows failures at the end."""

    def warning(self, **kwargs: Any) -> None:
        """Write a line about a failed attempt."""
        task: Task = kwargs["task"]
        error = task.errors[-1]
        what = shortened(f"{error.exception}: {error.message}", _LONGEST)
        attempt = f"attempt {error.attempt} of {task.step.policy.attempts}"
        print_note(f"{task.name}: {attempt} failed, another follows: {what}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] not in ("{", "[", '"'):
            return text
        raise WrongUse(f"--initial-context is no JSON: {error}. Given: {text}") from error
    except RecursionError as error:
        raise WrongUse("--initial-context is nested too deep to be read as JSON.") from error


def _made(path: str, factory: Any) -> DotFlow:
    if not callable(factory):
        raise InvalidWorkflowFactory(path, f"it is {_kind(factory)}, which cannot be called")
    try:
        made = factory()
    except (DotflowError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also those that are no `Exception`, such as a cancellation
        place = place_of(error)
        where = f" in {place}" if place else ""
        reason = f"it raised {type(error).__name__}: {text_of(error)}{where}"
        raise InvalidWorkflowFactory(path, reason) from error
    if not isinstance(made, DotFlow):
        if isinstance(made, Coroutine):
            made.close()  # else Python warns that nobody awaited it
        raise InvalidWorkflowFactory(path, f"it returned {_kind(made)}")
    return made


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before


def _observed() -> Config:
    made: Config = _configuration("observe", "--observe")()
    return made


def _configuration(name: str, flag: str) -> Callable[..., Any]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - only where something runs

    for entry in entry_points(group=_CONFIGURATIONS, name=name):
        found: Callable[..., Any] = entry.load()
        return found
    raise WrongUse(f"{flag} needs telemetry, and none is installed: pip install 'dotflow[otel]'.")
