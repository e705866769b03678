"""Spans that callbacks, storage and notify open are below the task or workflow that they serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dotflow import action
from dotflow.abc.notify import Notify
from dotflow.providers import StorageDefault

if TYPE_CHECKING:
    from observed import Observed

MODES = ("sequential", "sequential_group", "background", "parallel")


class Telling(Notify):
    """Opens a span for what it is told."""

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer

    def hook_status_task(self, task: Any) -> None:
        """Open a span."""
        with self.tracer.start_as_current_span(f"notify {task.status}"):
            pass


class Traced(StorageDefault):
    """Opens a span for each call, as an instrumented client does."""

    def __init__(self, tracer: Any) -> None:
        super().__init__()
        self.tracer = tracer

    def post(self, key: str, context: Any) -> None:
        """Open a span."""
        with self.tracer.start_as_current_span("post"):
            super().post(key, context)

    def get(self, key: str) -> Any:
        """Open a span."""
        with self.tracer.start_as_current_span("get"):
            return super().get(key)


@pytest.mark.parametrize("mode", MODES)
def test_spans_of_what_serves_a_run(observed: Observed, mode: str) -> None:
    """Each is below its task, and what is of none below the workflow, in one trace."""
    tracer = observed.provider.get_tracer("app")
    observed.config.notify = Telling(tracer)
    observed.config.storage = Traced(tracer)
    errors: list[str] = []

    def callback(task: Any) -> None:
        with tracer.start_as_current_span("callback"):
            errors.append(task.status)

    def on_failure(tasks: Any) -> None:
        with tracer.start_as_current_span("on_failure"):
            errors.append("ended")

    @action(retry=2, retry_delay=0)
    def first() -> int:
        return 1

    @action(retry=2, retry_delay=0)
    def second(previous_context: Any) -> int:
        raise ValueError(previous_context.storage)

    manager = observed.run(
        {"step": first, "callback": callback, "group_name": "a"},
        {"step": second, "callback": callback, "group_name": "a"},
        {"step": first, "name": "other", "group_name": "b"},
        mode=mode,
        on_failure=on_failure,
    )
    assert [task.status for task in manager.tasks] == ["Completed", "Failed", "Completed"]
    attempts = ["attempt"]
    # A task that is added has no run yet.
    assert observed.below(observed.ended("task first")) == [
        "notify In progress",
        *attempts,
        "post",
        "notify Completed",
        "callback",
    ]
    assert observed.below(observed.ended("task second")) == [
        "notify In progress",
        *attempts,
        "notify Retry",
        *attempts,
        "post",
        "notify Failed",
        "callback",
    ]
    below = observed.below(observed.ended("workflow billing"))
    assert sorted(below) == ["get", "on_failure", "task first", "task other", "task second"]
    roots = [span.name for span in observed.finished if span.parent is None]
    assert sorted(roots) == ["notify Not started"] * 3 + ["workflow billing"]
    assert len(errors) == 3
