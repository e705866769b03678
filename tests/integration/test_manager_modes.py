"""The documented methods of `Manager`: its modes, its end, and subclasses that override them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Context, Task, action
from dotflow.core.exception import InvalidOption, NotCallableObject, RunInProgress
from dotflow.core.task import TaskBuilder
from dotflow.core.workflow import Manager, grouper
from dotflow.providers import StorageFile
from dotflow_otel import RecordedTelemetry, record_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MODES = ("sequential", "sequential_group", "background", "parallel")


@action
def ok() -> str:
    """Succeed."""
    return "ok"


@action
def bad() -> None:
    """Fail."""
    raise ValueError("no")


@action
def follows(previous_context: Context) -> object:
    """Return what the task before returned."""
    return previous_context.storage


@pytest.fixture
def telemetry() -> Iterator[RecordedTelemetry]:
    """Record what runs report."""
    with record_telemetry(global_tracer=False) as recorded:
        yield recorded


@pytest.fixture
def make(telemetry: RecordedTelemetry) -> Callable[..., list[Task]]:
    """Return a function that makes tasks of steps, of two groups where told so."""

    def of(*steps: Any, groups: int = 1) -> list[Task]:
        builder = TaskBuilder(telemetry.config, "w")
        for index, step in enumerate(steps):
            group = "default" if groups == 1 else str(index * groups // len(steps))
            builder.add(step, group_name=group)
        return builder.queue

    return of


def run(
    kind: type[Manager], tasks: list[Task], telemetry: RecordedTelemetry, **options: Any
) -> Any:
    """Make a Manager and wait for the end of its run."""
    options.setdefault("workflow_name", "w")
    manager = kind(tasks=tasks, workflow_id="w", config=telemetry.config, **options)
    if hasattr(manager, "thread"):
        manager.thread.join(30)
    return manager


def statuses(tasks: list[Task]) -> list[str]:
    """Return the status of each task."""
    return [task.status for task in tasks]


class Recorded(Manager):
    """Overrides every public method, writes its call down, and calls the base."""

    calls: list[tuple[str, set[str]]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.calls = []
        self.ended: list[Any] = []
        super().__init__(*args, **kwargs)

    def sequential(self, **kwargs: Any) -> list[Task]:
        self.calls.append(("sequential", set(kwargs)))
        return super().sequential(**kwargs)

    def sequential_group(self, **kwargs: Any) -> list[Task]:
        self.calls.append(("sequential_group", set(kwargs)))
        return super().sequential_group(**kwargs)

    def background(self, **kwargs: Any) -> list[Task]:
        self.calls.append(("background", set(kwargs)))
        return super().background(**kwargs)

    def parallel(self, **kwargs: Any) -> list[Task]:
        self.calls.append(("parallel", set(kwargs)))
        return super().parallel(**kwargs)

    def _callback_workflow(self, tasks: Any) -> None:
        super()._callback_workflow(tasks)
        self.ended.append(list(tasks))


@pytest.mark.parametrize("mode", MODES)
def test_the_constructor_runs_the_mode_by_its_method(
    mode: str, telemetry: RecordedTelemetry, make: Any
) -> None:
    """It calls the method of the mode's name with all five keywords, and ends the run once."""
    tasks = make(ok, ok)
    manager = run(Recorded, tasks, telemetry, mode=mode)
    assert manager.calls == [(mode, {"tasks", "workflow_id", "ignore", "groups", "resume"})]
    assert manager.ended == [tasks]
    assert statuses(tasks) == ["Completed", "Completed"]
    telemetry.assert_balanced()


def test_sequential_over_groups_is_sequential_group(
    telemetry: RecordedTelemetry, make: Any
) -> None:
    """Several groups go on to `sequential_group`, so that an override of it decides too."""
    manager = run(Recorded, make(ok, ok, groups=2), telemetry, mode="sequential")
    assert [name for name, _ in manager.calls] == ["sequential", "sequential_group"]
    assert telemetry.metric("dotflow_workflow_completed_total", mode="sequential_group") == 1
    telemetry.assert_balanced()


