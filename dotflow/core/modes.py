"""The execution modes: how tasks are cut into chains, and how a chain runs in this thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from dotflow.core.exception import ExecutionModeNotExist
from dotflow.core.types.execution import TypeExecution
from dotflow.core.types.status import TypeStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dotflow.core.engine import Engine
    from dotflow.core.task.model import Task

    Mode = Literal["sequential", "sequential_group", "background", "parallel"]
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
        for task in chain:
            engine.run_here(task, before)
            before = hands_on(task)
            if before is None and not engine.keep_going:
                break


def hands_on(task: Task) -> Task | None:
    """Return the task itself where it has a context for the next one, else None."""
    return task if task.status == TypeStatus.COMPLETED else None
