"""`await flow.start_async(...)`: the event loop goes on, and a cancelled run ends in order."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from waiting import is_gone, wait_for

from dotflow import DotFlow, action
from dotflow.core.exception import ExecutionModeNotExist, RunInProgress
from dotflow.core.workflow import Manager
from dotflow.providers import StorageFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from conftest import Recorder

    from dotflow import Config, Task

ALL = ("sequential", "sequential_group", "background", "parallel")
AWAITED = ("sequential", "sequential_group", "parallel")
WHO: ContextVar[str] = ContextVar("who", default="nobody")


@action
def one() -> int:
    """Return 1."""
    return 1


@action
async def two(previous_context: Any) -> Any:
    """Return what comes, and 2."""
    await asyncio.sleep(0)
    return [previous_context.storage, 2]


@action
def fails() -> NoReturn:
    """Fail."""
    raise ValueError("no")


def flow_of(config: Config, *steps: Any, **options: Any) -> DotFlow:
    """Return a workflow of these steps."""
    flow = DotFlow(config=config, **options)
    flow.task.add(list(steps))
    return flow


async def until(condition: Callable[[], object]) -> None:
    """Wait in the event loop for what happens outside of it."""
    while not condition():  # noqa: ASYNC110 - no event of the loop's tells
        await asyncio.sleep(0.001)


def statuses(flow: DotFlow) -> list[str]:
    """Return the status of each task."""
    return [str(task.status) for task in flow.result_task()]


@pytest.mark.parametrize("mode", ALL)
def test_it_returns_the_manager(recorder: Recorder, mode: Any) -> None:
    """Its events, tasks and callbacks are those of `start`, in the same order."""
    ended: list[list[str]] = []

    def note(tasks: list[Task]) -> None:
        ended.append([task.name for task in tasks])

    def names() -> list[tuple[str, str | None]]:
        found = [(event.name, event.task) for event in recorder.events]
        recorder.clear()
        return sorted(found, key=str) if mode == "parallel" else found

    flow = flow_of(recorder.config(), one, one)
    manager = flow.start(mode=mode, on_success=note)
    if mode == "background":
        manager.thread.join()
    expected = names()

    async def main() -> Manager:
        manager = await other.start_async(mode=mode, on_success=note)
        if mode == "background":
            await asyncio.to_thread(manager.thread.join)
        return manager

    other = flow_of(recorder.config(), one, one)
    awaited = asyncio.run(main())
    assert type(awaited) is Manager
    assert awaited.tasks == other.result_task()
    assert statuses(other) == ["Completed", "Completed"]
    assert names() == expected
    assert ended == [["one", "one"]] * 2
    assert hasattr(awaited, "thread") == (mode == "background")


@pytest.mark.parametrize("mode", AWAITED)
def test_the_loop_goes_on(quiet: Config, tmp_path: Path, mode: Any) -> None:
    """A step that blocks until the event loop has gone on is not waited for in the loop."""
    sign = tmp_path / "sign"

    @action
    def blocks() -> str:
        until = time.monotonic() + 60
        while not sign.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return "went on" if sign.exists() else "stood still"

    async def main() -> list[Any]:
        flow = flow_of(quiet, blocks)
        run = asyncio.create_task(flow.start_async(mode=mode))
        await until(lambda: statuses(flow) == ["In progress"])
        sign.touch()
        await run
        return flow.result_storage()

    assert asyncio.run(main()) == ["went on"]


def test_many_at_once(quiet: Config) -> None:
    """A hundred of them, each with its own context variables, which do not mix."""

    @action
    async def step() -> str:
        await asyncio.sleep(0.01)
        return WHO.get()

    async def request(number: int) -> str:
        WHO.set(f"request {number}")
        flow = flow_of(quiet, step)
        await flow.start_async()
        assert WHO.get() == f"request {number}"
        (found,) = flow.result_storage()
        return str(found)

    async def main() -> list[str]:
        return await asyncio.gather(*map(request, range(100)))

    assert asyncio.run(main()) == [f"request {number}" for number in range(100)]


@pytest.mark.parametrize("mode", AWAITED)
def test_context_variables_reach_steps_and_callbacks(quiet: Config, mode: Any) -> None:
    """What the task has set is what the steps see, and what callbacks see."""
    seen: list[str] = []

    @action
    def step() -> str:
        return WHO.get()

    async def main() -> list[Any]:
        WHO.set("me")
        flow = flow_of(quiet, step)
        await flow.start_async(mode=mode, on_success=lambda tasks: seen.append(WHO.get()))
        return flow.result_storage()

    assert asyncio.run(main()) == ["me"]
    assert seen == ["me"]


@pytest.mark.parametrize("mode", AWAITED)
def test_a_failed_run(quiet: Config, mode: Any) -> None:
    """A failed step raises nothing, as with `start`."""
    failed: list[int] = []

    async def main() -> DotFlow:
        flow = flow_of(quiet, fails)
        manager = await flow.start_async(mode=mode, on_failure=lambda tasks: failed.append(1))
        assert manager.failed
        return flow

    assert statuses(asyncio.run(main())) == ["Failed"]
    assert failed == [1]


def test_bad_options(quiet: Config) -> None:
    """They are refused with the errors of `start`, under the method's own name."""
    flow = flow_of(quiet, one)
    with pytest.raises(ExecutionModeNotExist):
        asyncio.run(flow.start_async(mode="sideways"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"DotFlow.start_async\(\) .*'workers'"):
        asyncio.run(flow.start_async(workers=2))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"DotFlow.start_async\(\) takes no positional"):
        asyncio.run(flow.start_async("parallel"))  # type: ignore[arg-type]
    assert statuses(flow) == ["Not started"]
    with pytest.raises(RuntimeError, match="no running event loop"):
        flow.start_async().send(None)