class InGroups(Manager):
    """Runs `parallel` one group after another, in this thread."""

    def parallel(self, **kwargs: Any) -> list[Task]:
        return self.sequential_group(**kwargs)


class InHalves(Manager):
    """Runs each mode's tasks in two calls of the base."""

    def _halves(self, method: Any, kwargs: Any) -> list[Task]:
        tasks = kwargs.pop("tasks")
        kwargs.pop("groups")
        middle = len(tasks) // 2
        return [*method(tasks=tasks[:middle], **kwargs), *method(tasks=tasks[middle:], **kwargs)]

    def sequential(self, **kwargs: Any) -> list[Task]:
        return self._halves(super().sequential, kwargs)

    def sequential_group(self, **kwargs: Any) -> list[Task]:
        return self._halves(super().sequential_group, kwargs)

    def background(self, **kwargs: Any) -> list[Task]:
        return self._halves(super().background, kwargs)

    def parallel(self, **kwargs: Any) -> list[Task]:
        return self._halves(super().parallel, kwargs)


class Waits(Manager):
    """Runs `background` to its end before it returns."""

    def background(self, **kwargs: Any) -> list[Task]:
        tasks = super().background(**kwargs)
        self.thread.join(30)
        return tasks


class RunsNothing(Manager):
    """Overrides every mode and runs nothing."""

    def sequential(self, **kwargs: Any) -> list[Task]:
        return []

    def sequential_group(self, **kwargs: Any) -> list[Task]:
        return []

    def background(self, **kwargs: Any) -> list[Task]:
        return []

    def parallel(self, **kwargs: Any) -> list[Task]:
        return []


class OwnThreads(Manager):
    """Runs the steps itself, in threads, and sets the tasks' state as programs for 1.x do."""

    def parallel(self, **kwargs: Any) -> list[Task]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self._one, kwargs["tasks"]))

    def _one(self, task: Task) -> Task:
        try:
            task.current_context = task.step(task=task)
            task.status = "Completed"
        except ValueError as error:
            task.errors = error
            task.status = "Failed"
        return task


class SecondChance(Manager):
    """Runs what failed once more, in each mode."""

    def sequential(self, **kwargs: Any) -> list[Task]:
        tasks = super().sequential(**kwargs)
        failed = [task for task in tasks if task.status == "Failed"]
        super().sequential(tasks=failed)
        return tasks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Manager, InGroups, InHalves, Waits, RunsNothing])
def test_the_ledger_balances_with_subclasses(
    kind: type[Manager], mode: str, telemetry: RecordedTelemetry, make: Any
) -> None:
    """Each task is started or skipped, once, whatever an override runs in which part."""
    tasks = make(ok, bad, ok, ok)
    ended: list[Any] = []
    run(
        kind,
        tasks,
        telemetry,
        mode=mode,
        keep_going=True,
        on_failure=lambda tasks: ended.append(("failure", len(tasks))),
        on_success=lambda tasks: ended.append(("success", len(tasks))),
    )
    telemetry.assert_balanced()
    nothing = kind is RunsNothing
    assert ended == [("success", 4) if nothing else ("failure", 4)]
    assert telemetry.metric("dotflow_task_started_total") == (0 if nothing else 4)
    assert telemetry.metric("dotflow_task_failed_total") == (0 if nothing else 1)
    assert telemetry.metric("dotflow_task_skipped_total") == (4 if nothing else 0)
    assert telemetry.metric("dotflow_workflow_started_total", mode=mode) == 1
    [workflow] = telemetry.find(name="workflow w")
    names = [span.name for span in workflow.children]
    assert sorted(names) == ([] if nothing else ["task bad", "task ok", "task ok", "task ok"])


@pytest.mark.parametrize("mode", MODES)
def test_an_override_that_raises(mode: str, telemetry: RecordedTelemetry, make: Any) -> None:
    """The run fails, its tasks are skipped, `on_failure` is called, and the error comes out."""

    def broken(self: Manager, **kwargs: Any) -> list[Task]:
        raise ConnectionError("no pool")

    kind = type("Broken", (Manager,), {mode: broken})
    ended: list[int] = []
    with pytest.raises(ConnectionError, match="no pool"):
        run(kind, make(ok, ok), telemetry, mode=mode, on_failure=lambda tasks: ended.append(1))
    assert ended == [1]
    assert telemetry.metric("dotflow_workflow_failed_total", mode=mode) == 1
    assert telemetry.metric("dotflow_task_skipped_total") == 2
    telemetry.assert_balanced()


