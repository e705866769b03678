"""Providers that keep a list of what they were told, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.abc.log import Log
from dotflow.abc.metrics import Metrics
from dotflow.abc.notify import Notify
from dotflow.abc.progress import Progress
from dotflow.abc.server import Server
from dotflow.abc.tracer import Tracer
from dotflow.core.arguments import check_instance, check_text, strict_arguments, suggestion
from dotflow.core.exception import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dotflow.core.attempt import Outcome
    from dotflow.core.dotflow import DotFlow
    from dotflow.core.model import Task
    from dotflow.core.options import Slots
    from dotflow.core.run import Run


class Call(NamedTuple):
    """One call of a hook, with what was so at that moment.

    Attributes:
        provider: The slot: `tracer`, `metrics`, `log`, `notify`, `server` or `progress`.
        hook: The name of the method.
        facts: The arguments; of a task its name, ids, group, status, duration, retry count,
            number of errors, kind of failure and value.
    """

    provider: str
    hook: str
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.provider}.{self.hook}"


class Recorder:
    """What the recording providers share.

    Args:
        calls: The list to append to; several recorders may share one, which then shows the
            order of their calls. None: a list of its own.

    Raises:
        InvalidOption: `calls` is no list.
    """

    slot = ""

    @strict_arguments
    def __init__(self, calls: list[Call] | None = None) -> None:
        if calls is not None:
            check_instance("calls", calls, list, "give a list")
        self.calls: list[Call] = [] if calls is None else calls

    @property
    def hooks(self) -> list[str]:
        """The names of the hooks that were called on this provider, in order."""
        return [call.hook for call in self.calls if call.provider == self.slot]

    def of(self, hook: str) -> list[Mapping[str, Any]]:
        """Return the facts of each call of one hook on this provider, in order.

        Raises:
            InvalidOption: The provider has no such hook.
        """
        check_text("hook", hook)
        known = _hooks_of(type(self))
        if hook not in known:
            raise InvalidOption("hook", hook, suggestion(hook, known))
        return [
            call.facts for call in self.calls if call.provider == self.slot and call.hook == hook
        ]

    def _note(self, hook: str, task: Task | None = None, **facts: Any) -> None:
        if task is not None:
            facts = {**_task_facts(task), **facts}
        self.calls.append(Call(self.slot, hook, facts))


class RecordingTracer(Recorder, Tracer):
    """Records a tracer's calls. Runs appear by the hooks of 1.x, and whole in `runs`.

    Attributes:
        runs: Each run as it began.
        finished_runs: Each run as it ended.
    """

    slot = "tracer"

    @strict_arguments
    def __init__(self, calls: list[Call] | None = None) -> None:
        super().__init__(calls)
        self.runs: list[Run] = []
        self.finished_runs: list[Run] = []

    def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Record it."""
        self._note("start_workflow", workflow_id=workflow_id, **kwargs)

    def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
        """Record it."""
        self._note("end_workflow", workflow_id=workflow_id, **kwargs)

    def start_task(self, task: Task) -> None:
        """Record it."""
        self._note("start_task", task)

    def end_task(self, task: Task) -> None:
        """Record it."""
        self._note("end_task", task)

    def run_started(self, run: Run) -> None:
        """Keep the run, and record it as `start_workflow`."""
        self.runs.append(run)
        super().run_started(run)

    def run_finished(self, run: Run) -> None:
        """Keep the run, and record it as `end_workflow`."""
        self.finished_runs.append(run)
        super().run_finished(run)

    def task_restored(self, task: Task) -> None:
        """Record it."""
        self._note("task_restored", task)

    def attempt_finished(
        self, task: Task, attempt: int, outcome: Outcome, recorded: object
    ) -> None:
        """Record it."""
        facts = {"attempt": attempt, "outcome": outcome, "recorded": recorded}
        self._note("attempt_finished", task, **facts)


class RecordingMetrics(Recorder, Metrics):
    """Records the calls of a metrics recorder. Runs appear by the hooks of 1.x."""

    slot = "metrics"

    def workflow_started(self, workflow_id: Any, **kwargs: Any) -> None:
        """Record it."""
        self._note("workflow_started", workflow_id=workflow_id, **kwargs)

    def workflow_completed(self, workflow_id: Any, duration: float) -> None:
        """Record it."""
        self._note("workflow_completed", workflow_id=workflow_id, duration=duration)

    def workflow_failed(self, workflow_id: Any, duration: float) -> None:
        """Record it."""
        self._note("workflow_failed", workflow_id=workflow_id, duration=duration)

    def task_completed(self, task: Task) -> None:
        """Record it."""
        self._note("task_completed", task)

    def task_failed(self, task: Task) -> None:
        """Record it."""
        self._note("task_failed", task)

    def task_retried(self, task: Task) -> None:
        """Record it."""
        self._note("task_retried", task)

    def task_started(self, task: Task) -> None:
        """Record it."""
        self._note("task_started", task)

    def task_restored(self, task: Task) -> None:
        """Record it."""
        self._note("task_restored", task)

    def task_skipped(self, task: Task) -> None:
        """Record it."""
        self._note("task_skipped", task)

    def task_timed_out(self, task: Task) -> None:
        """Record it."""
        self._note("task_timed_out", task)

    def worker_lost(self, task: Task) -> None:
        """Record it."""
        self._note("worker_lost", task)

    def workers_changed(self, workers: int, busy: int) -> None:
        """Record it."""
        self._note("workers_changed", workers=workers, busy=busy)

    def telemetry_error(self, provider: str, hook: str) -> None:
        """Record it."""
        self._note("telemetry_error", provider=provider, failed_hook=hook)


