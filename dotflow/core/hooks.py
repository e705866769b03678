"""The table of which call of which provider happens when, each by the guard.

An error in a hook is logged, once per provider and hook, and counted. A hook that a provider
leaves at its do-nothing default is not called.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from dotflow.abc.noop import is_noop
from dotflow.abc.scheduler import ScheduleObserver
from dotflow.abc.scope import RemoteScope, WorkerScope
from dotflow.core.guard import Deferred, Guard, GuardedScopes
from dotflow.core.process import fork_safe_lock
from dotflow.core.types import WorkflowStatus
from dotflow.core.user_objects import exc_info_of, name_of, repr_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from dotflow.abc.scheduler import Tick
    from dotflow.core.attempt import Outcome
    from dotflow.core.config import Config
    from dotflow.core.guard import Calls
    from dotflow.core.model import Task
    from dotflow.core.run import Run

_logger = logging.getLogger("dotflow")
_reporting = fork_safe_lock()

# What happens at each moment of a task, in order: (slot of the config, hook).
_TASK_MOMENTS: Final = {
    "added": (("notify", "hook_status_task"), ("log", "info"), ("server", "create_task")),
    "ready": (("tracer", "start_task"),),
    "started": (
        ("metrics", "task_started"),
        ("notify", "hook_status_task"),
        ("log", "info"),
        ("progress", "task_started"),
    ),
    "timed_out": (("metrics", "task_timed_out"),),
    "worker_lost": (("metrics", "worker_lost"),),
    "retried": (
        ("notify", "hook_status_task"),
        ("log", "warning"),
        ("progress", "attempt_failed"),
    ),
    # When the wait is over: a run that is interrupted in it has not tried again.
    "tried_again": (("metrics", "task_retried"), ("progress", "task_retried")),
    "completed": (
        ("notify", "hook_status_task"),
        ("log", "info"),
        ("metrics", "task_completed"),
        ("tracer", "end_task"),
        ("server", "update_task"),
        ("progress", "task_completed"),
    ),
    "failed": (
        ("notify", "hook_status_task"),
        ("log", "error"),
        ("metrics", "task_failed"),
        ("tracer", "end_task"),
        ("server", "update_task"),
        ("progress", "task_failed"),
    ),
    "restored": (
        ("notify", "hook_status_task"),
        ("log", "task_restored"),
        ("tracer", "task_restored"),
        ("metrics", "task_restored"),
        ("progress", "task_restored"),
    ),
    "skipped": (("metrics", "task_skipped"), ("log", "task_skipped")),
}
_SCOPED: Final = ("tracer", "log")
_COUNTING: Final = ("metrics", "progress")

_NOTHING: Final = nullcontext()


class Hooks:
    """The hooks of one configuration, looked up once for a run."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._guard = guard_of(config)
        self.fire = self._guard.call_all
        # Whether the tracer has something entered around what serves a task.
        self._serves = not is_noop(config.tracer.task_scope)
        self.added = self._at("added")
        self.ready = self._at("ready")
        self.started = self._at("started")
        self.timed_out = self._at("timed_out")
        self.worker_lost = self._at("worker_lost")
        self.retried = self._at("retried")
        self.tried_again = self._at("tried_again")
        self.completed = self._at("completed")
        self.failed = self._at("failed")
        self.restored = self._at("restored")
        self.skipped = self._at("skipped")
        self._scopes = self._calls((slot, "attempt_scope") for slot in _SCOPED)
        self._remote = self._calls((slot, "remote_scope") for slot in _SCOPED)
        self._recorded = self._calls((slot, "attempt_recorded") for slot in _SCOPED)
        self._ended = self._calls((slot, "attempt_finished") for slot in _SCOPED)
        self.has_scopes = bool(self._scopes)
        self.watches_attempts = bool(self._ended)

    def _at(self, moment: str) -> Calls:
        return self._calls(_TASK_MOMENTS[moment])

    def _calls(self, places: Iterable[tuple[str, str]]) -> Calls:
        found = ((getattr(getattr(self._config, slot), hook), slot, hook) for slot, hook in places)
        calls = tuple(call for call in found if not is_noop(call[0]))
        return tuple(map(self._served, calls)) if self._serves else calls

    def _served(self, call: tuple[Callable[..., Any], str, str]) -> Any:
        function, slot, hook = call
        return (partial(self._serve, function), slot, hook) if slot == "notify" else call

    def _serve(self, function: Callable[..., Any], task: Task) -> None:
        with self.task_scope(task):
            function(task=task)

    def task_scope(self, task: Task) -> AbstractContextManager[object]:
        """Return what is entered around what serves a task, guarded."""
        return guarded_scope(self._config, "task_scope", task)

    def scopes(self, task: Task, attempt: int) -> Sequence[AbstractContextManager[object]]:
        """Return what is entered around an attempt in this process, guarded."""
        made = self._made(self._scopes, task, attempt)
        return (GuardedScopes(made, self._guard),) if made else ()

    def remote_scopes(self, task: Task, attempt: int) -> dict[str, Any]:
        """Return what is sent along with an attempt, by the slot that it comes from."""
        return dict(self._made(self._remote, task, attempt, RemoteScope)) if self._remote else {}

    def attempt_recorded(self, task: Task, recorded: Mapping[str, object]) -> None:
        """Notify of what an attempt that goes on has recorded, by slot."""
        for function, slot, hook in self._recorded:
            if slot in recorded:
                self._guard.call(slot, hook, function, task, task.attempt, recorded[slot])

    def attempt_finished(self, task: Task, outcome: Outcome) -> None:
        """Notify of how an attempt ended, with what its remote scopes recorded."""
        for function, slot, hook in self._ended:
            recorded = outcome.recorded.get(slot)
            self._guard.call(slot, hook, function, task, task.attempt, outcome, recorded)

    def _made(
        self, calls: Calls, task: Task, attempt: int, kind: type[Any] = object
    ) -> list[tuple[str, Any]]:
        made = []
        for function, slot, hook in calls:
            scope = self._guard.call(slot, hook, checked_scope, kind, function, task, attempt)
            if scope is not None:
                made.append((slot, scope))
        return made