def test_tasks_that_an_override_ran_itself(telemetry: RecordedTelemetry, make: Any) -> None:
    """They are reported as started and ended, with a span and the error that is noted."""
    tasks = make(ok, bad)
    ended: list[list[str]] = []
    run(
        OwnThreads,
        tasks,
        telemetry,
        mode="parallel",
        on_failure=lambda tasks: ended.append(statuses(tasks)),
    )
    assert ended == [["Completed", "Failed"]]
    telemetry.assert_balanced()
    assert telemetry.metric("dotflow_task_completed_total", task="ok") == 1
    assert telemetry.metric("dotflow_task_failed_total", error_type="ValueError") == 1
    telemetry.assert_tree("""
        workflow w ValueError
          task ok
          task bad ValueError
    """)


def test_tasks_run_again_in_one_run(telemetry: RecordedTelemetry, make: Any) -> None:
    """What an override runs twice has started twice, and its last outcome counts."""
    calls: list[int] = []

    @action
    def unsteady() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no")
        return "done"

    tasks = make(ok, unsteady)
    run(SecondChance, tasks, telemetry)
    assert statuses(tasks) == ["Completed", "Completed"]
    assert tasks[1].errors == []
    telemetry.assert_balanced()
    assert telemetry.metric("dotflow_task_started_total", task="unsteady") == 2
    assert telemetry.metric("dotflow_workflow_completed_total") == 1


class Silent(Manager):
    """Ends runs without calling the base."""

    def _callback_workflow(self, tasks: Any) -> None: ...


class Raises(Manager):
    """Raises before it calls the base."""

    def _callback_workflow(self, tasks: Any) -> None:
        raise ConnectionError("no report")


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "parallel"])
def test_an_end_that_does_not_call_the_base(
    mode: str, telemetry: RecordedTelemetry, make: Any
) -> None:
    """The events of the end are sent all the same; what it raised comes out."""
    ended: list[int] = []
    run(Silent, make(ok), telemetry, mode=mode, on_success=lambda tasks: ended.append(1))
    with pytest.raises(ConnectionError, match="no report"):
        run(Raises, make(ok), telemetry, mode=mode)
    assert ended == []
    assert telemetry.metric("dotflow_workflow_completed_total", mode=mode) == 2
    telemetry.assert_balanced()


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_called_by_itself(mode: str, telemetry: RecordedTelemetry, make: Any) -> None:
    """After the constructor's run a mode runs tasks as a run of its own, and returns them."""
    ended: list[str] = []
    manager = run(
        Manager, [], telemetry, on_success=lambda tasks: ended.append("constructor's run")
    )
    tasks = make(ok, follows)
    returned = getattr(manager, mode)(
        tasks=tasks, workflow_id="w", ignore=False, groups=grouper(tasks), resume=False
    )
    if mode == "background":
        assert isinstance(manager.thread, threading.Thread)
        manager.thread.join(30)
    assert returned == tasks
    assert statuses(tasks) == ["Completed", "Completed"]
    assert tasks[1].current_context.storage == (None if mode == "parallel" else "ok")
    assert ended == ["constructor's run"]
    telemetry.assert_balanced()
    assert [span.name for span in telemetry.spans if span.parent is None] == ["workflow w"] * 2
    assert len([span for span in telemetry.spans if span.name.startswith("task")]) == 2


def test_ignore_and_groups(telemetry: RecordedTelemetry, make: Any) -> None:
    """`ignore` is keep_going, `groups` cuts the tasks; what is left out is the Manager's."""
    tasks = make(bad, ok, ok)
    manager = run(Manager, tasks, telemetry)
    assert statuses(tasks) == ["Failed", "Not started", "Not started"]
    assert manager.sequential(ignore=True) == tasks
    assert statuses(tasks) == ["Failed", "Completed", "Completed"]
    manager.sequential_group(groups={"a": tasks[:2], "b": tasks[2:]})
    assert statuses(tasks) == ["Failed", "Not started", "Completed"]


