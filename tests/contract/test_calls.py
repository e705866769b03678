"""Contract sections 11.2 and 18: which provider call happens when, in every mode."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.storage import Storage

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from dotflow import Task

Recorder = Any
Run = Any
READS = ("storage.get",)


@action
def one() -> str:
    """Return a value."""
    return "one"


@action
def two(previous_context: Context) -> Any:
    """Return what came before."""
    return previous_context.storage


@action(retry=3, retry_delay=0)
def bad() -> None:
    """Fail every time."""
    raise ValueError("no")


def _started(recorder: Recorder, run: Run, mode: str, *steps: Any, **kwargs: Any) -> DotFlow:
    flow = DotFlow(config=recorder.config())
    flow.task.add(list(steps), callback=lambda task: recorder.add("callback", task))
    recorder.clear()
    run(flow, mode, **kwargs)
    return flow


def _told(recorder: Recorder) -> list[tuple[str, str | None]]:
    # The status at start_task has a test of its own.
    return [
        (event.name, None if event.name == "tracer.start_task" else event.status)
        for event in recorder.events
        if event.task and event.name not in READS
    ]


def test_calls_of_a_completed_task(mode: str, recorder: Recorder, run: Run) -> None:
    """A completed task: start, in progress, stored, completed, ended, told; in this order."""
    _started(recorder, run, mode, one)
    assert _told(recorder) == [
        ("tracer.start_task", None),
        ("notify", "In progress"),
        ("log.info", "In progress"),
        ("storage.post", None),
        ("notify", "Completed"),
        ("log.info", "Completed"),
        ("metrics.task_completed", "Completed"),
        ("tracer.end_task", "Completed"),
        ("server.update_task", "Completed"),
        ("callback", "Completed"),
    ]


def test_calls_of_a_failed_task(mode: str, recorder: Recorder, run: Run) -> None:
    """A failed task: a retry event an attempt, None stored, failed, ended, told; in this order."""
    _started(recorder, run, mode, bad)
    assert _told(recorder) == [
        ("tracer.start_task", None),
        ("notify", "In progress"),
        ("log.info", "In progress"),
        ("notify", "Retry"),
        ("log.warning", "Retry"),
        ("metrics.task_retried", "Retry"),
        ("notify", "Retry"),
        ("log.warning", "Retry"),
        ("metrics.task_retried", "Retry"),
        ("storage.post", None),
        ("notify", "Failed"),
        ("log.error", "Failed"),
        ("metrics.task_failed", "Failed"),
        ("tracer.end_task", "Failed"),
        ("server.update_task", "Failed"),
        ("callback", "Failed"),
    ]
    [stored] = recorder.of("storage.post")
    assert stored.seen["context"].storage is None


def test_calls_of_a_skipped_task(in_process_mode: str, recorder: Recorder, run: Run) -> None:
    """A provider of 1.x hears nothing of a task that its chain's end skipped."""
    flow = DotFlow(config=recorder.config())
    flow.task.add([bad, two], callback=lambda task: recorder.add("callback", task))
    recorder.clear()
    run(flow, in_process_mode)
    assert flow.result_task()[1].status == "Not started"
    assert recorder.names("two") == []


def test_calls_of_a_whole_run(in_process_mode: str, recorder: Recorder, run: Run) -> None:
    """Two good tasks: the calls of all providers, in order, with the read for the next task."""
    flow = _started(recorder, run, in_process_mode, one, two)
    task = [
        "tracer.start_task",
        "notify",
        "log.info",
        "storage.post",
        "notify",
        "log.info",
        "metrics.task_completed",
        "tracer.end_task",
        "server.update_task",
        "callback",
    ]
    assert recorder.names(without=READS) == [
        "tracer.start_workflow",
        "metrics.workflow_started",
        "server.update_workflow",
        *task,
        *task,
        "tracer.end_workflow",
        "metrics.workflow_completed",
        "server.update_workflow",
    ]
    reads = [event for event in recorder.events if event.name == "storage.get"]
    assert reads
    assert reads[0].task == "one"
    names = [(event.name, event.task) for event in recorder.events]
    assert names.index(("callback", "one")) < names.index(("storage.get", "one"))
    assert names.index(("storage.get", "one")) < names.index(("tracer.start_task", "two"))
    assert flow.result_storage() == ["one", "one"]