def checked_scope(kind: type[Any], function: Callable[..., Any], *args: Any) -> Any:
    """Have a provider make a scope; return it, or None where it makes none.

    Raises:
        TypeError: It is of another kind, of which a worker would know no methods.
    """
    scope = function(*args)
    if scope is None or isinstance(scope, kind):
        return scope
    raise TypeError(
        f"{repr_of(scope)} is no dotflow.abc.scope.{kind.__name__}: derive it from that"
    )


class RunHooks:
    """The calls of a run as a whole; none where it has no configuration of its own."""

    def __init__(self, config: Config | None) -> None:
        self._config = config
        # The slots to be notified of the end of the run.
        self._to_notify = ["server"]
        # Notified of how many workers live and are busy, if anybody is: that changes as often as
        # tasks end.
        self.workers_changed = None if config is None else WorkersListener.of(config)

    def run_started(self, run: Run) -> None:
        """Notify of the start of a run."""
        for slot in ("tracer", "metrics", "log", "progress"):
            # Noted before: one that is interrupted here is notified of the end as well.
            self._to_notify.insert(-1, slot)
            self._call(slot, "run_started", run)
        self._update_server(run, WorkflowStatus.IN_PROGRESS)

    @property
    def counts(self) -> bool:
        """Whether the metrics know of the run, and so of its tasks."""
        return "metrics" in self._to_notify

    def run_finished(self, run: Run) -> None:
        """Notify all who were notified of the begin of a run of its end.

        A second call notifies those whom an interrupted one has left.

        Raises:
            KeyboardInterrupt, SystemExit: One was interrupted; the others were notified.
        """
        deferred = Deferred()
        while self._to_notify:
            slot = self._to_notify.pop(0)
            with deferred:
                if slot == "server":
                    status = WorkflowStatus.FAILED if run.failed else WorkflowStatus.COMPLETED
                    self._update_server(run, status)
                else:
                    self._call(slot, "run_finished", run)
        deferred.raise_first()

    def _update_server(self, run: Run, status: str) -> None:
        self._call("server", "update_workflow", workflow=run.workflow_id, status=status)

    def run_scope(self, run: Run) -> AbstractContextManager[object]:
        """Return what is entered around what serves a run, guarded."""
        if self._config is None or is_noop(self._config.tracer.run_scope):
            return _NOTHING
        return guarded_scope(self._config, "run_scope", run)

    def run_carrier(self, run: Run) -> Mapping[str, str] | None:
        """Return what the tracer wants kept with the run's checkpoints."""
        carrier: Mapping[str, str] | None = self._call("tracer", "run_carrier", run)
        return carrier

    def worker_scopes(self, run: Run) -> dict[str, WorkerScope]:
        """Return what is set up in each worker, by the slot that it comes from."""
        if self._config is None:
            return {}
        make = self._config.metrics.worker_scope
        guard = guard_of(self._config)
        found = guard.call("metrics", "worker_scope", checked_scope, WorkerScope, make, run)
        return {} if found is None else {"metrics": found}

    def worker_recorded(self, recorded: Mapping[str, object]) -> None:
        """Notify of what such scopes have recorded, by slot."""
        for slot, found in recorded.items():
            self._call(slot, "worker_recorded", found)

    def _call(self, slot: str, hook: str, *args: Any, **kwargs: Any) -> Any:
        if self._config is None:
            return None
        return call(self._config, slot, hook, *args, **kwargs)