@pytest.mark.parametrize("mode", MODES)
def test_resume(mode: str, telemetry: RecordedTelemetry, tmp_path: Path, make: Any) -> None:
    """`resume=True` restores what completed in an earlier run, and runs the rest."""
    gate = tmp_path / "gate"

    @action
    def waits_for_gate() -> str:
        if not gate.exists():
            raise ValueError("closed")
        return "through"

    telemetry.config.storage = StorageFile(path=tmp_path)
    tasks = make(ok, waits_for_gate)
    manager = run(Manager, tasks, telemetry, mode=mode)
    assert statuses(tasks) == ["Completed", "Failed"]
    gate.touch()
    getattr(manager, mode)(resume=True)
    if mode == "background":
        manager.thread.join(30)
    assert statuses(tasks) == ["Completed", "Completed"]
    assert telemetry.metric("dotflow_task_restored_total") == 1
    telemetry.assert_balanced()


def test_wrong_options_of_a_mode(telemetry: RecordedTelemetry, make: Any) -> None:
    """Each is refused by name before anything runs."""
    tasks = make(ok, ok)
    manager = run(Manager, [], telemetry)
    before = telemetry.metric("dotflow_workflow_started_total")
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"task": tasks},
            TypeError,
            "Manager.parallel() takes no argument 'task': is 'tasks' meant?",
        ),
        ({"ignore": "no"}, InvalidOption, "ignore='no' is not valid: give True or False."),
        ({"resume": 1}, InvalidOption, "resume=1 is not valid: give True or False."),
        (
            {"workflow_id": "other"},
            InvalidOption,
            "workflow_id='other' is not valid: the Manager's workflow is w.",
        ),
        ({"groups": [tasks]}, InvalidOption, "give what grouper(tasks) returns."),
        ({"groups": {"a": tasks[:1]}}, InvalidOption, "they must hold each of the tasks, once."),
        ({"tasks": "abc"}, InvalidOption, "give a list of Task, such as DotFlow.task.queue."),
    ]
    for options, kind, message in wrong:
        with pytest.raises(kind) as refused:
            manager.parallel(**{"tasks": tasks, **options})
        assert str(refused.value).endswith(message)
    assert statuses(tasks) == ["Not started", "Not started"]
    assert telemetry.metric("dotflow_workflow_started_total") == before


def test_groups_of_other_tasks(telemetry: RecordedTelemetry, make: Any) -> None:
    """The groups of all tasks are those of a part of them, in its order; the rest is skipped."""

    class Some(Manager):
        def sequential_group(self, **kwargs: Any) -> list[Task]:
            return super().sequential_group(**{**kwargs, "tasks": kwargs["tasks"][2:0:-1]})

    tasks = make(ok, bad, follows, ok, groups=2)
    manager = run(Some, tasks, telemetry, mode="sequential_group", keep_going=True)
    assert statuses(tasks) == ["Not started", "Failed", "Completed", "Not started"]
    assert manager.failed
    telemetry.assert_balanced()


def test_the_order_of_tasks_is_the_order_of_the_run(
    telemetry: RecordedTelemetry, make: Any
) -> None:
    """An override may sort the tasks, also in place, whatever groups it passes on."""
    ran: list[str] = []

    class Sorted(Manager):
        def sequential(self, **kwargs: Any) -> list[Task]:
            kwargs["tasks"].reverse()
            return super().sequential(**kwargs)

    tasks = make(*(action(lambda name=name: ran.append(name)) for name in "abc"))
    manager = run(Sorted, tasks, telemetry)
    assert ran == ["c", "b", "a"]
    assert manager.tasks == tasks
    telemetry.assert_balanced()


class CallsEachOther(Manager):
    """Goes from groups to `sequential`, and so back."""

    def sequential_group(self, **kwargs: Any) -> list[Task]:
        return self.sequential(**kwargs)


