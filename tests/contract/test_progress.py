"""The slot `progress`: which of its hooks is called when, and that it is never in the way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from log_records import own_records

from dotflow import Config, DotFlow, action
from dotflow.abc.progress import Progress
from dotflow.core.exception import NotCallableObject
from dotflow.core.hooks import Hooks, RunHooks
from dotflow.providers import ExecutorLocal, LogDefault, StorageDefault
from dotflow.testing import RecordingProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

MODES = ("sequential", "sequential_group", "background", "parallel")


@action
def good() -> int:
    """Return a value."""
    return 1


@action(retry=2, retry_delay=0)
def bad() -> None:
    """Fail twice."""
    raise ValueError("no luck")


@pytest.fixture(scope="module")
def executor() -> Iterator[ExecutorLocal]:
    """Workers of this module's own."""
    made = ExecutorLocal(workers=1)
    yield made
    made.close()


def run(mode: Any, **providers: Any) -> DotFlow:
    """Run `good`, `bad` and a second `good` behind it, in two groups."""
    config = Config(log=LogDefault(level="ERROR"), **providers)
    flow = DotFlow(config=config, name="sums")
    flow.task.add(good, group_name="one")
    flow.task.add([bad, good], group_name="two")
    manager = flow.start(mode=mode)
    if mode == "background":
        manager.thread.join()
    return flow


@pytest.mark.parametrize("mode", MODES)
def test_hooks_in_each_mode(mode: str, executor: ExecutorLocal) -> None:
    """A run is told from its begin to its end, each task once, each further attempt once."""
    progress = RecordingProgress()
    run(mode, progress=progress, executor=executor)
    calls = [call for call in progress.calls if call.hook != "workers_changed"]
    told = [(call.hook, call.facts.get("task")) for call in calls]
    assert (told[0], told[-1]) == (("run_started", None), ("run_finished", None))
    assert sorted(map(str, told[1:-1])) == [
        "('attempt_failed', 'bad')",
        "('task_completed', 'good')",
        "('task_failed', 'bad')",
        "('task_retried', 'bad')",
        "('task_started', 'bad')",
        "('task_started', 'good')",
    ]
    began, ended = calls[0].facts["run"], calls[-1].facts["run"]
    assert (began.id, began.name, began.task_count) == (ended.id, "sums", 3)
    assert (began.outcome, ended.outcome) == (None, "failed")
    workers = progress.of("workers_changed")
    assert bool(workers) == (mode == "parallel")
    # The pool may have more of them, from runs before.
    assert not workers or any(each["busy"] == 1 for each in workers)


def test_restored_tasks() -> None:
    """What a resumed run takes from its checkpoints has not started."""
    progress, storage = RecordingProgress(), StorageDefault()
    for _ in range(2):
        config = Config(progress=progress, storage=storage, log=LogDefault(level="ERROR"))
        flow = DotFlow(config=config, workflow_id="again")
        flow.task.add([good, bad])
        flow.start(resume=True)
    first, second = (
        ["run_started", "task_started", "task_completed", "task_started"],
        ["run_started", "task_restored", "task_started"],
    )
    end = ["attempt_failed", "task_retried", "task_failed", "run_finished"]
    assert progress.hooks == [*first, *end, *second, *end]


@pytest.mark.parametrize("mode", MODES)
def test_errors_never_reach_the_run(
    mode: str, executor: ExecutorLocal, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind of error is logged once, and the run is as it would have been."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    hooks = {name: fail for name in vars(Progress) if not name.startswith("_")}
    broken: Any = type("Broken", (Progress,), hooks)()
    with caplog.at_level(logging.ERROR, logger="dotflow"):
        flow = run(mode, progress=broken, executor=executor)
    statuses = [task.status for task in flow.result_task()]
    assert statuses == ["Completed", "Failed", "Not started"]
    logged = sorted(record.getMessage().split(" raised")[0] for record in own_records(caplog))
    called = {*hooks} - {"task_restored"} - (set() if mode == "parallel" else {"workers_changed"})
    assert logged == sorted(f"Broken.{hook}" for hook in called)


def test_nothing_is_called_by_default() -> None:
    """Without a progress there is no call, neither at a task nor at a change of workers."""
    config = Config()
    hooks = Hooks(config)
    moments = [getattr(hooks, name) for name in ("started", "completed", "failed", "restored")]
    assert not [slot for calls in moments for _, slot, _ in calls if slot == "progress"]
    assert RunHooks(config).workers_changed is None
    progress = RecordingProgress()
    notify = RunHooks(Config(progress=progress)).workers_changed
    assert notify is not None
    notify(3, 2)
    assert progress.of("workers_changed") == [{"workers": 3, "busy": 2}]


@pytest.mark.parametrize("wrong", [True, "terminal", RecordingProgress])
def test_provider_of_the_wrong_type(wrong: Any) -> None:
    """The error names the slot and its interface."""
    with pytest.raises(NotCallableObject, match=r"progress.* dotflow\.abc\.progress\.Progress"):
        Config(progress=wrong)