def test_the_value_for_the_next_task_is_the_stored_one(quiet: Config, recorder: Recorder) -> None:
    """The next task's previous_context is what the storage gives."""

    class Doubling(Storage):
        def __init__(self) -> None:
            self.kept: dict[str, Context] = {}

        def post(self, key: str, context: Context) -> None:  # type: ignore[override]
            self.kept[key] = Context(storage=context.storage * 2)

        def get(self, key: str) -> Context:
            return self.kept.get(key, Context())

        def key(self, task: Task) -> str:
            return f"{task.workflow_id}-{task.task_id}"

    flow = DotFlow(config=Config(storage=Doubling(), log=quiet.log))
    flow.task.add([one, two])
    flow.start()
    assert flow.result_storage()[1] == "oneone"


def test_stored_context_carries_the_ids(mode: str, recorder: Recorder, run: Run) -> None:
    """What is stored is a Context with the value and the ids of its task, under its key."""
    flow = _started(recorder, run, mode, one)
    [task] = flow.result_task()
    [stored] = recorder.of("storage.post")
    context = stored.seen["context"]
    assert isinstance(context, Context)
    assert (context.storage, context.task_id, context.workflow_id) == (
        "one",
        task.task_id,
        flow.workflow_id,
    )
    assert stored.seen["key"] == f"{flow.workflow_id}-{task.task_id}"


def test_event_counts_of_the_table(mode: str, recorder: Recorder, run: Run) -> None:
    """2 good tasks, 1 failing 3 of 3 attempts, keep_going: every event exactly as often as said."""
    flow = DotFlow(config=recorder.config())
    flow.task.add([one, bad, two])
    run(flow, mode, keep_going=True)
    counts = {
        name: recorder.count(name)
        for name in (
            "tracer.start_task",
            "tracer.end_task",
            "metrics.task_completed",
            "metrics.task_failed",
            "metrics.task_retried",
            "metrics.workflow_started",
            "metrics.workflow_failed",
            "metrics.workflow_completed",
            "tracer.start_workflow",
            "tracer.end_workflow",
            "server.create_task",
            "server.update_task",
            "log.info",
            "log.warning",
            "log.error",
            "log.debug",
        )
    }
    assert counts == {
        "tracer.start_task": 3,
        "tracer.end_task": 3,
        "metrics.task_completed": 2,
        "metrics.task_failed": 1,
        "metrics.task_retried": 2,
        "metrics.workflow_started": 1,
        "metrics.workflow_failed": 1,
        "metrics.workflow_completed": 0,
        "tracer.start_workflow": 1,
        "tracer.end_workflow": 1,
        "server.create_task": 3,
        "server.update_task": 3,
        "log.info": 8,
        "log.warning": 2,
        "log.error": 1,
        "log.debug": 0,
    }
    statuses = ("Not started", "In progress", "Retry", "Completed", "Failed")
    assert [recorder.count("notify", status) for status in statuses] == [3, 3, 2, 2, 1]


def test_event_counts_of_the_table_with_groups(mode: str, recorder: Recorder, run: Run) -> None:
    """The same counts where the three tasks are in two groups."""
    flow = DotFlow(config=recorder.config())
    flow.task.add(one, group_name="a")
    flow.task.add(bad, group_name="a")
    flow.task.add(two, group_name="b")
    run(flow, mode, keep_going=True)
    statuses = ("Not started", "In progress", "Retry", "Completed", "Failed")
    assert [recorder.count("notify", status) for status in statuses] == [3, 3, 2, 2, 1]
    assert [
        recorder.count(f"metrics.task_{name}") for name in ("completed", "failed", "retried")
    ] == [2, 1, 2]
    assert (recorder.count("tracer.start_task"), recorder.count("tracer.end_task")) == (3, 3)


