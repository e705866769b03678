"""What Dask's scheduler is given: it lets each attempt begin once, and tells of what was lost."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from dotflow.dask.once import NAME, make_once_plugin

A, B = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


class Scheduler:
    """As much of a scheduler as the plugin sees."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def client_send(self, client: str, message: dict[str, Any]) -> None:
        self.sent.append((client, message))

    def assign(self, key: str, worker: str) -> None:
        """Have a worker run a task that one client wants."""
        wants = [SimpleNamespace(client_key="client")]
        where = SimpleNamespace(address=worker)
        self.tasks[key] = SimpleNamespace(processing_on=where, who_wants=wants)

    def call(self, handler: str, **about: Any) -> Any:
        """Ask what workers ask."""
        return asyncio.run(self.handlers[handler](**about))

    def begin(self, key: str, worker: str) -> Any:
        """Ask whether an attempt may begin."""
        return self.call("dotflow_begin", key=key, worker=worker, pid=7, host="h")


@pytest.fixture
def scheduler() -> Scheduler:
    """A scheduler that has the plugin."""
    return Scheduler()


@pytest.fixture
def plugin(scheduler: Scheduler) -> Any:
    """The plugin, as it arrives at the scheduler."""
    made = pickle.loads(cloudpickle.dumps(make_once_plugin()))
    asyncio.run(made.start(scheduler))
    return made


def test_an_attempt_begins_once(scheduler: Scheduler, plugin: Any) -> None:
    """Wherever Dask runs it again, also after its end, whose result may have been lost."""
    scheduler.assign("k", A)
    assert scheduler.begin("k", A) is True
    assert scheduler.begin("k", A) is False
    scheduler.assign("k", B)
    assert scheduler.begin("k", B) is False
    scheduler.call("dotflow_end", key="k", outcome=(1,))
    assert scheduler.begin("k", B) is False


def test_only_the_worker_that_has_it_begins(scheduler: Scheduler, plugin: Any) -> None:
    """A worker that the scheduler gave up on, or whose run has ended, begins nothing."""
    scheduler.assign("k", A)
    assert scheduler.begin("k", B) is False
    assert scheduler.begin("gone", A) is False
    scheduler.tasks["k"].processing_on = None
    assert scheduler.begin("k", A) is False


def test_an_outcome_is_sent_on_once(scheduler: Scheduler, plugin: Any) -> None:
    """To the client that waits for it; what never began has none."""
    scheduler.assign("k", A)
    scheduler.call("dotflow_end", key="k", outcome=(1,))
    assert scheduler.sent == []
    scheduler.begin("k", A)
    scheduler.call("dotflow_end", key="k", outcome=(1,))
    scheduler.call("dotflow_end", key="k", outcome=(2,))
    told = {"op": "event", "topic": NAME, "event": ("k", (1,), None)}
    assert scheduler.sent == [("client", told)]


def test_a_worker_that_goes_away(scheduler: Scheduler, plugin: Any) -> None:
    """What it had begun is told of; what it had not, or had ended, is not."""
    for key, worker in (("begun", A), ("ended", A), ("fresh", A), ("other", B)):
        scheduler.assign(key, worker)
        if key != "fresh":
            scheduler.begin(key, worker)
    scheduler.call("dotflow_end", key="ended", outcome=(1,))
    scheduler.sent.clear()
    plugin.remove_worker(scheduler, A, stimulus_id="s")
    ((_, message),) = scheduler.sent
    key, outcome, (pid, host, since) = message["event"]
    assert (key, outcome, pid, host) == ("begun", None, 7, "h")
    assert since >= 0
    scheduler.assign("fresh", B)
    assert scheduler.begin("fresh", B) is True


def test_nothing_is_kept_of_what_dask_forgets(scheduler: Scheduler, plugin: Any) -> None:
    """The scheduler's memory does not grow."""
    scheduler.assign("k", A)
    scheduler.begin("k", A)
    plugin.transition("k", "processing", "memory", stimulus_id="s")
    assert list(plugin.begun) == ["k"]
    plugin.transition("k", "released", "forgotten", stimulus_id="s")
    assert plugin.begun == {}
    scheduler.begin("k", A)
    plugin.restart(scheduler)
    assert plugin.begun == {}


def test_a_scheduler_needs_no_dotflow() -> None:
    """The plugin travels whole."""
    code = (
        "import pickle, sys\n"
        "plugin = pickle.loads(bytes.fromhex(sys.stdin.read()))\n"
        "print(plugin.name, 'dotflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=cloudpickle.dumps(make_once_plugin()).hex(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [NAME, "False"]
