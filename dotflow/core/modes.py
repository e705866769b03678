"""The execution modes: how tasks are cut into chains, and where each chain runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.exception import ExecutionModeNotExist
from dotflow.core.types.execution import TypeExecution
from dotflow.core.types.status import TypeStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.engine import Engine
    from dotflow.core.task.model import Task

    Chain = Sequence[Task]

SEQUENTIAL_GROUP: Final = "sequential_group"
MODES: Final = (
    TypeExecution.SEQUENTIAL,
    SEQUENTIAL_GROUP,
    TypeExecution.BACKGROUND,
    TypeExecution.PARALLEL,
)


class Plan(NamedTuple):
    """What a mode means for these tasks.

    Attributes:
        mode: The mode as it runs.
        chains: The chains; inside one each task gets what the one before returned.
        in_thread: Whether the caller goes on at once.
        in_workers: Whether the chains run at the same time, in workers.
    """

    mode: str
    chains: Sequence[Chain]
    in_thread: bool
    in_workers: bool


def check_mode(mode: str) -> None:
    """Check that there is such a mode.

    Raises:
        ExecutionModeNotExist: There is not.
    """
    if mode not in MODES:
        raise ExecutionModeNotExist(mode, MODES)


def grouper(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    """Give the tasks by the name of their group, groups in order of first appearance."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.group_name, []).append(task)
    return groups


def plan(mode: str, tasks: Sequence[Task]) -> Plan:
    """Cut tasks into chains as a mode says."""
    groups = list(grouper(tasks).values())
    if mode == TypeExecution.PARALLEL:
        chains = groups if len(groups) > 1 else [[task] for task in tasks]
        return Plan(mode, chains, in_thread=False, in_workers=True)
    if mode == TypeExecution.SEQUENTIAL and len(groups) > 1:
        mode = SEQUENTIAL_GROUP
    return Plan(mode, groups, in_thread=mode == TypeExecution.BACKGROUND, in_workers=False)


def run_chains_here(engine: Engine, chains: Sequence[Chain]) -> None:
    """Run chains one after another in this thread."""
    for chain in chains:
        for index, task in enumerate(chain):
            engine.run_here(chain, index)
            if task.status != TypeStatus.COMPLETED and not engine.keep_going:
                break
