"""The options of a run: their types, and the checks before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict
from uuid import UUID

from dotflow.core.checks import check_flag, check_text
from dotflow.core.exception import InvalidOnInputChange, InvalidOption
from dotflow.core.modes import check_mode
from dotflow.core.signatures import check_callback
from dotflow.core.task.model import Task, basic_callback
from dotflow.core.types.input_change import VALID_POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dotflow.core.modes import Groups, Mode

    Policy = Literal["reuse", "reset", "raise"]

_FLAGS: Final = ("keep_going", "ignore", "resume")
_CALLBACKS: Final = ("on_success", "on_failure")


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
    on_success: Callable[..., Any]
    on_failure: Callable[..., Any]


class ModeOptions(TypedDict, total=False):
    """What each mode of a `Manager` takes; what is left out is as the Manager was made with.

    Attributes:
        tasks: The tasks.
        workflow_id: The id of the Manager's workflow.
        ignore: Whether a chain of tasks goes on after a failed one (`keep_going`).
        groups: The same tasks by the name of their group; by default as `grouper` has them.
        resume: Whether tasks that completed before are restored, not run.
    """

    tasks: Sequence[Task]
    workflow_id: Any
    ignore: bool
    groups: Groups
    resume: bool


def check_run_options(options: Mapping[str, Any]) -> None:
    """Check the values of a run's options, of those that are there.

    Raises:
        ExecutionModeNotExist: There is no such mode.
        InvalidOnInputChange: There is no such policy.
        InvalidOption: Another one is of the wrong type.
        NotCallableObject: A callback cannot be called with `tasks=`.
    """
    if "mode" in options:
        check_mode(options["mode"])
    policy = options.get("on_input_change", VALID_POLICIES[0])
    if not (isinstance(policy, str) and policy in VALID_POLICIES):
        raise InvalidOnInputChange(policy)
    for name in _FLAGS:
        check_flag(name, options.get(name, False))
    given = options.get("fingerprint")
    expected = "give a text that changes with the input"
    check_text("fingerprint", given, expected, optional=True, blank=True)
    for name in _CALLBACKS:
        callback = options.get(name, basic_callback)
        if callback is not basic_callback:
            check_callback(callback, "tasks", f"{name}={callback!r}")


def check_tasks(tasks: Sequence[Task]) -> list[Task]:
    """Return tasks as a list of their own.

    Raises:
        InvalidOption: They are no list, or hold something else.
    """
    if not isinstance(tasks, (list, tuple)):
        raise InvalidOption("tasks", tasks, "give a list of Task, such as DotFlow.task.queue")
    # Nearly all are plain tasks, which one look tells.
    for index, task in enumerate(tasks) if {*map(type, tasks)} != {Task} else ():
        if not isinstance(task, Task):
            made = "give Task objects, such as DotFlow.task.add makes of steps"
            raise InvalidOption(f"tasks[{index}]", task, made)
    return list(tasks)


def check_groups(groups: Groups, tasks: Sequence[Task]) -> None:
    """Check that groups hold the tasks.

    Raises:
        InvalidOption: They do not, or not each task once.
    """
    try:
        grouped = [task for group in groups.values() for task in group]
    except (AttributeError, TypeError):
        raise InvalidOption("groups", groups, "give what grouper(tasks) returns") from None
    if sorted(map(id, grouped)) != sorted(map(id, tasks)):
        raise InvalidOption("groups", groups, "they must hold each of the tasks, once")


def check_workflow_id(workflow_id: object) -> None:
    """Check what is given as the id of a workflow.

    Raises:
        InvalidOption: It is neither a text nor a UUID.
    """
    if not isinstance(workflow_id, str | UUID | None):
        raise InvalidOption("workflow_id", workflow_id, "give a text or a UUID")
