"""Of two runs of one workflow with one storage at once one runs, and the other is told."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from waiting import wait_for

from dotflow import Config, Context, DotFlow, action
from dotflow.core import lease
from dotflow.core.exception import InputChangedError, StorageError, WorkflowInUse
from dotflow.core.process_mark import ProcessMark
from dotflow.core.workflow import Manager
from dotflow.providers import StorageDefault, StorageFile, StorageFsspec, StorageSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from figures import Figures

    from dotflow.abc.storage import Storage

SECOND: Final = 10**9
KEY: Final = "etl-_lease"
TOLD: Final = (
    r"The workflow etl is run already by process \d+ on .+, since .+ UTC: nothing was started"
)
MEMORY: Final = "memory://leases"

_PROGRAM: Final = """
import sys
from pathlib import Path
from dotflow import Config, DotFlow, action
from dotflow.core.exception import WorkflowInUse
from dotflow.providers import StorageFile, StorageSQL

kind, folder, others = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
storage = StorageFile(folder) if kind == "file" else StorageSQL(f"sqlite:///{folder}/kept.db")


@action
def step():
    print("runs", flush=True)
    sys.stdin.readline()
    return 1


flow = DotFlow(Config(storage=storage), workflow_id="etl")
flow.task.add(step)
print("ready", flush=True)
sys.stdin.readline()
try:
    flow.start(resume=True)
    print(flow.result_storage())
except WorkflowInUse as error:
    print(type(error).__name__, flow.result_task()[0].status)
"""


@pytest.fixture(params=["file", "sql", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Return each kind of storage that leases are kept in."""
    makers: dict[str, Callable[[], Storage]] = {
        "file": lambda: StorageFile(tmp_path / "kept"),
        "sql": lambda: StorageSQL(f"sqlite:///{tmp_path}/kept.db"),
        "memory": lambda: StorageFsspec(MEMORY),
    }
    made = makers[request.param]()
    yield made
    made.delete_prefix("")
    if isinstance(made, StorageSQL):
        made.close()


@pytest.fixture
def folder(tmp_path: Path) -> StorageFile:
    """Return one storage."""
    return StorageFile(tmp_path / "kept")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have leases renewed all the time."""
    monkeypatch.setattr(lease, "EVERY", 0.005)


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """Have no thread renew leases when all runs have ended."""
    yield
    wait_for(lambda: not any(each.name == "dotflow-lease" for each in threading.enumerate()))


def flow_of(storage: Storage, steps: Any, workflow_id: str = "etl") -> DotFlow:
    """Return a flow of one task or some."""
    flow = DotFlow(Config(storage=storage), workflow_id=workflow_id)
    flow.task.add(steps)
    return flow


@action
def one() -> int:
    """Return a value."""
    return 1


class Held:
    """A step that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.runs = 0

        @action
        def one() -> int:
            self.runs += 1
            self.begun.set()
            assert self.let_go.wait(60)
            return 1

        self.step = one


@pytest.fixture
def held() -> Iterator[Held]:
    """Return such a step."""
    made = Held()
    yield made
    made.let_go.set()


