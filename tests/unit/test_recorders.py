"""The recording providers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dotflow import Config, DotFlow, action
from dotflow.testing.recorders import Recording, RecordingLog, RecordingMetrics, RecordingTracer


@action
def one() -> int:
    """A step that succeeds."""
    return 1


@action(retry=2, retry_delay=0)
def bad() -> None:
    """A step that fails."""
    raise KeyError("k")


def test_recording_shows_every_call_in_order() -> None:
    """One list holds the calls of all slots, each with the facts of its moment."""
    recording = Recording()
    flow = DotFlow(config=Config(**recording.providers), name="billing")
    flow.task.add(one)
    assert recording.hooks == [
        "server.create_workflow",
        "notify.hook_status_task",
        "log.info",
        "server.create_task",
    ]
    flow.start()
    tracer, metrics, log = recording.tracer, recording.metrics, recording.log
    assert metrics.hooks == [
        "workflow_started",
        "task_started",
        "task_completed",
        "workflow_completed",
    ]
    assert recording.notify.statuses == ["Not started", "In progress", "Completed"]
    (ended,) = tracer.of("end_task")
    assert (ended["task"], ended["status"], ended["value"]) == ("one", "Completed", 1)
    assert ended["duration"] > 0
    assert [facts["status"] for facts in log.of("info")] == recording.notify.statuses
    assert recording.server.of("update_workflow")[-1]["status"] == "Completed"
    assert [run.outcome for run in tracer.runs + tracer.finished_runs] == [None, "completed"]


def test_recording_a_failure() -> None:
    """A retried and failed task appears with its attempts, its failure and its errors."""
    recording = Recording()
    flow = DotFlow(config=Config(**recording.providers))
    flow.task.add([bad, one])
    flow.start()
    attempts = recording.tracer.of("attempt_finished")
    assert [facts["attempt"] for facts in attempts] == [1, 2]
    assert [facts["recorded"] for facts in attempts] == [None, None]
    (retried,) = recording.metrics.of("task_retried")
    assert (retried["errors"], retried["retry_count"]) == (1, 1)
    (failed,) = recording.metrics.of("task_failed")
    assert (failed["failure"], failed["errors"], failed["value"]) == ("error", 2, None)
    assert len(recording.log.of("warning")) == 1
    assert len(recording.log.of("error")) == 1
    assert [facts["task"] for facts in recording.log.of("task_skipped")] == ["one"]
    assert recording.metrics.hooks[-1] == "workflow_failed"


@pytest.mark.parametrize(
    ("recorder", "hooks"),
    [
        (RecordingTracer, ["task_restored"]),
        (RecordingMetrics, ["task_restored", "task_skipped", "task_timed_out", "worker_lost"]),
        (RecordingLog, ["task_skipped"]),
    ],
)
def test_recorder_alone(recorder: type, hooks: list[str]) -> None:
    """A recorder that shares no list has one of its own."""
    flow = DotFlow(config=Config(**Recording().providers)).task.add(one)
    mine = recorder()
    for hook in hooks:
        getattr(mine, hook)(flow.queue[0])
    assert mine.hooks == hooks
    assert mine.of(hooks[0])[0]["task"] == "one"


def test_other_facts() -> None:
    """What is not about a task is kept as it was passed."""
    metrics, log = RecordingMetrics(), RecordingLog()
    metrics.workers_changed(2, 1)
    metrics.telemetry_error("LogDefault", "info")
    log.debug(note=SimpleNamespace)
    assert [dict(call.facts) for call in metrics.calls] == [
        {"workers": 2, "busy": 1},
        {"provider": "LogDefault", "failed_hook": "info"},
    ]
    assert log.of("debug") == [{"note": SimpleNamespace}]