class Odd(BaseException):
    """Is no Exception."""


@pytest.mark.parametrize("error", [ValueError, StopIteration, StopAsyncIteration, SystemExit, Odd])
def test_errors_of_callbacks(quiet: Config, error: type[BaseException]) -> None:
    """What a callback raises is raised where the run is awaited, whatever it is."""

    def raises(tasks: list[Task]) -> NoReturn:
        raise error("odd")

    async def main() -> str:
        try:
            await flow.start_async(on_success=raises)
        except error as raised:
            return repr(raised)
        except RuntimeError as raised:  # a coroutine cannot raise a StopIteration
            return repr(raised.__cause__)
        return "nothing"

    flow = flow_of(quiet, one)
    assert asyncio.run(main()) == repr(error("odd"))


def test_one_run_at_a_time(quiet: Config) -> None:
    """A second one meanwhile is refused as by `start`, and afterwards returns the first."""
    go_on = threading.Event()

    @action
    def waits() -> None:
        go_on.wait(60)

    async def main() -> None:
        flow = flow_of(quiet, waits)
        run = asyncio.create_task(flow.start_async())
        await until(lambda: statuses(flow) == ["In progress"])
        with pytest.raises(RunInProgress):
            await flow.start_async()
        go_on.set()
        manager = await run
        assert await flow.start_async() is manager

    asyncio.run(main())


@pytest.mark.parametrize("mode", AWAITED)
def test_cancelled_in_a_coroutine_step(recorder: Recorder, mode: Any) -> None:
    """The step is cancelled and cleans up; the task has failed as interrupted; all is told."""
    ended: list[list[tuple[str, str, str | None]]] = []

    def note(tasks: list[Task]) -> None:
        ended.append([(t.name, t.status, t.failure.kind if t.failure else None) for t in tasks])

    async def main() -> DotFlow:
        flow = flow_of(recorder.config(), sleeps)
        flow.task.add(one)
        run = asyncio.create_task(flow.start_async(mode=mode, on_failure=note))
        await until(lambda: flow.result_task()[0].status == "In progress")
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return flow

    cleaned: list[str] = []

    @action(retry=3)
    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            cleaned.append("up")
            raise

    flow = asyncio.run(main())
    first, second = flow.result_task()
    assert first.status == "Failed"
    assert first.failure is not None
    assert (first.failure.kind, first.failure.name) == ("interrupted", "CancelledError")
    assert first.failure.message == "the coroutine that awaited the run was cancelled"
    assert cleaned == ([] if mode == "parallel" else ["up"])
    # In `parallel` the second runs beside the first, where there are two cores.
    assert (second.status == "Not started") or mode == "parallel"
    assert len(ended) == 1
    assert ended[0][0] == ("sleeps", "Failed", "interrupted")
    assert recorder.count("metrics.workflow_failed") == 1
    assert recorder.count("tracer.end_workflow") == 1
    assert recorder.count("metrics.task_failed") == statuses(flow).count("Failed")


def test_cancelled_in_a_step_that_blocks(recorder: Recorder) -> None:
    """A step that nobody can stop is abandoned: the run ends, and nothing follows when it does."""
    go_on, began = threading.Event(), threading.Event()

    @action(retry=2)
    def blocks() -> None:
        began.set()
        go_on.wait(60)
        raise ValueError("nobody hears this")

    async def main() -> DotFlow:
        flow = flow_of(recorder.config(), blocks, one)
        run = asyncio.create_task(flow.start_async())
        await asyncio.to_thread(began.wait)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return flow

    flow = asyncio.run(main())
    assert statuses(flow) == ["Failed", "Not started"]
    told = recorder.names()
    thread = next(each for each in threading.enumerate() if each.name == "dotflow-workflow")
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert recorder.names() == told
    assert statuses(flow) == ["Failed", "Not started"]