def programs(count: int, *arguments: object) -> list[subprocess.Popen[str]]:
    """Start programs that are about to run the workflow, and wait until all are."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, arguments), str(count - 1)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(count)
    ]
    assert [line(each) for each in started] == ["ready"] * count
    return started


def line(program: subprocess.Popen[str]) -> str:
    """Return the next line that a program prints."""
    assert program.stdout is not None
    return program.stdout.readline().strip()


def go(*started: subprocess.Popen[str]) -> None:
    """Have programs go on."""
    for program in started:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()


@pytest.mark.parametrize("kind", ["file", "sql"])
def test_processes_that_begin_at_once(kind: str, tmp_path: Path, figures: Figures) -> None:
    """One of them runs; the others get an error before anything has happened; then one resumes."""
    count = 4
    started = programs(count, kind, tmp_path)
    go(*started)
    said = [line(each) for each in started]
    assert sorted(said) == ["WorkflowInUse Not started"] * (count - 1) + ["runs"]
    winner = started[said.index("runs")]
    winner.send_signal(signal.SIGKILL)
    for each in started:
        each.communicate(timeout=60)
    # The killed one still has its lease, which counts no longer.
    (last,) = programs(1, kind, tmp_path)
    go(last, last)
    assert [line(last), line(last)] == ["runs", "[1]"]
    last.communicate(timeout=60)
    figures.add("faults tried", count)


def test_threads_that_begin_at_once(storage: Storage, held: Held, figures: Figures) -> None:
    """Of threads with one storage, and with one each, one runs, and the others are told."""
    count = 8
    together = threading.Barrier(count)
    refused: list[str] = []

    def start(resume: bool) -> None:
        flow = flow_of(storage, held.step)
        together.wait(60)
        try:
            flow.start(resume=resume)
        except WorkflowInUse as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(n % 2 == 0,)) for n in range(count)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(refused) == count - 1)
    assert held.begun.wait(60)
    assert storage.get(KEY).storage["owner"] == list(ProcessMark.of_this())
    held.let_go.set()
    for thread in threads:
        thread.join(60)
    assert held.runs == 1
    assert len(refused) == count - 1
    assert storage.get(KEY).storage is None
    flow_of(storage, one).start()
    figures.add("faults tried", count)


def test_the_error(folder: StorageFile, held: Held) -> None:
    """It names the workflow, who runs it and what to do, also once it has travelled."""
    running = flow_of(folder, held.step).start(mode="background")
    assert held.begun.wait(60)
    flow = flow_of(folder, one)
    with pytest.raises(WorkflowInUse, match=TOLD) as refused:
        flow.start()
    assert str(os.getpid()) in str(refused.value)
    assert str(refused.value).endswith(
        "Two runs would overwrite each other's checkpoints. Wait until that one has ended, or give "
        "this one another workflow_id or storage."
    )
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
    assert flow.result_task()[0].status == "Not started"
    # Another id is another workflow.
    flow_of(folder, one, "etl-daily").start()
    held.let_go.set()
    running.thread.join(60)
    # The flow that was refused can be started.
    flow.start(resume=True)
    assert (held.runs, flow.result_task()[0].restored) == (1, True)


def test_awaited_runs(storage: Storage) -> None:
    """Of two that are awaited at once one is refused, also where the other one is cancelled."""
    begun = threading.Event()

    @action
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(600)

    async def both() -> None:
        first = asyncio.ensure_future(flow_of(storage, waits).start_async())
        await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(WorkflowInUse, match=TOLD):
            await flow_of(storage, one).start_async()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await flow_of(storage, one).start_async()

    asyncio.run(both())
    assert storage.get(KEY).storage is None


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_nested_runs(mode: Any, folder: StorageFile) -> None:
    """A step that starts its own workflow again fails by that error; another one runs."""
    path = folder.path.parent

    @action
    def again() -> None:
        flow = DotFlow(Config(storage=StorageFile(path)), workflow_id="etl")
        flow.task.add(one)
        flow.start()

    @action
    def another() -> list[int]:
        flow = DotFlow(Config(storage=StorageFile(path)), workflow_id="etl-inner")
        flow.task.add(one)
        flow.start()
        return flow.result_storage()

    flow = flow_of(folder, [again, another])
    manager = flow.start(mode=mode, keep_going=True)
    if mode == "background":
        manager.thread.join(60)
    failed, ran = flow.result_task()
    assert [(each.exception, each.message[:42]) for each in failed.errors] == [
        ("WorkflowInUse", "The workflow etl is run already by process")
    ]
    assert failed.errors[0].message.count("The workflow") == 1
    assert ran.current_context.storage == [1]


_FORK: Final = """
import os, sys
from dotflow import Config, DotFlow, action
from dotflow.core.exception import WorkflowInUse
from dotflow.providers import StorageFile

storage = StorageFile(sys.argv[1])


def flow_of(step):
    flow = DotFlow(Config(storage=storage), workflow_id="etl")
    flow.task.add(step)
    return flow


@action
def one():
    return 1


@action
def forks():
    child = os.fork()
    if child:
        print("child", os.waitpid(child, 0)[1], storage.get("etl-_lease").storage is not None)
        return 1
    status = 1
    try:
        flow_of(one).start()
    except WorkflowInUse:
        return "of the child"  # and the child ends its copy of the run