class RecordingLog(Recorder, Log):
    """Records the calls of a log, whatever their level, and writes nothing."""

    slot = "log"

    def info(self, **kwargs: Any) -> None:
        """Record it."""
        self._note("info", **kwargs)

    def error(self, **kwargs: Any) -> None:
        """Record it."""
        self._note("error", **kwargs)

    def warning(self, **kwargs: Any) -> None:
        """Record it."""
        self._note("warning", **kwargs)

    def debug(self, **kwargs: Any) -> None:
        """Record it."""
        self._note("debug", **kwargs)

    def task_skipped(self, task: Task) -> None:
        """Record it."""
        self._note("task_skipped", task)


class RecordingNotify(Recorder, Notify):
    """Records the calls of a notifier."""

    slot = "notify"

    def hook_status_task(self, task: Task) -> None:
        """Record it."""
        self._note("hook_status_task", task)

    @property
    def statuses(self) -> list[str]:
        """The statuses that it was told, in order."""
        return [facts["status"] for facts in self.of("hook_status_task")]


class RecordingServer(Recorder, Server):
    """Records the calls of a server."""

    slot = "server"

    def create_workflow(self, workflow: DotFlow) -> None:
        """Record it."""
        self._note("create_workflow", workflow_id=workflow.workflow_id)

    def update_workflow(self, workflow: Any, status: str = "") -> None:
        """Record it."""
        self._note("update_workflow", workflow_id=workflow, status=status)

    def create_task(self, task: Task) -> None:
        """Record it."""
        self._note("create_task", task)

    def update_task(self, task: Task) -> None:
        """Record it."""
        self._note("update_task", task)


class RecordingProgress(Recorder, Progress):
    """Records what would be shown."""

    slot = "progress"

    def run_started(self, run: Run) -> None:
        """Record it."""
        self._note("run_started", run=run)

    def run_finished(self, run: Run) -> None:
        """Record it."""
        self._note("run_finished", run=run)

    def task_started(self, task: Task) -> None:
        """Record it."""
        self._note("task_started", task)

    def attempt_failed(self, task: Task) -> None:
        """Record it."""
        self._note("attempt_failed", task)

    def task_retried(self, task: Task) -> None:
        """Record it."""
        self._note("task_retried", task)

    def task_completed(self, task: Task) -> None:
        """Record it."""
        self._note("task_completed", task)

    def task_failed(self, task: Task) -> None:
        """Record it."""
        self._note("task_failed", task)

    def task_restored(self, task: Task) -> None:
        """Record it."""
        self._note("task_restored", task)

    def workers_changed(self, workers: int, busy: int) -> None:
        """Record it."""
        self._note("workers_changed", workers=workers, busy=busy)


class Recording:
    """One recorder for each telemetry slot, on one list: `Config(**recording.providers)`."""

    @strict_arguments
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.tracer = RecordingTracer(self.calls)
        self.metrics = RecordingMetrics(self.calls)
        self.log = RecordingLog(self.calls)
        self.notify = RecordingNotify(self.calls)
        self.server = RecordingServer(self.calls)

    @property
    def providers(self) -> Slots:
        """The recorders by slot, as keyword arguments for `Config`."""
        return {
            "tracer": self.tracer,
            "metrics": self.metrics,
            "log": self.log,
            "notify": self.notify,
            "server": self.server,
        }

    @property
    def hooks(self) -> list[str]:
        """All calls in order, as `slot.hook`."""
        return [str(call) for call in self.calls]


def _hooks_of(recorder: type[Recorder]) -> list[str]:
    names = [name for name in dir(recorder) if name[0] != "_" and not hasattr(Recorder, name)]
    return [name for name in names if callable(getattr(recorder, name))]


def _task_facts(task: Task) -> dict[str, Any]:
    return {
        "task": task.name,
        "task_id": task.task_id,
        "workflow_id": task.workflow_id,
        "group": task.group_name,
        "status": task.status,
        "duration": task.duration,
        "retry_count": task.retry_count,
        "errors": len(task.errors),
        "failure": None if task.failure is None else task.failure.kind,
        "value": task.current_context.storage,
    }
