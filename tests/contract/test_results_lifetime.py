"""How long results are kept in memory: as long as somebody can ask for them."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.core.workflow import Manager
from dotflow.providers import StorageDefault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow import Task

Run = Any
Recorder = Any


class Result:
    """A value that one can refer to weakly."""


@pytest.fixture(autouse=True, scope="module")
def _others_frozen() -> Iterator[None]:
    # Or each collection would look through all that pytest and the tests before have left.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["sequential", "sequential_group", "background", "parallel", "threads"])
def config_and_mode(
    request: pytest.FixtureRequest, silent_log: Any
) -> Iterator[tuple[Config, str]]:
    """Every mode, and `parallel` in threads, each with a config that flows share."""
    if request.param != "threads":
        yield Config(log=silent_log), request.param
        return
    with ThreadPoolExecutor(2) as threads:
        yield Config(log=silent_log, executor=threads), "parallel"


def _kept(config: Config) -> list[str]:
    gc.collect()
    return list(config.storage.list_keys(""))


def _step() -> tuple[Any, list[weakref.ref[Result]]]:
    made: list[weakref.ref[Result]] = []

    @action
    def step() -> Result:
        result = Result()
        made.append(weakref.ref(result))
        return result

    return step, made


@action
def one() -> int:
    """Return a number."""
    return 1


@action
def fails() -> None:
    """Fail."""
    raise ValueError("no")


def test_results_go_with_their_flow(config_and_mode: tuple[Config, str], run: Run) -> None:
    """Of flows that nobody holds any more nothing is left in the storage that they shared."""
    config, mode = config_and_mode
    for _ in range(5):
        flow = DotFlow(config=config)
        flow.task.add([one, one, fails], group_name="a")
        flow.task.add(one, group_name="b")
        run(flow, mode)
        keys = [config.storage.key(task=task) for task in flow.result_task()]
        assert sorted(_kept(config)) == sorted(keys)
    del flow
    assert _kept(config) == []


def test_values_go_with_their_flow(in_process_mode: str, quiet: Config, run: Run) -> None:
    """What the steps returned is not held by anything of ours."""
    step, made = _step()
    for _ in range(5):
        flow = DotFlow(config=quiet)
        flow.task.add([step, step])
        run(flow, in_process_mode)
    del flow
    gc.collect()
    assert [ref() for ref in made] == [None] * 10


@pytest.mark.parametrize("held", ["flow", "manager", "tasks", "task"])
def test_results_stay_with_who_holds_them(
    held: str, config_and_mode: tuple[Config, str], run: Run
) -> None:
    """The flow, its manager, its tasks or one of them alone: each still has its results."""
    config, mode = config_and_mode
    flow = DotFlow(config=config)
    flow.task.add([one, one])
    manager = run(flow, mode)
    tasks = flow.result_task()
    keys = [config.storage.key(task=task) for task in tasks]
    mine = {"flow": flow, "manager": manager, "tasks": tasks, "task": tasks[1]}.pop(held)
    del flow, manager, tasks
    assert sorted(_kept(config)) == sorted(keys)
    task = _last_task(mine)
    assert task.current_context.storage == 1
    assert config.storage.get(key=config.storage.key(task=task)).storage == 1
    del mine, task
    assert _kept(config) == []


def _last_task(held: Any) -> Task:
    if isinstance(held, DotFlow):
        return held.result_task()[-1]
    if isinstance(held, Manager):
        return held.tasks[-1]
    return held[-1] if isinstance(held, list) else held


def test_results_of_a_given_id_stay(config_and_mode: tuple[Config, str], run: Run) -> None:
    """A workflow that was given an id can be resumed in this process: its results stay."""
    config, mode = config_and_mode

    def make() -> DotFlow:
        flow = DotFlow(config=config, workflow_id="etl")
        flow.task.add([one, one])
        return flow

    run(make(), mode)
    assert len(_kept(config)) == 3
    flow = make()
    run(flow, mode, resume=True)
    assert [task.restored for task in flow.result_task()] == [True, True]


def test_a_manager_of_its_own(quiet: Config) -> None:
    """A manager that makes its own id leaves nothing; one that is given an id does."""
    flow = DotFlow(config=quiet)
    flow.task.add(one)
    Manager(tasks=flow.task.copies(), config=quiet)
    assert _kept(quiet) == []
    Manager(tasks=flow.task.copies(), config=quiet, workflow_id="etl", keep_checkpoints=False)
    assert _kept(quiet) == []
    Manager(tasks=flow.task.copies(), workflow_id="etl")
    assert len(_kept(quiet)) == 1


def test_tasks_with_providers_of_their_own(quiet: Config, silent_log: Any) -> None:
    """Each task's result goes from the storage that it was put in."""
    other = Config(log=silent_log)
    flows = [DotFlow(config=config) for config in (quiet, other)]
    for flow in flows:
        flow.task.add(one)
    tasks = [task for flow in flows for task in flow.task.copies()]
    manager = Manager(tasks=tasks)
    del tasks, flows
    assert [len(_kept(config)) for config in (quiet, other)] == [1, 1]
    del manager
    assert [_kept(config) for config in (quiet, other)] == [[], []]


def test_a_flow_that_is_started_again_keeps_its_results(
    in_process_mode: str, quiet: Config, run: Run
) -> None:
    """A resume of a flow without an id finds them each time; then all goes, the record too."""
    down = [1]

    @action
    def unsteady(previous_context: Context) -> int:
        if down:
            raise ConnectionError("busy")
        return int(previous_context.storage) + 1

    flow = DotFlow(config=quiet)
    flow.task.add([one, unsteady])
    run(flow, in_process_mode)
    for _ in range(3):
        gc.collect()
        run(flow, in_process_mode, resume=True)
        assert [task.restored for task in flow.result_task()] == [True, False]
    down.clear()
    run(flow, in_process_mode, resume=True)
    assert flow.result_storage() == [1, 2]
    assert len(_kept(quiet)) == 4  # two results, the record and the fingerprint
    del flow
    assert _kept(quiet) == []