parent = os.getpid()
flow_of(forks).start()
if os.getpid() == parent:
    print("parent", storage.get("etl-_lease").storage)
    flow_of(one).start()
"""


def test_forked_children(tmp_path: Path) -> None:
    """A child is kept out by its parent, and takes nothing of the parent's with its own end."""
    with subprocess.Popen(
        [sys.executable, "-c", _FORK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        said, _ = program.communicate(timeout=60)
    assert said == "child 0 True\nparent None\n"
    assert program.returncode == 0


def written(**changes: Any) -> Context:
    """Return the lease of a run elsewhere, changed."""
    elsewhere = ProcessMark.of_this()._replace(host="elsewhere")
    content = {"lease": "x", "owner": list(elsewhere), "since": 0, "beat": time.time_ns()}
    return Context(storage={**content, **changes})


def test_owners_elsewhere(storage: Storage) -> None:
    """A process that cannot be looked at has the lease as long as it renews it."""
    storage.post(KEY, written(beat=time.time_ns() - 30 * SECOND))
    with pytest.raises(WorkflowInUse) as refused:
        flow_of(storage, one).start()
    assert (
        "on elsewhere, since 1970-01-01 00:00:00 UTC (one elsewhere that is silent for 60 seconds "
        "counts as ended): nothing was started."
    ) in str(refused.value)
    storage.post(KEY, written(beat=time.time_ns() - 61 * SECOND))
    flow_of(storage, one).start()
    assert storage.get(KEY).storage is None


def test_leases_that_do_not_count(folder: StorageFile, figures: Figures) -> None:
    """Of a process that ended, of an earlier one of the number, and what is no lease at all."""
    here = ProcessMark.of_this()
    odd: list[Context] = [
        written(owner=list(here)),  # of this process, which has no such run
        written(owner=list(here._replace(born=here.born - 1))),
        written(owner=list(here._replace(pid=2**22 - 1))),
        # Of this one is not known when it began, and it is silent.
        written(owner=list(here._replace(pid=1, born=0)), beat=0),
        *(written(owner=owner) for owner in ([], None, "here", {})),
        *(written(since=since) for since in (None, "now", 10**30, [])),
        *(written(beat=beat) for beat in (None, "now", time.time_ns() + 61 * SECOND)),
        *map(Context, (1, [], {}, "lease", {"lease": 1})),
    ]
    for context in odd:
        folder.post(KEY, context)
        flow_of(folder, one).start()
        assert folder.get(KEY).storage is None
    figures.add("bad inputs tried", len(odd))


@pytest.mark.usefixtures("hurried")
def test_a_run_that_was_taken_over(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """It stores nothing more, and fails: neither its task nor its record is of use to anybody."""

    @action
    def taken() -> int:
        storage.post(KEY, written())
        wait_for(lambda: "has taken the workflow etl over" in caplog.text)
        return 1

    flow = flow_of(storage, [one, taken])
    with caplog.at_level(logging.WARNING, "dotflow"), pytest.raises(StorageError) as refused:
        flow.start()
    text = (
        "Another run has taken the workflow etl over, as this process was not heard of for 60 "
        "seconds: nothing more is stored here."
    )
    assert str(refused.value) == text
    task = flow.result_task()[1]
    assert [(each.exception, each.message) for each in task.errors] == [("StorageError", text)]
    assert list(storage.list_keys(f"etl-{task.task_id}")) == []
    assert storage.get("etl-_run").storage["finished"] is False
    assert storage.get(KEY).storage["lease"] == "x"


@pytest.mark.usefixtures("hurried")
def test_a_lease_is_renewed(storage: Storage) -> None:
    """It says time and again that the run goes on; what clears the workflow does not take it."""

    def beat() -> int:
        content = storage.get(KEY).storage
        return 0 if content is None else int(content["beat"])

    @action
    def renewed() -> None:
        first = beat()
        assert first > 0
        wait_for(lambda: beat() > first)
        storage.clear("etl")
        assert beat() > first
        # As storages of 1.x clear a workflow.
        storage.delete_prefix("etl-")
        wait_for(lambda: beat() > first)
        with pytest.raises(WorkflowInUse):
            flow_of(storage, one).start()

    flow = flow_of(storage, renewed)
    flow.start()
    assert flow.result_task()[0].errors == []
    assert storage.get(KEY).storage is None


class Failing(StorageFile):
    """A storage that can be out of reach."""

    fails: Sequence[str] = ()

    def delete(self, key: str) -> bool:
        """Remove."""
        if "delete" in self.fails:
            raise OSError("gone")
        return super().delete(key)

    def atomic_swap(self, *args: Any, **kwargs: Any) -> bool:
        """Swap."""
        if "swap" in self.fails:
            raise OSError("gone")
        done = super().atomic_swap(*args, **kwargs)
        if "after" in self.fails:
            raise KeyboardInterrupt
        return done


@pytest.mark.usefixtures("hurried")
def test_a_storage_out_of_reach(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its error comes before the run; a lease that it does not remove is removed when it can."""
    storage = Failing(tmp_path)
    storage.fails = ["swap"]
    with pytest.raises(OSError, match="gone"):
        flow_of(storage, one).start()
    storage.fails = ["after"]
    with pytest.raises(KeyboardInterrupt):
        flow_of(storage, one).start()
    assert storage.get(KEY).storage is None
    storage.fails = ["delete"]
    with caplog.at_level(logging.WARNING, "dotflow"):
        flow_of(storage, one).start()
    assert [each.message for each in caplog.records] == [
        "the lease of workflow etl could not be removed; this is tried again"
    ]
    assert storage.get(KEY).storage is not None
    # It is of no run of this process any more.
    flow_of(storage, one).start()
    storage.fails = []
    wait_for(lambda: storage.get(KEY).storage is None)


@pytest.mark.usefixtures("hurried")
def test_a_run_that_never_begins(folder: StorageFile) -> None:
    """Who makes a Manager and forgets it is in nobody's way; nor one whose input was refused."""
    flow = flow_of(folder, one)
    manager = Manager(flow.task.queue, workflow_id="etl", config=flow.config, start=False)
    with pytest.raises(WorkflowInUse):
        flow.start()
    del manager
    gc.collect()
    wait_for(lambda: folder.get(KEY).storage is None)
    flow.start(resume=True, fingerprint="a")
    with pytest.raises(InputChangedError):
        flow_of(folder, one).start(resume=True, fingerprint="b", on_input_change="raise")
    assert folder.get(KEY).storage is None


def test_a_callback_may_start_it_again(folder: StorageFile) -> None:
    """When the run's callback is called its lease is gone, so that it can be resumed there."""
    resumed: list[bool] = []

    def again(tasks: Any) -> None:
        del tasks
        flow = flow_of(folder, one)
        flow.start(resume=True)
        resumed.append(flow.result_task()[0].restored)

    flow_of(folder, one).start(on_success=again)
    assert resumed == [True]


class WithoutSwaps(StorageFile):
    """As a storage of somebody's own that passes some calls on."""

    can_lease = True

    def atomic_swap(self, *args: Any, **kwargs: Any) -> bool:
        """Refuse."""
        raise NotImplementedError(args, kwargs)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: StorageDefault(),
        WithoutSwaps,
        lambda path: StorageFsspec(f"dir://{path}", target_protocol="file", path=str(path)),
    ],
    ids=["memory", "own", "fsspec"],
)
def test_storages_without_leases(make: Any, held: Held, tmp_path: Path) -> None:
    """In memory, and where there is no way to swap, runs share a workflow as they always did."""
    storage = make(tmp_path)
    running = flow_of(storage, held.step).start(mode="background")
    assert held.begun.wait(60)
    flow_of(storage, one).start()
    held.let_go.set()
    running.thread.join(60)
    assert list(storage.list_keys(KEY)) == []


def test_runs_without_an_id(folder: StorageFile) -> None:
    """Nobody else can name the workflow, so no lease is taken; resumed or not."""
    for resume in (False, True):
        flow = DotFlow(Config(storage=folder))

        @action
        def leases() -> list[str]:
            return [key for key in folder.list_keys("") if "lease" in key]

        flow.task.add(leases)
        flow.start(resume=resume)
        assert flow.result_storage() == [[]]
