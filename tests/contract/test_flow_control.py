"""How much there is at a time: attempts in flight, pickled values, processes, memory."""

from __future__ import annotations

import os
import signal
import sys
import tracemalloc
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.abc.executor import Executor, Session
from dotflow.providers import ExecutorFutures, ExecutorLocal, LogDefault, StorageDefault
from dotflow.workers.ahead import MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dotflow.core.attempt import Attempt, Outcome

MANY = 2_000
PAYLOAD = 20_000


@pytest.fixture
def local() -> Iterator[ExecutorLocal]:
    """Return two workers."""
    made = ExecutorLocal(workers=2)
    yield made
    made.close()


def quiet_flow(executor: Any, **providers: Any) -> DotFlow:
    """Make a workflow that logs to nowhere."""
    log = LogDefault(output="file", path=os.devnull)
    return DotFlow(config=Config(log=log, executor=executor, **providers))


@action
def where() -> int:
    """Return which process this is."""
    return os.getpid()


class CountingSession(Session):
    """Counts how many attempts it has, at most, that were submitted and not handled."""

    def __init__(self, session: Session, most: list[int]) -> None:
        self._session = session
        self._most = most
        self._now = 0

    def has_room(self) -> bool:
        return self._session.has_room()

    def submit(self, ticket: int, attempt: Attempt) -> None:
        self._now += 1
        self._most[0] = max(self._most[0], self._now)
        self._session.submit(ticket, attempt)

    def wait(self, seconds: float | None) -> Sequence[tuple[int, Outcome]]:
        done = self._session.wait(seconds)
        self._now -= len(done)
        return done

    def close(self) -> None:
        self._session.close()


class Counting(Executor):
    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.most = [0]

    def session(self) -> Session:
        return CountingSession(self._executor.session(), self.most)


def test_many_chains_in_local_workers(local: ExecutorLocal) -> None:
    """Of 2,000 brief chains few are in flight at a time, in two processes; each is handled soon."""
    counting = Counting(local)
    backlog: list[int] = []
    submitted = 0

    def begun(task: Task) -> None:
        nonlocal submitted
        submitted += 1

    flow = quiet_flow(counting)
    for _ in range(MANY):
        flow.task.add(where, callback=begun)
    queue = flow.task.queue
    queue[MANY // 2].callback = lambda task: backlog.append(
        sum(each.status == "In progress" for each in queue)
    )
    flow.start(mode="parallel")
    assert {task.status for task in queue} == {"Completed"}
    # Two that run, and what waits behind each of them.
    most = 2 * (1 + MOST)
    assert 2 < counting.most[0] <= most
    assert submitted == MANY - 1
    # And those that ended at the same time as the one that is told of.
    assert backlog[0] <= 2 * most
    assert 1 <= len(set(flow.result_storage())) <= 2


class Inline(FuturesExecutor):
    """Runs what it is given at once, as a process would; knows what still lives of it."""

    def __init__(self) -> None:
        self.living: WeakSet[Future[Any]] = WeakSet()
        self.most = 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args, **kwargs))
        self.living.add(future)
        self.most = max(self.most, len(self.living))
        return future


def test_many_chains_in_an_executor_of_futures() -> None:
    """Of 2,000 chains the futures and pickled results of 16 live at a time."""
    inline = Inline()
    flow = quiet_flow(ExecutorFutures(inline, in_flight=16))
    flow.task.add([where] * MANY)
    flow.start(mode="parallel")
    assert {task.status for task in flow.result_task()} == {"Completed"}
    assert inline.most == 16
    assert len(inline.living) == 0


class Forgetful(StorageDefault):
    """Keeps no value."""

    def post(self, key: str, context: Context, *args: Any, **kwargs: Any) -> None: ...


@action
def reversed_bytes(initial_context: Context) -> bytes:
    """Return as much as came."""
    value: bytes = initial_context.storage[::-1]
    return value


class Watch:
    """Measures what the run holds while its tasks end, and forgets their results."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._count = 0
        self.after_first = 0

    def __call__(self, task: Task) -> None:
        task.current_context = None
        self._count += 1
        if self._count == self._first:
            tracemalloc.reset_peak()
            self.after_first = tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("kind", ["local", "futures"])
def test_memory_is_flat(kind: str, local: ExecutorLocal) -> None:
    """From the 500th task on only a task's record is added, no input and no result."""
    executor: Any = local if kind == "local" else ExecutorFutures(Inline(), in_flight=4)
    flow = quiet_flow(executor, storage=Forgetful())
    watch = Watch(500)
    for _ in range(1_500):
        flow.task.add(reversed_bytes, initial_context=bytes(PAYLOAD), callback=watch)
    tracemalloc.start()
    try:
        flow.start(mode="parallel")
        end, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {task.status for task in flow.result_task()} == {"Completed"}
    assert (end - watch.after_first) / 1_000 < 1_000  # bytes a task
    # Each attempt in flight: its input, its result, and both pickled.
    assert peak - watch.after_first < 1_000 * 1_000 + 4 * 4 * PAYLOAD + 200_000


