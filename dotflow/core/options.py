"""The keyword arguments of public functions, as types for `Unpack`.

Nothing here is needed at run time; import it where type checkers read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, Required, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent import futures

    from dotflow.abc.executor import Executor
    from dotflow.abc.log import Log
    from dotflow.abc.metrics import Metrics
    from dotflow.abc.notify import Notify
    from dotflow.abc.progress import Progress
    from dotflow.abc.scheduler import Scheduler
    from dotflow.abc.server import Server
    from dotflow.abc.storage import Storage
    from dotflow.abc.tracer import Tracer
    from dotflow.core.model import Task

Mode = Literal["sequential", "sequential_group", "background", "parallel"]
Policy = Literal["reuse", "reset", "raise"]


class WorkflowCallback(Protocol):
    """Is called at the end of a run, with the keyword `tasks`."""

    def __call__(self, *, tasks: list[Task]) -> object:
        """Do what is to be done."""


class TaskCallback(Protocol):
    """Is called after a task ran, with the keyword `task`."""

    def __call__(self, *, task: Task) -> object:
        """Do what is to be done."""


class RunOptions(TypedDict, total=False):
    """What `DotFlow.start` and `DotFlow.schedule` take.

    Attributes:
        mode: `sequential` (default), `sequential_group`, `background` or `parallel`.
        keep_going: Whether a chain of tasks goes on after a failed one; False by default.
        resume: Whether tasks that completed in an earlier run are restored, not run; False by
            default.
        on_input_change: What a resumed run does when the input changed: `reuse` the
            checkpoints (default), `reset` them, or `raise`.
        fingerprint: Stands for the input, in place of one made from the initial contexts.
        on_success: Called as `on_success(tasks=[...])` if no task failed.
        on_failure: Called as `on_failure(tasks=[...])` if one did.
    """

    mode: Mode
    keep_going: bool
    resume: bool
    on_input_change: Policy
    fingerprint: str | None
    on_success: WorkflowCallback
    on_failure: WorkflowCallback


class ModeOptions(TypedDict, total=False):
    """What each mode of a `Manager` takes; what is left out is as the Manager was made with.

    Attributes:
        tasks: The tasks.
        workflow_id: The id of the Manager's workflow.
        ignore: Whether a chain of tasks goes on after a failed one (`keep_going`).
        groups: The same tasks by the name of their group; by default as `grouper` has them.
        resume: Whether tasks that completed before are restored, not run.
    """

    tasks: Required[list[Task]]
    workflow_id: Any
    ignore: bool
    groups: Mapping[str, Sequence[Task]]
    resume: bool


class Slots(TypedDict, total=False):
    """The slots of `Config` as keyword arguments, for functions that pass them on."""

    storage: Storage | None
    notify: Notify | None
    log: Log | None
    server: Server | None
    scheduler: Scheduler | None
    tracer: Tracer | None
    metrics: Metrics | None
    executor: Executor | futures.Executor | None
    progress: Progress | None
