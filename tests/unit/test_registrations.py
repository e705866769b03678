"""What many threads put into one place at the same time: nothing of it is lost."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from interleaved import interleave
from log_records import own_records

from dotflow import Config, action
from dotflow.core import process as core_process
from dotflow.core.hooks import Announcer, report
from dotflow.core.task import Task
from dotflow.testing import Recording, RecordingLog
from dotflow.workers import usage as usage_module
from dotflow.workers.pool import Pool
from dotflow.workers.usage import WorkerUsage
from dotflow_otel import LogStructlog
from dotflow_otel import _process as process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pytest

    Calls = Sequence[Callable[[], object]]


class Hearer:
    """Takes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def hear(self, *told: Any) -> None:
        """Take it down."""
        self.heard.append(told)

    def ask_to_end(self) -> None:
        """Take it down."""
        self.heard.append("asked")

    def end_within(self, seconds: float) -> None:
        """Do nothing."""

    bound = 1.0


@action
def step() -> None:
    """Do nothing."""


def test_watchers_of_drops() -> None:
    """Two threads begin to watch what is dropped at the same time: both are told."""

    def prepare() -> Calls:
        drop_counter, one, other = process.DropCounter(), Hearer(), Hearer()
        drop_counter.watch(Hearer().hear)  # one that is gone

        def check() -> None:
            drop_counter.add(process.TRACES, 2)
            drop_counter.tell()
            assert one.heard == other.heard == [(process.TRACES, 2)]

        return lambda: drop_counter.watch(one.hear), lambda: drop_counter.watch(other.hear), check

    interleave(prepare)


def test_users_of_workers() -> None:
    """Two threads begin to use workers at the same time: both are notified."""

    def prepare() -> Calls:
        usage, one, other = WorkerUsage(), Hearer(), Hearer()

        def begin(hearer: Hearer) -> None:
            usage.listen(usage.register(()), hearer.hear)

        def check() -> None:
            usage.notify(lambda: 3)
            assert one.heard == other.heard == [(3, 0)]

        return partial(begin, one), partial(begin, other), check

    interleave(prepare)


def test_what_forks_are_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads want to be called in a forked child at the same time: both are."""

    def prepare() -> Calls:
        monkeypatch.setattr(core_process, "fork_calls", core_process.fork_calls[:0])
        one, other = Hearer(), Hearer()

        def check() -> None:
            core_process.call_in_child()
            assert one.heard == other.heard == [()]

        def want(hearer: Hearer) -> None:
            core_process.call_in_forked_child(hearer.hear)

        return lambda: want(one), lambda: want(other), check

    core_process.call_in_forked_child(Hearer().hear)
    interleave(prepare)


def test_a_method_fails_in_a_forked_child(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot begin again in a forked child keeps nothing else from it."""

    class Failing:
        def fail(self) -> None:
            raise RuntimeError("can't start new thread")

    failing, other = Failing(), Hearer()
    monkeypatch.setattr(core_process, "fork_calls", core_process.fork_calls[:0])
    core_process.call_in_forked_child(failing.fail)
    core_process.call_in_forked_child(other.hear)

    core_process.call_in_child()

    assert other.heard == [()]
    assert [record.getMessage() for record in own_records(caplog)] == [
        "a forked child could not begin again with what its parent had"
    ]


def test_what_ends_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads remove the same thing from what ends at exit: it is gone, and no error."""
    monkeypatch.setattr(process, "call_at_exit", lambda _: None)

    def prepare() -> Calls:
        ending, others, errors = Hearer(), process.Shutdown(), list[Exception]()
        others.add(ending)

        def remove() -> None:
            try:
                others.remove(ending)
            except Exception as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        def check() -> None:
            others.end()
            assert (ending.heard, errors) == ([], [])

        return remove, remove, check

    interleave(prepare)


def test_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads make pools at the same time: the workers of both are counted."""
    monkeypatch.setattr(usage_module, "known_pools", [])

    def prepare() -> Calls:
        usage_module.known_pools.clear()
        made: list[Pool] = []

        def make() -> None:
            made.append(Pool(1))

        def check() -> None:
            assert {each() for each in usage_module.known_pools} == set(made)
            made.clear()

        return make, make, check

    interleave(prepare)


def test_first_errors_of_a_provider(caplog: pytest.LogCaptureFixture) -> None:
    """Two threads find the same hook failing at the same time: one line tells of it."""

    def prepare() -> Calls:
        recording = Recording()
        config = Config(**recording.providers)
        caplog.clear()

        def fail() -> None:
            report(config, "tracer", "start_task", ValueError("no"))

        def check() -> None:
            assert len(own_records(caplog)) == 1
            assert recording.metrics.hooks == ["telemetry_error"] * 2

        return fail, fail, check

    with caplog.at_level(logging.ERROR, "dotflow"):
        interleave(prepare)


def test_tasks_are_announced_to_a_new_provider() -> None:
    """Two threads add tasks after a provider was replaced: the new one is told of both."""

    def prepare() -> Calls:
        old, new = RecordingLog(), RecordingLog()
        config = Config(log=old)
        announcer = Announcer(config)
        announcer.announce(Task("before", step))
        config.log = new

        def check() -> None:
            assert (old.hooks, new.hooks) == (["info"], ["info", "info"])

        def announce() -> None:
            announcer.announce(Task("after", step))

        return announce, announce, check

    interleave(prepare, within="announce")


def test_lines_while_their_file_is_closed(tmp_path: Path) -> None:
    """A file that is closed while another thread writes a line has that line all the same."""

    def prepare() -> Calls:
        path = tmp_path / "lines"
        path.unlink(missing_ok=True)
        log = LogStructlog(output="file", path=path)
        log.info(event="first")

        def check() -> None:
            log.close()
            assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [
                "first",
                "second",
            ]

        return lambda: log.info(event="second"), log.close, check

    interleave(prepare, within="write")