@pytest.mark.parametrize("mode", ["sequential", "sequential_group"])
def test_modes_that_call_each_other(mode: str, telemetry: RecordedTelemetry, make: Any) -> None:
    """They end: each task is run once."""
    tasks = make(ok, ok, groups=2)
    run(CallsEachOther, tasks, telemetry, mode=mode)
    assert statuses(tasks) == ["Completed", "Completed"]
    telemetry.assert_balanced()


class OwnThread(Manager):
    """Runs `background` in a thread of its own, which takes a while to begin."""

    def background(self, **kwargs: Any) -> list[Task]:
        began = threading.Event()

        def go() -> None:
            began.wait(0.1)
            super(OwnThread, self).sequential(**kwargs)

        self.thread = threading.Thread(target=go)
        self.thread.start()
        return list(kwargs["tasks"])


def test_a_thread_of_an_override(telemetry: RecordedTelemetry, make: Any) -> None:
    """The run goes on as long as the thread that an override left in `self.thread`."""
    ended: list[str] = []
    run(
        OwnThread,
        make(ok, bad, ok),
        telemetry,
        mode="background",
        on_success=lambda tasks: ended.append("success"),
        on_failure=lambda tasks: ended.append("failure"),
    )
    assert ended == ["failure"]
    assert len(telemetry.find(name="workflow w")) == 1
    telemetry.assert_balanced()


class LastChance(Manager):
    """Runs what failed once more at the end."""

    def _callback_workflow(self, tasks: list[Task]) -> None:
        failed = [task for task in tasks if task.status == "Failed"]
        self.sequential(tasks=failed)
        super()._callback_workflow(tasks)


@pytest.mark.parametrize("mode", MODES)
def test_tasks_run_again_at_the_end(
    mode: str, telemetry: RecordedTelemetry, tmp_path: Path
) -> None:
    """What an override runs before the end belongs to the run, whose events come then."""
    seen = tmp_path / "seen"

    @action
    def unsteady() -> str:
        if not seen.exists():
            seen.touch()
            raise ValueError("no")
        return "done"

    tasks = TaskBuilder(telemetry.config, "w").add([ok, unsteady]).queue
    finished: list[int] = []
    run(
        LastChance,
        tasks,
        telemetry,
        mode=mode,
        on_success=lambda tasks: finished.append(len(telemetry.find_events("workflow.completed"))),
    )
    assert (statuses(tasks), finished) == (["Completed", "Completed"], [1])
    assert len(telemetry.find(name="workflow w")) == 1
    telemetry.assert_balanced()


def test_a_mode_while_its_tasks_run(telemetry: RecordedTelemetry, make: Any) -> None:
    """Tasks that are running are not begun again, by whoever."""
    entered, opened = threading.Event(), threading.Event()

    @action
    def waits() -> bool:
        entered.set()
        return opened.wait(30)

    tasks = make(waits)
    manager = Manager(
        tasks, mode="background", workflow_id="w", config=telemetry.config, workflow_name="w"
    )
    assert entered.wait(30)
    for other in (manager, Manager([], workflow_id="w", config=telemetry.config)):
        with pytest.raises(RunInProgress):
            other.sequential(tasks=tasks)
    opened.set()
    manager.thread.join(30)
    assert telemetry.metric("dotflow_task_started_total") == 1
    telemetry.assert_balanced()


async def _later(self: Manager, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (_later, "runs at its call: no generator, no async."),
        (None, "expected a callable that takes tasks=, workflow_id=, ignore=, groups=, resume=."),
        (lambda self, tasks: tasks, "and needs nothing else."),
    ],
    ids=["async", "none", "too few"],
)
@pytest.mark.parametrize("mode", MODES)
def test_an_override_that_cannot_be_called(
    override: Any, message: str, mode: str, telemetry: RecordedTelemetry, make: Any
) -> None:
    """It is refused before the run begins."""
    kind = type("Wrong", (Manager,), {mode: override})
    with pytest.raises(NotCallableObject) as refused:
        run(kind, make(ok), telemetry, mode=mode)
    assert str(refused.value).startswith("Wrong.")
    assert str(refused.value).endswith(message)
    assert telemetry.metric("dotflow_workflow_started_total") == 0