def children() -> set[int]:
    """Return the living processes that this one started."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_never_more_processes_than_asked_for(local: ExecutorLocal) -> None:
    """Two at any moment, also while some die, time out, and new ones are started."""

    @action
    def dying() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @action(timeout=0.1)
    def late() -> None:
        signal.pause()

    before = children()
    counts: set[int] = set()
    flow = quiet_flow(local)
    for step in [where, dying, where, late, where] * 4:
        flow.task.add(step, callback=lambda task: counts.add(len(children() - before)))
    flow.start(mode="parallel")
    statuses = [task.status for task in flow.result_task()]
    assert statuses == ["Completed", "Failed", "Completed", "Failed", "Completed"] * 4
    assert counts <= {0, 1, 2}
    assert 2 in counts


MEGABYTE = 1_000_000


class Crossings:
    """Counts the megabytes that go to workers and come from them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dotflow.workers.worker import Worker

        self.out = self.back = 0
        hold, read = Worker.hold, Worker.read

        def counted_hold(worker: Worker, message: Any, body: Any = b"") -> None:
            pieces = (body,) if isinstance(body, bytes) else body
            self.out += sum(map(len, pieces)) // MEGABYTE
            hold(worker, message, body)

        def counted_read(worker: Worker) -> Any:
            frame = read(worker)
            self.back += 0 if frame is None else len(frame.body) // MEGABYTE
            return frame

        monkeypatch.setattr(Worker, "hold", counted_hold)
        monkeypatch.setattr(Worker, "read", counted_read)


@action
def made() -> bytes:
    """Make 5 MB."""
    return bytes(5 * MEGABYTE)


@action
def handed_on(previous_context: Context) -> bytes:
    """Return what came."""
    value: bytes = previous_context.storage
    return value


@action(retry=2, retry_delay=0)
def second_time(previous_context: Context, calls: Any = []) -> bytes:  # noqa: B006 - counts
    """Fail, and then give what came."""
    calls.append(1)
    if len(calls) == 1:
        raise ValueError("the first time")
    value: bytes = previous_context.storage
    return value


@action
def indifferent() -> int:
    """Want nothing."""
    return 1


@action
def with_initial(initial_context: Context) -> int:
    """Want what the task was added with."""
    return len(initial_context.storage)


@pytest.mark.parametrize(
    ("steps", "out", "back"),
    [
        ([made], 0, 5),
        ([made, handed_on, handed_on], 10, 15),
        ([made, indifferent, handed_on], 0, 5),
        ([indifferent, with_initial], 3, 0),
        ([made, second_time], 10, 10),
    ],
)
def test_contexts_cross_only_where_they_must(
    steps: list[Any], out: int, back: int, local: ExecutorLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result comes to the run once; out goes what a step asks for, once an attempt."""
    crossings = Crossings(monkeypatch)
    flow = quiet_flow(local)
    flow.task.add(steps, group_name="chain", initial_context=bytes(3 * MEGABYTE))
    flow.task.add(indifferent, group_name="another")
    flow.start(mode="parallel")
    assert {task.status for task in flow.result_task()} == {"Completed"}
    assert (crossings.out, crossings.back) == (out, back)


class Weighed:
    """Counts how often it was pickled in this process."""

    pickled = 0

    def __reduce__(self) -> Any:
        type(self).pickled += 1
        return list, ()


def test_a_context_is_pickled_once_for_an_attempt(local: ExecutorLocal) -> None:
    """Not once more for the storage, nor to look whether it travels."""
    Weighed.pickled = 0
    flow = quiet_flow(local)
    flow.task.add([with_initial] * 3, initial_context=[Weighed()])
    flow.start(mode="parallel")
    assert flow.result_storage() == [1, 1, 1]
    assert Weighed.pickled == 3


LARGE = 50 * MEGABYTE


@action
def peaks(initial_context: Context) -> tuple[int, int]:
    """Return the worker's peak of memory above what it had before."""
    return peak(), len(initial_context.storage)


@action
def large_result() -> bytes:
    """Return a large value, and begin to measure."""
    value = bytes(LARGE // 1000) * 1000
    reset_peak()
    return value


@action
def reset() -> None:
    """Begin to measure."""
    reset_peak()


def reset_peak() -> None:
    """Begin to measure the peak of this process."""
    import dotflow

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    dotflow.base = resident("VmRSS")  # type: ignore[attr-defined]


def peak() -> int:
    """Return by how much the peak is above what was there."""
    import dotflow

    return resident("VmHWM") - int(dotflow.base)  # type: ignore[attr-defined]


def resident(field: str) -> int:
    """Read a size of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="cannot measure peaks of memory here"
)
def test_memory_of_a_large_value() -> None:
    """On its way out and back no process holds it more than thrice."""
    local = ExecutorLocal(workers=1)

    def run(step: Any, initial: Any = None) -> Any:
        flow = quiet_flow(local)
        flow.task.add(step, initial_context=initial)
        reset_peak()
        flow.start(mode="parallel")
        assert flow.result_task()[0].status == "Completed", flow.result_task()[0].errors
        return flow.result_storage()[0]

    value = bytes(LARGE)
    run(reset)
    there, size = run(peaks, value)
    assert size == LARGE
    assert there < 2.5 * LARGE  # as received, and the value
    assert peak() < 0.5 * LARGE  # nothing beside the value
    assert len(run(large_result)) == LARGE
    assert peak() < 2.5 * LARGE
    assert run(worker_peak) < 0.5 * LARGE
    local.close()


@action
def worker_peak() -> int:
    """Return the peak since the last task."""
    return peak()
