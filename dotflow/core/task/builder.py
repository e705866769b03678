"""The queue of a workflow's tasks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dotflow.core.config import default_config
from dotflow.core.hooks import Announcer
from dotflow.core.ids import FreshIds, derived_id
from dotflow.core.task.model import Task, basic_callback, callback_of, step_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dotflow.core.action import Action
    from dotflow.core.config import Config
    from dotflow.core.task.record import WorkflowRecord

    # A class under `@action` is an action, which a type checker does not see.
    Step = Action | str | type[Any] | list["Step"]

_fresh_ids = FreshIds()


class TaskBuilder:
    """Builds the queue of tasks of one workflow.

    Args:
        config: The providers that every task gets.
        workflow_id: The id of the workflow. With one, task ids are derived from it and
            are the same in every process; so a later run finds the checkpoints.
        workflow_name: The name of the workflow.
        stable_ids: Whether to derive ids; by default where there is a workflow id.
    """

    def __init__(
        self,
        config: Config | None = None,
        workflow_id: Any = None,
        workflow_name: str | None = None,
        *,
        stable_ids: bool | None = None,
    ) -> None:
        self.queue: list[Task] = []
        self.config = config or default_config()
        self.workflow_id = workflow_id
        self.workflow_name = workflow_name
        self._stable_ids = workflow_id is not None if stable_ids is None else stable_ids
        self._announcer = Announcer(self.config)
        self._places: Counter[tuple[str, str]] = Counter()

    def add(
        self,
        step: Step,
        callback: Callable[..., Any] | str = basic_callback,
        initial_context: Any = None,
        group_name: str = "default",
        name: str | None = None,
    ) -> TaskBuilder:
        """Add a step, or each step of a list, and announce the new task.

        Args:
            step: An action, the import string of one, or a (nested) list of these.
            callback: Called as `callback(task=task)` once the task ran.
            initial_context: The value that the step finds in `initial_context.storage`.
            group_name: The group that the task belongs to.
            name: What the task is called; by default the step's name.

        Raises:
            ImportModuleError: An import string leads nowhere.
            MissingActionDecorator: A step is no action.
            NotCallableObject: The callback cannot be called.
        """
        # All of it is checked before any of it is added.
        actions = [step_of(each) for each in _flat(step)]
        checked_callback = callback_of(callback)
        for action in actions:
            task_name = name or action.name
            task = Task(
                self._next_id(group_name, task_name),
                action,
                checked_callback,
                initial_context,
                self.workflow_id,
                self.config,
                group_name,
                task_name,
            )
            task.index = len(self.queue)
            self.queue.append(task)
            self._announcer.announce(task)
        return self

    def count(self) -> int:
        """Tell how many tasks there are."""
        return len(self.queue)

    def clear(self) -> None:
        """Remove all tasks."""
        self.queue.clear()
        self._places.clear()

    def reverse(self) -> None:
        """Turn the order of the tasks round."""
        self.queue.reverse()

    def copies(self) -> list[Task]:
        """Give tasks that are as these were when added, with ids of their own."""
        return [task.copy(_fresh_ids.take()) for task in self.queue]

    def schema(self) -> WorkflowRecord:
        """Give the workflow as a typed record."""
        from dotflow.core.task.record import WorkflowRecord  # noqa: PLC0415 - results only

        return WorkflowRecord.of(self.workflow_id, self.workflow_name, self.queue)

    def result(self) -> dict[str, Any]:
        """Give the workflow as a dictionary."""
        return self.schema().model_dump()

    def _next_id(self, group: str, name: str) -> str:
        if not self._stable_ids:
            return _fresh_ids.take()
        occurrence = self._places[group, name]
        self._places[group, name] += 1
        return derived_id(self.workflow_id, group, name, occurrence)


def _flat(step: Step) -> Iterator[Action | str | type[Any]]:
    if isinstance(step, list):
        for each in step:
            yield from _flat(each)
    else:
        yield step
