"""What each attempt of a step is given: the values as they were stored, whatever others did."""

from __future__ import annotations

import dataclasses
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.providers import StorageDefault, StorageFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Run = Any
ROWS = [1, 2, 3]

# Where a late attempt goes on in a thread; a worker process is killed.
SHARED = ("sequential", "sequential_group", "background", "threads")


@pytest.fixture(params=[*SHARED, "parallel"])
def config_and_mode(
    request: pytest.FixtureRequest, silent_log: Any
) -> Iterator[tuple[Config, str]]:
    """Every mode, and `parallel` in threads that share their objects with the run."""
    if request.param != "threads":
        yield Config(log=silent_log), request.param
        return
    with ThreadPoolExecutor(2) as threads:
        yield Config(log=silent_log, executor=threads), "parallel"


@action
def rows() -> list[int]:
    """Return a list that the next step may change."""
    return [1, 2, 3]


def works_through(folder: Path, given: str = "previous", **options: Any) -> Any:
    """Make a step that takes its input apart, and fails half-way the first time."""
    failed = folder / "failed"

    def work(context: Context) -> list[int]:
        left, done = context.storage, []
        while left:
            done.append(left.pop(0))
            if len(done) == 2 and not failed.exists():
                failed.touch()
                raise ConnectionError("half-way")
        return done

    def after(previous_context: Context) -> list[int]:
        return work(previous_context)

    def begin(initial_context: Context) -> list[int]:
        return work(initial_context)

    return action(**options)(after if given == "previous" else begin)


@pytest.mark.parametrize("given", ["previous", "initial"])
def test_each_attempt_gets_what_the_first_one_got(
    given: str, config_and_mode: tuple[Config, str], tmp_path: Path, run: Run
) -> None:
    """A step that fails with its input half used up finds all of it in its next attempt."""
    config, mode = config_and_mode
    flow = DotFlow(config=config)
    step = works_through(tmp_path, given, retry=2, retry_delay=0)
    mine = list(ROWS)
    flow.task.add([rows, step], initial_context=mine, group_name="one")
    flow.task.add(rows, group_name="two")
    run(flow, mode)
    assert flow.result_storage() == [ROWS, ROWS, ROWS]
    task = flow.result_task()[1]
    assert (task.retry_count, task.errors[0].exception) == (1, "ConnectionError")
    assert (mine, task.initial_context.storage, task.previous_context.storage) == (ROWS,) * 3


def test_what_the_step_before_returned_stays(config_and_mode: tuple[Config, str], run: Run) -> None:
    """A step that fails in all its attempts leaves the stored result before it as it was."""
    config, mode = config_and_mode

    @action(retry=2, retry_delay=0)
    def spoils(previous_context: Context) -> None:
        previous_context.storage.clear()
        previous_context.storage = "spoilt"
        raise ValueError("no")

    flow = DotFlow(config=config)
    flow.task.add([rows, spoils], group_name="one")
    flow.task.add(rows, group_name="two")
    run(flow, mode)
    first, second, _ = flow.result_task()
    assert [first.status, second.status] == ["Completed", "Failed"]
    assert first.current_context.storage == ROWS
    assert config.storage.get(key=config.storage.key(task=first)).storage == ROWS


@pytest.mark.parametrize("config_and_mode", SHARED, indirect=True)
def test_a_late_attempt_changes_nothing_of_the_next(
    config_and_mode: tuple[Config, str], run: Run
) -> None:
    """A step that goes on after its time is up does so with its own copy."""
    config, mode = config_and_mode
    first_goes_on, spoilt = threading.Event(), threading.Event()
    attempts: list[int] = []

    # More attempts than two for a machine that is too busy to begin one in time.
    @action(retry=9, retry_delay=0, timeout=0.2)
    def slow(previous_context: Context) -> list[int]:
        attempts.append(1)
        if len(attempts) == 1:
            first_goes_on.wait(30)
            previous_context.storage.clear()
            spoilt.set()
        else:
            first_goes_on.set()
            spoilt.wait(0.1)
        return list(previous_context.storage)

    flow = DotFlow(config=config)
    flow.task.add([rows, slow], group_name="one")
    flow.task.add(rows, group_name="two")
    run(flow, mode)
    assert spoilt.wait(30)
    assert flow.result_storage() == [ROWS, ROWS, ROWS]


def test_methods_that_are_tried_again(config_and_mode: tuple[Config, str], run: Run) -> None:
    """A method of a class step finds all of its input in each of its own attempts."""
    config, mode = config_and_mode

    class Pipe:
        def __init__(self) -> None:
            self.tried: list[str] = []

        def _take(self, name: str, context: Context) -> list[int]:
            self.tried.append(name)
            taken = [context.storage.pop(), context.storage.pop()]
            if self.tried.count(name) < 3:
                raise ConnectionError("half-way")
            return [*context.storage, *reversed(taken)]

        @action(retry=3, retry_delay=0)
        def first(self, previous_context: Context) -> list[int]:
            return self._take("first", previous_context)

        @action(retry=3, retry_delay=0)
        def second(self, previous_context: Context) -> list[int]:
            return self._take("second", previous_context)

        @action(retry=3, retry_delay=0)
        def third(self, initial_context: Context) -> list[int]:
            return self._take("third", initial_context)

    @action
    def build(previous_context: Context, initial_context: Context) -> Pipe:
        return Pipe()

    flow = DotFlow(config=config)
    mine = list(ROWS)
    flow.task.add([rows, build], initial_context=mine, group_name="one")
    flow.task.add(rows, group_name="two")
    run(flow, mode)
    first, second, _ = flow.result_storage()
    assert [context.storage for context in second] == [ROWS, ROWS, ROWS]
    assert (first, mine) == (ROWS, ROWS)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_resumed_step_gets_what_was_stored(
    kind: str, in_process_mode: str, tmp_path: Path, silent_log: Any, run: Run
) -> None:
    """A step that is tried once, fails half-way and is resumed finds all of its input."""
    storage = StorageDefault() if kind == "memory" else StorageFile(path=tmp_path)
    flow = DotFlow(config=Config(storage=storage, log=silent_log), workflow_id="nightly")
    mine = list(ROWS)
    steps = [rows, works_through(tmp_path)]
    flow.task.add(steps, initial_context=mine)
    run(flow, in_process_mode)
    assert [task.status for task in flow.result_task()] == ["Completed", "Failed"]
    assert flow.result_storage()[0] == ROWS
    run(flow, in_process_mode, resume=True)
    assert [task.restored for task in flow.result_task()] == [True, False]
    assert flow.result_storage() == [ROWS, ROWS]