def test_the_record_of_many_tasks_goes_whole(quiet: Config) -> None:
    """A record of several pieces leaves none behind."""
    flow = DotFlow(config=quiet)
    flow.task.add([one] * 2001)
    flow.start(resume=True)
    assert len(_kept(quiet)) == 2001 + 3 + 1
    del flow
    assert _kept(quiet) == []


def test_tasks_that_a_flow_lets_go_of(quiet: Config) -> None:
    """A flow whose queue is filled anew keeps the results of the present tasks alone."""
    flow = DotFlow(config=quiet)
    for _ in range(3):
        flow.task.clear()
        flow.task.add([one, one])
        flow.start()
    keys = [quiet.storage.key(task=task) for task in flow.result_task()]
    assert sorted(_kept(quiet)) == sorted(keys)
    flow.task.add(one)
    flow.start()
    assert len(_kept(quiet)) == 3


@pytest.mark.parametrize("workflow_id", [None, "etl"])
def test_ticks_that_overlap(workflow_id: str | None, recorder: Recorder) -> None:
    """Ticks keep the results of the flow's own tasks; those of a tick beside another go."""
    began, go_on = threading.Event(), threading.Event()

    @action
    def waits() -> int:
        began.set()
        go_on.wait(30)
        return 1

    config = recorder.config(storage=StorageDefault())
    flow = DotFlow(config=config, workflow_id=workflow_id)
    flow.task.add(waits)
    flow.schedule()
    [(tick, _)] = recorder.scheduled
    recorder.clear()
    recorder.scheduled.clear()
    first = threading.Thread(target=tick)
    first.start()
    assert began.wait(30)
    second = threading.Thread(target=tick)
    second.start()
    go_on.set()
    first.join(30)
    second.join(30)
    for _ in range(2):
        recorder.clear()  # it holds the tasks
        results = [key for key in _kept(config) if "_" not in key]
        assert results == [config.storage.key(task=flow.result_task()[0])]
        tick()


def test_a_run_in_the_background_that_nobody_holds(quiet: Config) -> None:
    """It ends, each step with what the one before returned, and then its results go."""
    go_on, ended = threading.Event(), threading.Event()
    seen = []

    @action
    def waits() -> list[int]:
        go_on.wait(30)
        return [1]

    @action
    def sees(previous_context: Context) -> None:
        seen.append(previous_context.storage)

    def start() -> threading.Thread:
        flow = DotFlow(config=quiet)
        flow.task.add([waits, sees])
        return flow.start(mode="background", on_success=lambda tasks: ended.set()).thread

    thread = start()
    gc.collect()
    go_on.set()
    assert ended.wait(30)
    thread.join(30)
    assert seen == [[1]]
    assert _kept(quiet) == []


def test_storages_of_others_see_no_call(recorder: Recorder) -> None:
    """Nothing is asked of a storage that is not ours, nor of one that is made from ours."""
    asked: list[str] = []

    class Own(StorageDefault):
        def delete(self, key: str) -> bool:
            asked.append(key)
            return super().delete(key)

    for config in (recorder.config(), recorder.config(storage=Own())):
        flow = DotFlow(config=config)
        flow.task.add([one, one])
        flow.start()
        calls = len(recorder.names())
        del flow
        recorder.events[:] = recorder.events[:calls]  # they hold the tasks
        recorder.clear()
        gc.collect()
        assert recorder.names() == []
    assert len(recorder.stored) == 2
    assert len(_kept(config)) == 2
    assert asked == []


def test_copies_of_a_task_take_nothing_away(quiet: Config) -> None:
    """The end of a task's copy, or of one that travelled, is not the end of the result."""
    flow = DotFlow(config=quiet)
    flow.task.add(one)
    flow.start()
    [task] = flow.result_task()
    task.config, config = None, task.config  # of which there is no copy
    for copied in (deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert copied.task_id == task.task_id
    del copied
    task.config = config
    assert len(_kept(quiet)) == 1


def test_a_flow_may_end_while_its_storage_is_busy(quiet: Config) -> None:
    """Whoever lets a flow go waits for no other thread that uses the storage."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __eq__(self, other: object) -> bool:
            inside.set()
            go_on.wait(30)
            return False

        __hash__ = None  # type: ignore[assignment]

    quiet.storage.post("busy", Context(Slow()))
    flow = DotFlow(config=quiet)
    flow.task.add(one)
    flow.start()
    key = quiet.storage.key(task=flow.result_task()[0])
    swap = quiet.storage.atomic_swap
    other = threading.Thread(target=swap, args=("busy", Context(Slow()), Context(1)))
    other.start()
    assert inside.wait(30)
    del flow  # in this thread, while the other one holds the storage's lock
    assert quiet.storage.get(key).storage is None
    go_on.set()
    other.join(30)
    assert _kept(quiet) == ["busy"]


def test_a_flow_may_end_while_keys_are_listed(quiet: Config) -> None:
    """Garbage that is collected in the midst of a call of the storage is no error of that."""
    flows = [DotFlow(config=quiet)]
    flows[0].task.add([one] * 3)
    flows[0].start()

    class Key(str):
        __slots__ = ()

        def startswith(self, *args: Any) -> bool:
            flows.clear()
            return super().startswith(*args)

    quiet.storage.post(Key("mine"), Context(1))
    assert "mine" in quiet.storage.list_keys("")
    assert _kept(quiet) == ["mine"]
