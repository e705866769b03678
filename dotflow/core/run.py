"""The record of one run of a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPLETED: Final = "completed"
FAILED: Final = "failed"


class Run(NamedTuple):
    """One run: frozen. `finished` gives the record of its end.

    Attributes:
        id: Of this run alone; several runs may share a workflow id at the same time.
        workflow_id: The id of the workflow, as it was given or generated.
        name: The name of the workflow.
        mode: The mode as it runs (`sequential` over several groups is `sequential_group`).
        task_count: How many tasks it has; at the end with those that were run again or added.
        started_at: Seconds since the epoch.
        resumed_from: What the tracer kept with the checkpoints that this run resumes from.
        duration: Seconds, at the end.
        outcome: `completed` or `failed`, at the end.
        error: The exception that ended the run before its tasks were done, if any.
    """

    id: str
    workflow_id: Any
    name: str
    mode: str
    task_count: int
    started_at: float
    resumed_from: Mapping[str, str] | None = None
    duration: float | None = None
    outcome: str | None = None
    error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether the run has failed."""
        return self.outcome == FAILED

    def finished(
        self,
        duration: float,
        *,
        failed: bool,
        error: BaseException | None = None,
        further_tasks: int = 0,
    ) -> Run:
        """Return the record of the ended run."""
        outcome = FAILED if failed else COMPLETED
        count = self.task_count + further_tasks
        return self._replace(duration=duration, outcome=outcome, error=error, task_count=count)