@pytest.mark.parametrize("mode", AWAITED)
def test_cancelled_between_attempts(recorder: Recorder, mode: Any) -> None:
    """A run that waits to try again ends at once, and tries no more."""

    @action(retry=2, retry_delay=60)
    def flaky() -> NoReturn:
        raise ValueError("again")

    async def main() -> DotFlow:
        flow = flow_of(recorder.config(), flaky)
        run = asyncio.create_task(flow.start_async(mode=mode))
        await until(lambda: flow.result_task()[0].status == "Retry")
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return flow

    (task,) = asyncio.run(main()).result_task()
    assert (task.status, task.retry_count) == ("Failed", 0)
    assert recorder.count("metrics.task_failed") == 1


def test_cancelled_workers_have_ended(quiet: Config, tmp_path: Path) -> None:
    """Workers that run a step are killed before the cancellation is raised."""

    @action
    def sleeps() -> None:
        import os
        from pathlib import Path

        Path(folder, str(os.getpid())).touch()
        time.sleep(60)

    def processes() -> list[int]:
        return [int(path.name) for path in tmp_path.iterdir()]

    folder = str(tmp_path)

    async def main() -> list[int]:
        flow = flow_of(quiet, sleeps, sleeps)
        run = asyncio.create_task(flow.start_async(mode="parallel"))
        await until(lambda: len(processes()) == 2)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert statuses(flow) == ["Failed", "Failed"]
        return processes()

    for process in asyncio.run(main()):
        assert is_gone(process)


def test_cancelled_before_it_begins(quiet: Config) -> None:
    """Nothing runs, and it can be started again."""
    flow = flow_of(quiet, one)

    async def main() -> None:
        run = asyncio.create_task(flow.start_async())
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert statuses(flow) == ["Not started"]
        await flow.start_async()

    asyncio.run(main())
    assert statuses(flow) == ["Completed"]


@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_cancelled_while_a_storage_opens(recorder: Recorder, tmp_path: Path, mode: Any) -> None:
    """A run that is cancelled in a call of a provider ends after that call, without a step."""
    go_on, asked = threading.Event(), threading.Event()

    class Slow(StorageFile):
        def get(self, key: str) -> Any:
            asked.set()
            go_on.wait(60)
            return super().get(key)

    ran: list[int] = []

    @action
    def step() -> None:
        ran.append(1)

    async def main() -> DotFlow:
        config = recorder.config(storage=Slow(path=str(tmp_path)))
        flow = flow_of(config, step, workflow_id="slow")
        run = asyncio.create_task(flow.start_async(mode=mode, resume=True))
        await asyncio.to_thread(asked.wait)
        run.cancel()
        await asyncio.sleep(0.02)
        assert not run.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await run
        return flow

    flow = asyncio.run(main())
    assert ran == []
    assert statuses(flow) in (["Failed"], ["Not started"])
    assert recorder.count("tracer.start_workflow") == recorder.count("tracer.end_workflow")


def test_a_second_cancellation(quiet: Config) -> None:
    """It does not wait for the end of the run, which comes all the same."""
    go_on, closing = threading.Event(), threading.Event()

    @action
    async def sleeps() -> None:
        await asyncio.sleep(60)

    def slow(tasks: list[Task]) -> None:
        closing.set()
        go_on.wait(60)

    async def main() -> Manager:
        flow = flow_of(quiet, sleeps)
        run = asyncio.create_task(flow.start_async(on_failure=slow))
        await until(lambda: flow.result_task()[0].status == "In progress")
        run.cancel()
        await asyncio.to_thread(closing.wait)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        go_on.set()
        return await flow_of(quiet, one).start_async()

    assert statuses_of(asyncio.run(main())) == ["Completed"]


def statuses_of(manager: Manager) -> list[str]:
    """Return the status of each of its tasks."""
    return [str(task.status) for task in manager.tasks]