class WorkersListener:
    """Notifies providers of how many workers live and how many of them are busy.

    It is notified for as long as workers live, which may be longer than the configuration does,
    so it does not hold that one. Two are equal that notify the same providers.

    Args:
        config: The configuration.
        slots: Those of its providers that are to be notified.
    """

    def __init__(self, config: Config, slots: Sequence[str]) -> None:
        self._config = ref(config)
        self._methods = [(slot, getattr(config, slot).workers_changed) for slot in slots]
        self._failed: set[str] = set()
        self._guard = Guard(self._report)

    @classmethod
    def of(cls, config: Config) -> WorkersListener | None:
        """Return that of a configuration; None where nobody is to be notified."""
        found = [each for each in _COUNTING if not is_noop(getattr(config, each).workers_changed)]
        return cls(config, found) if found else None

    def __call__(self, workers: int, busy: int) -> None:
        """Notify the providers."""
        for slot, method in self._methods:
            self._guard.call(slot, "workers_changed", method, workers, busy)

    def _report(self, slot: str, hook: str, error: Exception) -> None:
        config = self._config()
        if config is not None:
            report(config, slot, hook, error)
        elif slot not in self._failed:
            text = "a provider could not be notified of workers"
            _logger.error(text, exc_info=exc_info_of(error))
        self._failed.add(slot)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkersListener) and self._methods == other._methods

    def __hash__(self) -> int:
        return hash(tuple(self._methods))


def guarded_scope(config: Config, hook: str, about: object) -> AbstractContextManager[object]:
    """Return what the tracer wants to be entered around something, guarded."""
    scope = call(config, "tracer", hook, about)
    if scope is None:
        return _NOTHING
    return GuardedScopes([("tracer", scope)], guard_of(config))


def guard_of(config: Config) -> Guard:
    """Return what calls the providers of a configuration."""
    return Guard(partial(report, config))


def call(config: Config, slot: str, hook: str, *args: Any, **kwargs: Any) -> Any:
    """Call one hook of one provider; return None where it raised."""
    function = getattr(getattr(config, slot), hook)
    return (
        None if is_noop(function) else guard_of(config).call(slot, hook, function, *args, **kwargs)
    )


class Announcer:
    """Notifies of tasks that are added, before there is a run."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: tuple[tuple[object, ...], Hooks | None] = ((), None)

    def announce(self, task: Task) -> None:
        """Notify of a task that was added."""
        config = self._config
        providers = (config.notify, config.log, config.server)
        known, hooks = self._known
        if hooks is None or providers != known:
            hooks = Hooks(config)
            # Together, for another thread may add a task at this moment.
            self._known = providers, hooks
        hooks.fire(hooks.added, task)


def report(config: Config, slot: str, hook: str, error: Exception) -> None:
    """Log a provider's error, the first of its kind with its traceback, and count it."""
    provider = name_of(type(getattr(config, slot)))
    with _reporting:
        is_first = (provider, hook) not in config.reported
        config.reported.add((provider, hook))
    if is_first:
        _logger.error(
            "%s.%s raised %s; the run goes on, and further errors there are only counted",
            provider,
            hook,
            name_of(type(error)),
            exc_info=exc_info_of(error),
        )
    try:
        config.metrics.telemetry_error(provider, hook)
    except Exception:
        _logger.debug("the error could not be counted", exc_info=True)


class ScheduleHooks(ScheduleObserver):
    """Notifies tracer and metrics, each call guarded.

    Args:
        config: The providers.
        workflow: The name of the workflow.
    """

    def __init__(self, config: Config, workflow: str) -> None:
        self._config = config
        self._workflow = workflow

    def tick_scope(self, tick: Tick) -> AbstractContextManager[object]:
        """Return what the tracer wants to be entered around the run of a tick."""
        return guarded_scope(self._config, "tick_scope", self._named(tick))

    def tick_fired(self, tick: Tick) -> None:
        """Notify of the run of a tick that begins."""
        call(self._config, "metrics", "tick_fired", self._named(tick))

    def tick_skipped(self, tick: Tick, reason: str) -> None:
        """Notify of a tick that has no run."""
        for slot in ("tracer", "metrics"):
            call(self._config, slot, "tick_skipped", self._named(tick), reason)

    def _named(self, tick: Tick) -> Tick:
        return tick._replace(workflow=self._workflow)