def test_the_input_of_a_resumed_run_is_unchanged(
    in_process_mode: str, tmp_path: Path, quiet: Config, run: Run
) -> None:
    """A step that uses up its initial context does not change the input of the workflow."""
    flow = DotFlow(config=quiet, workflow_id="nightly")
    flow.task.add(works_through(tmp_path, "initial"), initial_context=list(ROWS))
    run(flow, in_process_mode)
    run(flow, in_process_mode, resume=True, on_input_change="raise")
    assert flow.result_storage() == [ROWS]


def test_one_try_that_cannot_be_resumed_gets_the_objects(
    in_process_mode: str, quiet: Config, run: Run
) -> None:
    """A step that is tried once, in a workflow without an id, gets the very objects: no copy.

    A program may pass a list, and read what its steps put into it.
    """
    value: list[int] = []
    seen = []

    @action
    def give() -> list[int]:
        return value

    @action
    def take(previous_context: Context, initial_context: Context) -> None:
        seen.extend([previous_context.storage, initial_context.storage])
        initial_context.storage.append(len(value))

    flow = DotFlow(config=quiet)
    flow.task.add([give, take, take], initial_context=value)
    run(flow, in_process_mode)
    assert [each is value for each in (*seen[:2], seen[3])] == [True, True, True]
    assert value == [0, 1]


@dataclasses.dataclass
class Job:
    """A record."""

    client: Any
    rows: list[int]


class Limits:
    """Records how it is copied, and how it is pickled, which is another thing."""

    def __init__(self) -> None:
        self.rows = list(ROWS)

    def __deepcopy__(self, memo: Any) -> Limits:
        copied = Limits()
        copied.rows = list(self.rows)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    "make", [Limits, lambda: Job(threading.Lock(), list(ROWS))], ids=["own copy", "record"]
)
def test_what_a_record_holds_is_as_it_was(
    make: Callable[[], Any], in_process_mode: str, quiet: Config, run: Run
) -> None:
    """A class copies itself as it says; a record is copied although it holds a lock."""
    tried: list[int] = []

    @action(retry=2, retry_delay=0)
    def work(initial_context: Context) -> list[int]:
        taken = [initial_context.storage.rows.pop(0) for _ in ROWS]
        tried.append(1)
        if len(tried) == 1:
            raise ConnectionError("busy")
        return taken

    flow = DotFlow(config=quiet)
    flow.task.add(work, initial_context=make())
    run(flow, in_process_mode)
    assert flow.result_storage() == [ROWS]


@pytest.mark.parametrize("config_and_mode", SHARED, indirect=True)
@pytest.mark.parametrize("options", [{}, {"retry": 3, "retry_delay": 0}], ids=["once", "again"])
def test_a_generator_of_random_numbers_is_shared(
    options: Any, config_and_mode: tuple[Config, str], run: Run
) -> None:
    """Steps and attempts that have one in common draw different numbers."""
    config, mode = config_and_mode
    drawn: list[float] = []
    one_at_a_time = threading.Lock()

    @action(**options)
    def draw(initial_context: Context) -> None:
        with one_at_a_time:
            drawn.append(initial_context.storage["random"].random())
            place = len(drawn)
        if options and place <= 2:
            raise ConnectionError("busy")

    flow = DotFlow(config=config)
    generator = random.Random(5)  # noqa: S311 - to tell numbers apart
    flow.task.add([draw, draw], initial_context={"random": generator, "rows": []})
    run(flow, mode)
    expected = random.Random(5)  # noqa: S311 - likewise
    assert sorted(drawn) == sorted(expected.random() for _ in range(4 if options else 2))


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (row for row in ROWS), lambda: sqlite3.connect(":memory:")],
    ids=["lock", "generator", "connection"],
)
def test_what_cannot_be_copied_is_handed_on(
    make: Callable[[], Any], in_process_mode: str, quiet: Config, run: Run
) -> None:
    """A value that cannot be copied is handed on as it is; a list beside it is copied."""
    value = make()
    seen: list[Any] = []

    @action
    def give() -> dict[str, Any]:
        return {"value": value, "rows": list(ROWS)}

    @action(retry=2, retry_delay=0)
    def take(previous_context: Context) -> list[int]:
        given = previous_context.storage
        seen.append(given["value"])
        taken = [given["rows"].pop(0) for _ in range(3)]
        if len(seen) == 1:
            raise ConnectionError("busy")
        return taken

    flow = DotFlow(config=quiet)
    flow.task.add([give, take])
    run(flow, in_process_mode)
    assert flow.result_storage()[1] == ROWS
    assert [each is value for each in seen] == [True, True]
    if isinstance(value, sqlite3.Connection):
        value.close()
