"""Tasks, and the queue that builds them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.action import Action
from dotflow.core.arguments import refuse_unknown, strict_arguments
from dotflow.core.config import Config, check_config, default_config
from dotflow.core.exception import TaskError
from dotflow.core.hooks import Announcer
from dotflow.core.ids import FreshIds, derived_id
from dotflow.core.model import (
    Task,
    WorkflowRecord,
    basic_callback,
    callback_of,
    check_texts,
    step_of,
    use_configs,
    workflow_fields,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Never

    from dotflow.core.options import TaskCallback

    # A class under `@action` is an action, which a type checker does not see.
    Step = Action | str | type[Any] | Sequence["Step"]

__all__ = ["Task", "TaskBuilder", "TaskError", "basic_callback"]

use_configs(Config, check_config, default_config)

_fresh_ids = FreshIds()

_ARGUMENTS: Final = ("step", "callback", "initial_context", "group_name", "name")


class TaskBuilder:
    """Builds the queue of tasks of one workflow.

    Args:
        config: The providers that every task gets.
        workflow_id: The id of the workflow. With one, task ids are derived from it and
            are the same in every process; so a later run finds the checkpoints.
        workflow_name: The name of the workflow.
        stable_ids: Whether to derive ids; by default where there is a workflow id.

    Raises:
        InvalidOption: `config` is no `Config`.
        TypeError: There is no such argument.
    """

    @strict_arguments
    def __init__(
        self,
        config: Config | None = None,
        workflow_id: Any = None,
        workflow_name: str | None = None,
        *,
        stable_ids: bool | None = None,
    ) -> None:
        check_config(config)
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
        callback: TaskCallback | str = basic_callback,
        initial_context: Any = None,
        group_name: str = "default",
        name: str | None = None,
        **unknown: Never,
    ) -> TaskBuilder:
        """Add a step, or each step of a list or tuple, and announce the new task.

        Args:
            step: An action, the import string of one, or a (nested) list or tuple of these.
            callback: Called as `callback(task=task)` once the task ran; or its import string.
            initial_context: The value that the step finds in `initial_context.storage`.
            group_name: The group that the task belongs to.
            name: What the task is called; by default the step's name.
            **unknown: Refused.

        Returns:
            This builder, so that calls can be chained.

        Raises:
            ImportModuleError: An import string leads nowhere.
            InvalidOption: `group_name` or `name` is no text.
            MissingActionDecorator: A step is no action.
            NotCallableObject: The callback cannot be called with `task=`.
            ParameterNotPassed: A step has a parameter that a workflow does not pass.
            TypeError: There is no such argument.
        """
        if unknown:
            refuse_unknown("task.add", unknown, _ARGUMENTS)
        if not (type(group_name) is str and (name is None or type(name) is str)):
            check_texts(group_name=group_name, name=name)
        # All of it is checked before any of it is added.
        # In one look where it is one step, because a queue may have 100,000.
        actions: Sequence[Action]
        if type(step) is Action and step.is_step:
            actions = (step,)
        else:
            actions = [step_of(each) for each in _flat(step)]
        if callback is not basic_callback:
            callback = callback_of(callback)
        for action in actions:
            task_name = name or action.name
            task = Task(
                self._next_id(group_name, task_name),
                action,
                callback,
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
        """Return how many tasks there are."""
        return len(self.queue)

    def clear(self) -> None:
        """Remove all tasks."""
        self.queue.clear()
        self._places.clear()

    def reverse(self) -> None:
        """Turn the order of the tasks round."""
        self.queue.reverse()

    def copies(self, *, same_ids: bool = False) -> list[Task]:
        """Return tasks that are as these were when added, with the same ids or fresh ones.

        Their initial contexts are copies, so that no run finds what another has left of them.
        """
        return [task.copy(task.task_id if same_ids else _fresh_ids.take()) for task in self.queue]

    def schema(self, tasks: Sequence[Task] | None = None) -> WorkflowRecord:
        """Return the workflow as a typed record, with its queue or other tasks."""
        shown = self.queue if tasks is None else tasks
        return WorkflowRecord.of(self.workflow_id, self.workflow_name, shown)

    def result(self, tasks: Sequence[Task] | None = None) -> dict[str, Any]:
        """Return the workflow as a dictionary, with its queue or other tasks."""
        shown = self.queue if tasks is None else tasks
        return workflow_fields(self.workflow_id, self.workflow_name, shown)

    def _next_id(self, group: str, name: str) -> str:
        if not self._stable_ids:
            return _fresh_ids.take()
        occurrence = self._places[group, name]
        self._places[group, name] += 1
        return derived_id(self.workflow_id, group, name, occurrence)


def _flat(step: Step) -> Iterator[Action | str | type[Any]]:
    if isinstance(step, (list, tuple)):
        for each in step:
            yield from _flat(each)
    else:
        yield step  # type: ignore[misc] # of sequences only these two, and texts