def test_nothing_is_half_updated(mode: str, recorder: Recorder, run: Run) -> None:
    """Every hook of a task's end sees all of it: times, duration, errors, context."""
    _started(recorder, run, mode, one, bad)
    for event in recorder.events:
        if event.task and event.status in {"Completed", "Failed"}:
            assert event.seen["started_at"] is not None, event.name
            assert event.seen["finished_at"] is not None, event.name
            assert event.seen["duration"] is not None, event.name
            if event.status == "Completed":
                assert event.seen["current"] == "one", event.name
            else:
                assert event.seen["current"] is None, event.name
                assert event.seen["errors"] == 3, event.name
                assert event.seen["retry_count"] == 2, event.name


def test_retry_events_see_their_attempt(mode: str, recorder: Recorder, run: Run) -> None:
    """At each retry event the count and the errors include the attempt that failed."""
    _started(recorder, run, mode, bad)
    assert [
        (event.seen["retry_count"], event.seen["errors"])
        for event in recorder.of("metrics.task_retried")
    ] == [(1, 1), (2, 2)]


def test_beginning_of_a_task(in_process_mode: str, recorder: Recorder, run: Run) -> None:
    """At start_task ids and previous context are set; at In progress started_at is too."""
    flow = _started(recorder, run, in_process_mode, one, two)
    for event in recorder.of("tracer.start_task"):
        assert event.seen["workflow_id"] == flow.workflow_id
        assert event.seen["duration"] is None
    assert [event.seen["previous"] for event in recorder.of("tracer.start_task")] == [None, "one"]
    for event in recorder.of("notify", "In progress"):
        assert event.seen["started_at"] is not None
        assert event.seen["finished_at"] is None


def test_status_at_the_start_of_the_span(mode: str, recorder: Recorder, run: Run) -> None:
    """tracer.start_task is called before the status becomes In progress."""
    _started(recorder, run, mode, one)
    assert [event.status for event in recorder.of("tracer.start_task")] == ["Not started"]


def test_timed_out_attempts_are_failed_attempts(mode: str, recorder: Recorder, run: Run) -> None:
    """A timeout gives the events of a failed attempt, once each."""

    @action(timeout=0.1, retry=2, retry_delay=0)
    def slow() -> None:
        time.sleep(0.6)

    _started(recorder, run, mode, slow)
    assert [recorder.count("notify", status) for status in ("Retry", "Failed")] == [1, 1]
    assert recorder.count("metrics.task_retried") == 1
    assert recorder.count("metrics.task_failed") == 1


def test_calls_of_a_restored_task(mode: str, recorder: Recorder, run: Run, tmp_path: Path) -> None:
    """A restored task: Completed to notify and log; no span, metric, server call or callback."""
    broken = tmp_path / "broken"
    broken.touch()

    @action
    def fails() -> str:
        if broken.exists():
            raise ValueError("no")
        return "fine"

    config = recorder.config()
    for _ in range(2):
        flow = DotFlow(config=config, workflow_id="etl")
        flow.task.add(
            [one, fails],
            group_name="a",
            callback=lambda task: recorder.add("callback", task),
        )
        recorder.clear()
        run(flow, mode, resume=True)
        broken.unlink(missing_ok=True)
    assert [task.status for task in flow.result_task()] == ["Completed", "Completed"]
    told = [
        (event.name, event.status)
        for event in recorder.events
        if event.task == "one" and not event.name.startswith("storage.")
    ]
    assert told == [("notify", "Completed"), ("log.info", "Completed")]
    assert recorder.count("metrics.task_completed") == 1


class _Broken:
    """Makes every hook of a provider fail."""

    def __init__(self, provider: type) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError("provider broke")

        names: frozenset[str] = vars(provider)["__abstractmethods__"]
        hooks = dict.fromkeys(names, fails)
        self.provider: Any = type("Broken" + provider.__name__, (provider,), hooks)()


def _broken_config(silent_log: Any) -> Config:
    from dotflow.abc.log import Log
    from dotflow.abc.metrics import Metrics
    from dotflow.abc.notify import Notify
    from dotflow.abc.server import Server
    from dotflow.abc.tracer import Tracer

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("provider broke")

    log: Any = type(
        "BrokenLog", (Log,), dict.fromkeys(("info", "error", "warning", "debug"), fails)
    )
    return Config(
        log=log(),
        metrics=_Broken(Metrics).provider,
        notify=_Broken(Notify).provider,
        server=_Broken(Server).provider,
        tracer=_Broken(Tracer).provider,
    )