def test_timeouts_and_groups_of_asyncio(quiet: Config) -> None:
    """`asyncio.timeout`, `wait_for` and a `TaskGroup` whose other task fails cancel it."""

    @action
    async def sleeps() -> None:
        await asyncio.sleep(60)

    async def in_timeout(flow: DotFlow) -> None:
        async with asyncio.timeout(0.05):
            await flow.start_async()

    async def in_wait_for(flow: DotFlow) -> None:
        await asyncio.wait_for(flow.start_async(), 0.05)

    async def in_group(flow: DotFlow) -> None:
        async def other() -> NoReturn:
            await asyncio.sleep(0.05)
            raise ValueError("other")

        async with asyncio.TaskGroup() as group:
            group.create_task(flow.start_async())
            group.create_task(other())

    for call, error in (
        (in_timeout, TimeoutError),
        (in_wait_for, TimeoutError),
        (in_group, ExceptionGroup),
    ):
        flow = flow_of(quiet, sleeps)
        with pytest.raises(error):
            asyncio.run(call(flow))
        assert statuses(flow) == ["Failed"]


def test_anyio_cancels_again_and_again(quiet: Config) -> None:
    """A cancel scope of anyio, as of Starlette's, ends the run too, though it waits for nothing."""
    anyio = pytest.importorskip("anyio")

    @action
    async def sleeps() -> None:
        await asyncio.sleep(60)

    async def main() -> DotFlow:
        flow = flow_of(quiet, sleeps)
        with anyio.move_on_after(0.05):
            await flow.start_async()
        return flow

    flow = asyncio.run(main())
    wait_for(lambda: statuses(flow) == ["Failed"])


def test_resume_after_a_cancellation(quiet: Config, tmp_path: Path) -> None:
    """What had completed is restored, and the interrupted step runs again."""
    quiet.storage = StorageFile(path=str(tmp_path))
    ran: list[str] = []

    @action
    def first() -> int:
        ran.append("first")
        return 1

    @action
    async def second(previous_context: Any) -> int:
        ran.append("second")
        if ran.count("second") == 1:
            await asyncio.sleep(60)
        return int(previous_context.storage) + 1

    async def main() -> list[Any]:
        flow = flow_of(quiet, first, second, workflow_id="again")
        run = asyncio.create_task(flow.start_async())
        await until(lambda: "second" in ran)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await flow.start_async(resume=True)
        return flow.result_storage()

    assert asyncio.run(main()) == [1, 2]
    assert ran == ["first", "second", "second"]


def test_inside_a_coroutine_step(quiet: Config) -> None:
    """A step may await another run; its cancellation ends that one too."""
    inner: list[DotFlow] = []

    @action
    async def sleeps() -> None:
        await asyncio.sleep(60)

    @action
    async def outer() -> None:
        inner.append(flow_of(quiet, sleeps))
        await inner[0].start_async()

    async def main() -> DotFlow:
        flow = flow_of(quiet, outer)
        run = asyncio.create_task(flow.start_async())
        await until(lambda: inner and statuses(inner[0]) == ["In progress"])
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return flow

    assert statuses(asyncio.run(main())) == ["Failed"]
    wait_for(lambda: statuses(inner[0]) == ["Failed"])


def test_nothing_is_left_behind(quiet: Config) -> None:
    """Threads and objects of awaited runs are gone with them, the failed and cancelled ones too."""

    @action
    async def sleeps() -> None:
        await asyncio.sleep(60)

    managers: list[weakref.ref[Manager]] = []

    async def once(*steps: Any) -> None:
        flow = flow_of(quiet, *steps)
        managers.append(weakref.ref(await flow.start_async()))

    async def cancelled() -> None:
        flow = flow_of(quiet, sleeps)
        run = asyncio.create_task(flow.start_async())
        await until(lambda: statuses(flow) == ["In progress"])
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)

    async def main() -> None:
        await once(one, two)
        await once(fails)
        await cancelled()

    threads = set(threading.enumerate())
    asyncio.run(main())
    gc.collect()
    assert [found() for found in managers] == [None, None]
    wait_for(lambda: set(threading.enumerate()) <= threads)


def test_the_end_of_a_program(script: Callable[..., CompletedProcess[str]]) -> None:
    """Ctrl-C cancels it by way of `asyncio.run`; an abandoned step does not hold up the exit."""
    ran = script(
        """
        import asyncio, os, signal, threading, time
        from dotflow import DotFlow, action

        @action
        def blocks():
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
            time.sleep(60)

        async def main():
            flow = DotFlow()
            flow.task.add(blocks)
            try:
                await flow.start_async(on_failure=lambda tasks: print("told", tasks[0].status))
            finally:
                print([task.status for task in flow.result_task()])

        began = time.monotonic()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - began < 30)
        """
    )
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stdout.splitlines() if not line.startswith("20")]
    assert said == ["told Failed", "['Failed']", "interrupted True"]
