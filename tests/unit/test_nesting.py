"""Where a run may begin."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, DotFlow, action
from dotflow.core import run
from dotflow.core.exception import RunWhileReading
from dotflow.core.run import note_reading
from dotflow.workers.pickling import load, load_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator

MODES = ("sequential", "sequential_group", "background", "parallel")


@action
def one() -> int:
    """Return a number."""
    return 1


def flow_of_one(**config: Any) -> DotFlow:
    """Return a flow of one task."""
    flow = DotFlow(config=Config(**config))
    flow.task.add(one)
    return flow


@pytest.fixture
def reading() -> Iterator[None]:
    """Have this thread be one that reads what it shall run."""
    before = note_reading(True)
    yield
    note_reading(before)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("mode", MODES)
def test_none_begins_while_a_worker_reads(mode: str) -> None:
    """The error tells what to do; no task has begun."""
    flow = flow_of_one()
    with pytest.raises(RunWhileReading) as caught:
        flow.start(mode=mode)
    assert str(caught.value) == (
        "A worker process was to begin a run while it was still reading its own step: a module "
        "that the step needs starts a workflow when it is imported. Put that start into a "
        'function, or under `if __name__ == "__main__":`.'
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert [task.status for task in flow.task.queue] == ["Not started"]


@pytest.mark.usefixtures("reading")
def test_no_schedule_begins_either() -> None:
    """It would never return to whom it keeps from reading."""
    with pytest.raises(RunWhileReading):
        flow_of_one().schedule()


@pytest.mark.usefixtures("reading")
def test_other_threads_may_begin_one() -> None:
    """Only the thread that reads may not."""
    flow = flow_of_one()
    thread = threading.Thread(target=flow.start)
    thread.start()
    thread.join()
    assert flow.result_storage() == [1]


def test_a_thread_that_an_import_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker it begins none, neither while that reads nor later; one of a step does."""
    imports = run.Imports()
    monkeypatch.setattr(run, "watched_imports", imports)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    begun: dict[str, str] = {}
    go = threading.Event()

    def begin(name: str, go: threading.Event | None) -> None:
        if go is not None:
            go.wait(30)
        try:
            flow_of_one().start()
        except RunWhileReading:
            begun[name] = "refused"
        else:
            begun[name] = "begun"

    def started(name: str, go: threading.Event | None = None) -> threading.Thread:
        thread = threading.Thread(target=begin, args=(name, go))
        thread.start()
        return thread

    threads = [started("of an earlier step", go)]
    imports.install()
    imports.note_reading(True)
    with pytest.raises(ModuleNotFoundError):
        __import__("a_module_that_is_not_there")
    threads.append(started("of an import, later", go))
    started("of an import").join()
    imports.note_reading(False)
    threads.append(started("of a step"))
    go.set()
    for thread in threads:
        thread.join()
    assert begun == {
        "of an import": "refused",
        "of an import, later": "refused",
        "of a step": "begun",
        "of an earlier step": "begun",
    }


class Starts:
    """Starts a run when it is read, as a module may when it is imported."""

    def __reduce__(self) -> Any:
        return _start, ()


def _start() -> DotFlow:
    flow = flow_of_one()
    flow.start()
    return flow


@pytest.mark.usefixtures("reading")
def test_the_error_is_told_as_it_is() -> None:
    """Nobody needs to read through another error to it."""
    data = pickle.dumps(Starts())
    with pytest.raises(RunWhileReading):
        load(data, "the step")
    assert load_or_none(data) is None
