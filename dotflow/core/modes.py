"""The execution modes and their options; how tasks are cut into chains and run in this thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from dotflow.core.action import check_callback
from dotflow.core.checks import check_flag, check_text
from dotflow.core.exception import ExecutionModeNotExist, InvalidOnInputChange, InvalidOption
from dotflow.core.task.model import Task, basic_callback
from dotflow.core.types import VALID_POLICIES, TypeExecution, TypeStatus
from dotflow.core.user_objects import repr_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dotflow.core.engine import Engine

    # Inside one each task gets what the one before returned.
    Chain = Sequence[Task]
    Groups = Mapping[str, Sequence[Task]]

SEQUENTIAL_GROUP: Final = "sequential_group"
MODES: Final = (
    TypeExecution.SEQUENTIAL,
    SEQUENTIAL_GROUP,
    TypeExecution.BACKGROUND,
    TypeExecution.PARALLEL,
)


# The names of `RunOptions` and `ModeOptions`, types that no run needs to import.
RUN_OPTIONS: Final = (
    "mode",
    "keep_going",
    "resume",
    "on_input_change",
    "fingerprint",
    "on_success",
    "on_failure",
)
MODE_OPTIONS: Final = ("tasks", "workflow_id", "ignore", "groups", "resume")
_FLAGS: Final = ("keep_going", "ignore", "resume")
_CALLBACKS: Final = ("on_success", "on_failure")


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
            check_callback(callback, ("tasks",), f"{name}={repr_of(callback)}")


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
    is_blank = isinstance(workflow_id, str) and not workflow_id.strip()
    if is_blank or not isinstance(workflow_id, str | UUID | None):
        raise InvalidOption("workflow_id", workflow_id, "give a text or a UUID")


def check_mode(mode: str) -> None:
    """Check that there is such a mode.

    Raises:
        ExecutionModeNotExist: There is not.
    """
    if mode not in MODES:
        raise ExecutionModeNotExist(mode, MODES)


def grouper(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    """Return the tasks by the name of their group, groups in order of first appearance."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.group_name, []).append(task)
    return groups


def mode_that_runs(mode: str, groups: Groups) -> str:
    """Return the mode as it runs: `sequential` over several groups is `sequential_group`."""
    return SEQUENTIAL_GROUP if mode == TypeExecution.SEQUENTIAL and len(groups) > 1 else mode


def parallel_chains(groups: Groups) -> Sequence[Chain]:
    """Return the chains that run at the same time: the groups, or the tasks of the only one."""
    chains = list(groups.values())
    return chains if len(chains) > 1 else [[task] for chain in chains for task in chain]


def run_chains_here(engine: Engine, chains: Iterable[Chain]) -> None:
    """Run chains one after another in this thread."""
    for chain in chains:
        before: Task | None = None
        done = engine.restore(chain) if engine.resume else 0
        if done:
            before = hands_on(chain[done - 1])
            if before is None and not engine.keep_going:
                continue
            chain = chain[done:]  # noqa: PLW2901 - what is left of it
        for task in chain:
            engine.run_here(task, before)
            before = hands_on(task)
            if before is None and not engine.keep_going:
                break


def hands_on(task: Task) -> Task | None:
    """Return the task itself where it has a context for the next one, else None."""
    return task if task.status == TypeStatus.COMPLETED else None