def test_errors_of_providers_are_contained(
    mode: str, run: Run, silent_log: Any, records: list[logging.LogRecord]
) -> None:
    """With every provider failing at every hook, the flow runs as ever, and each is logged."""
    told: list[str] = []
    flow = DotFlow(config=_broken_config(silent_log))
    flow.task.add([one, bad, two], callback=lambda task: told.append(task.status))
    outcome: list[str] = []
    run(flow, mode, keep_going=True, on_failure=lambda tasks: outcome.append("failure"))
    assert [task.status for task in flow.result_task()] == ["Completed", "Failed", "Completed"]
    assert sorted(told) == ["Completed", "Completed", "Failed"]
    assert outcome == ["failure"]
    logged = [record for record in records if record.exc_info and record.exc_info[1]]
    assert {str(record.exc_info[1]) for record in logged if record.exc_info} == {"provider broke"}
    # Hooks: 4 of the tracer, 5 of the metrics (one never runs), 1, 4, 3 of the log.
    assert len(logged) == 4 + 5 + 1 + 4 + 3


def test_an_error_of_a_hook_is_logged_once(
    run: Run, recorder: Recorder, records: list[logging.LogRecord]
) -> None:
    """The same hook failing again and again is logged once, with its traceback."""
    from dotflow.abc.notify import Notify

    notify = _Broken(Notify).provider
    flow = DotFlow(config=recorder.config(notify=notify))
    flow.task.add([one, one, one])
    run(flow, "sequential")
    logged = [record for record in records if record.exc_info]
    assert len(logged) == 1
    assert "hook_status_task" in logged[0].getMessage()
    assert "BrokenNotify" in logged[0].getMessage()
    assert recorder.count("metrics.task_completed") == 3


class _BadStorage(Storage):
    def __init__(self, method: str) -> None:
        self._method = method

    def post(self, key: str, context: Context) -> None:  # type: ignore[override]
        if self._method == "post":
            raise OSError("disk full")

    def get(self, key: str) -> Context:
        if self._method == "get":
            raise OSError("disk gone")
        return Context()

    def key(self, task: Task) -> str:
        if self._method == "key":
            raise OSError("no key")
        return f"{task.workflow_id}-{task.task_id}"


@pytest.mark.parametrize(("method", "text"), [("post", "disk full"), ("key", "no key")])
def test_storage_error_fails_the_task(
    method: str, text: str, mode: str, run: Run, recorder: Recorder
) -> None:
    """A storage that fails to store makes the task Failed with its error, visibly."""
    flow = DotFlow(config=recorder.config(storage=_BadStorage(method)))
    flow.task.add([one])
    outcome: list[str] = []
    run(flow, mode, on_failure=lambda tasks: outcome.append("failure"))
    [task] = flow.result_task()
    assert (task.status, task.errors[-1].exception, task.errors[-1].message) == (
        "Failed",
        "OSError",
        text,
    )
    assert outcome == ["failure"]
    assert (recorder.count("metrics.task_failed"), recorder.count("metrics.task_completed")) == (
        1,
        0,
    )
    assert (recorder.count("tracer.start_task"), recorder.count("tracer.end_task")) == (1, 1)


def test_storage_that_cannot_give_fails_the_next_task(
    in_process_mode: str, run: Run, recorder: Recorder
) -> None:
    """A storage that fails to give the value back fails a task, and not start()."""
    flow = DotFlow(config=recorder.config(storage=_BadStorage("get")))
    flow.task.add([one, two])
    outcome: list[str] = []
    run(flow, in_process_mode, on_failure=lambda tasks: outcome.append("failure"))
    failed = [task for task in flow.result_task() if task.status == "Failed"]
    assert [task.errors[-1].message for task in failed] == ["disk gone"]
    assert outcome == ["failure"]
