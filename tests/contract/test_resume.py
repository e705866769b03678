"""Contract section 11.3, and design section 6 that stands over it: ids, checkpoints, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.storage import Storage
from dotflow.core.exception import InputChangedError, UnstableInput
from dotflow.core.fingerprint import read_fingerprint
from dotflow.providers import StorageDefault, StorageFile, StorageSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from dotflow import Task

Run = Any
Recorder = Any


class OldStorage(Storage):
    """A storage of 1.x: three methods, two arguments."""

    def __init__(self) -> None:
        self.kept: dict[str, Context] = {}

    def post(self, key: str, context: Context) -> None:  # type: ignore[override]
        """Store."""
        self.kept[key] = context

    def get(self, key: str) -> Context:
        """Return."""
        return self.kept.get(key, Context())

    def key(self, task: Task) -> str:
        """Name."""
        return f"{task.workflow_id}-{task.task_id}"


class Steps:
    """Three steps that write down their runs in a file, and fail where a file says so."""

    def __init__(self, folder: Path) -> None:
        self.tally = folder / "tally"
        self.broken = folder / "broken"
        self.tally.touch()

    @property
    def ran(self) -> str:
        """Return what ran since the last look."""
        text = self.tally.read_text()
        self.tally.write_text("")
        return "".join(sorted(text))

    def break_at(self, letters: str) -> None:
        """Let these steps fail from now on."""
        self.broken.write_text(letters)

    def make(self, letter: str, value: Any = ...) -> Any:
        """Make a step that gives `value`, or what it saw with its own letter."""
        tally, broken = self.tally, self.broken

        def step(previous_context: Context) -> Any:
            with tally.open("a") as file:
                file.write(letter)
            if broken.exists() and letter in broken.read_text():
                raise ValueError(letter)
            return f"{previous_context.storage or ''}{letter}" if value is ... else value

        step.__name__ = letter
        return action(step)


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    """Return steps that count their runs."""
    return Steps(tmp_path)


@pytest.fixture(params=["memory", "file", "sql", "old"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Return each kind of storage in turn."""
    makers: dict[str, Callable[[], Storage]] = {
        "memory": StorageDefault,
        "file": lambda: StorageFile(path=tmp_path / "kept"),
        "sql": lambda: StorageSQL(f"sqlite:///{tmp_path}/kept.db"),
        "old": OldStorage,
    }
    made = makers[request.param]()
    yield made
    if isinstance(made, StorageSQL):
        made.close()


def _flow(
    storage: Storage, steps: list[Any], log: Any, workflow_id: Any = "etl", **add: Any
) -> DotFlow:
    flow = DotFlow(config=Config(storage=storage, log=log), workflow_id=workflow_id)
    flow.task.add(steps, group_name="group", **add)
    return flow


def test_resume_goes_on_where_the_run_failed(
    mode: str, storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """Another flow with the same id restores what completed and runs the rest, in every mode."""
    queue = [steps.make("a"), steps.make("b"), steps.make("c")]
    steps.break_at("b")
    first = _flow(storage, queue, silent_log)
    run(first, mode)
    again = ["Completed", "Failed", "Completed" if mode == "parallel" else "Not started"]
    assert [task.status for task in first.result_task()] == again
    steps.break_at("")
    assert steps.ran == ("abc" if mode == "parallel" else "ab")
    second = _flow(storage, queue, silent_log)
    run(second, mode, resume=True)
    assert steps.ran == ("b" if mode == "parallel" else "bc")
    assert [task.status for task in second.result_task()] == ["Completed"] * 3
    assert second.result_storage() == (
        ["a", "b", "c"] if mode == "parallel" else ["a", "ab", "abc"]
    )


def test_resume_with_groups(mode: str, steps: Steps, run: Run, silent_log: Any) -> None:
    """Each group goes on where it failed, its restored context feeding the next task."""
    storage = StorageDefault()
    steps.break_at("b")

    def make() -> DotFlow:
        flow = DotFlow(config=Config(storage=storage, log=silent_log), workflow_id="etl")
        flow.task.add([steps.make("a"), steps.make("b")], group_name="one")
        flow.task.add([steps.make("c"), steps.make("d")], group_name="two")
        return flow

    run(make(), mode)
    steps.break_at("")
    assert steps.ran == "abcd"
    flow = make()
    run(flow, mode, resume=True)
    assert steps.ran == "b"
    assert flow.result_storage() == ["a", "ab", "c", "cd"]


def test_resume_after_a_completed_run_restores_all(
    mode: str, steps: Steps, run: Run, silent_log: Any
) -> None:
    """After a completed run a resume runs no step and no task callback, and succeeds."""
    storage = StorageDefault()
    queue = [steps.make("a"), steps.make("b")]
    run(_flow(storage, queue, silent_log), mode)
    assert steps.ran == "ab"
    outcome: list[str] = []
    flow = _flow(storage, queue, silent_log, callback=lambda task: outcome.append(task.name))
    run(flow, mode, resume=True, on_success=lambda tasks: outcome.append("success"))
    assert steps.ran == ""
    assert outcome == ["success"]
    assert [task.status for task in flow.result_task()] == ["Completed", "Completed"]
    assert flow.result_storage()[0] == "a"


@pytest.mark.parametrize("value", [None, 0, "", [], False])
def test_a_completed_step_is_never_run_again(
    value: Any, storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """Whatever a completed step returned, None included, it is restored and not run."""
    queue = [steps.make("a", value), steps.make("b")]
    steps.break_at("b")
    run(_flow(storage, queue, silent_log))
    steps.break_at("")
    assert steps.ran == "ab"
    flow = _flow(storage, queue, silent_log)
    run(flow, resume=True)
    assert steps.ran == "b"
    assert flow.result_storage()[0] == value


def test_a_failed_step_always_runs_again(
    storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """A step that failed twice is not taken for completed; its value is its own, once."""
    queue = [steps.make("a", [1]), steps.make("b", (2, 3))]
    steps.break_at("b")
    run(_flow(storage, queue, silent_log), resume=True)
    run(_flow(storage, queue, silent_log), resume=True)
    assert steps.ran == "abb"
    steps.break_at("")
    for expected in ("b", ""):
        flow = _flow(storage, queue, silent_log)
        run(flow, resume=True)
        assert steps.ran == expected
        assert flow.result_storage() == [[1], (2, 3)]


@pytest.mark.parametrize("value", [None, "value"])
def test_a_step_whose_record_was_not_written_runs_again(
    value: Any, steps: Steps, run: Run, silent_log: Any
) -> None:
    """Context and record come in one call; where it fails, no later one counts the task."""
    calls: list[list[str]] = []

    class FullOnce(StorageDefault):
        def post_all(self, contexts: Mapping[str, Context]) -> None:
            calls.append(list(contexts))
            if len(calls) == 1:
                raise OSError(28, "No space left on device")
            super().post_all(contexts)

    storage = FullOnce()
    queue = [steps.make("a", value), steps.make("b", value)]
    first = _flow(storage, queue, silent_log)
    run(first, "sequential", keep_going=True)
    tasks = first.result_task()
    assert [task.status for task in tasks] == ["Failed", "Completed"]
    assert calls == [[storage.key(task), "etl-_run"] for task in tasks]
    assert steps.ran == "ab"
    second = _flow(storage, queue, silent_log)
    run(second, "sequential", resume=True, keep_going=True)
    assert "a" in steps.ran
    assert [task.status for task in second.result_task()] == ["Completed", "Completed"]


def test_keep_going_and_resume(
    mode: str, storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """A failed task is run again, and with it all that follow in its chain; no other is."""

    def make() -> DotFlow:
        flow = DotFlow(config=Config(storage=storage, log=silent_log), workflow_id="etl")
        flow.task.add([steps.make(letter) for letter in "abcd"], group_name="one")
        flow.task.add([steps.make(letter) for letter in "ef"], group_name="two")
        return flow

    steps.break_at("b")
    first = make()
    run(first, mode, keep_going=True, resume=True)
    assert first.result_storage() == ["a", None, "c", "cd", "e", "ef"]
    steps.break_at("")
    assert steps.ran == "abcdef"
    second = make()
    run(second, mode, keep_going=True, resume=True)
    assert steps.ran == "bcd"
    assert second.result_storage() == ["a", "ab", "abc", "abcd", "e", "ef"]
    assert [task.restored for task in second.result_task()] == [True, *[False] * 3, True, True]
    third = make()
    run(third, mode, resume=True)
    assert steps.ran == ""
    assert third.result_storage() == second.result_storage()


def test_what_is_run_again_is_counted_as_run(
    mode: str, steps: Steps, run: Run, recorder: Recorder
) -> None:
    """A task that completed before and is run again has started, and was not restored."""

    def make() -> DotFlow:
        flow = DotFlow(config=recorder.config(), workflow_id="etl")
        flow.task.add([steps.make(letter) for letter in "abc"], group_name="one")
        flow.task.add(steps.make("d"), group_name="two")
        return flow

    steps.break_at("b")
    run(make(), mode, keep_going=True)
    steps.break_at("")
    recorder.clear()
    run(make(), mode, resume=True)
    started = [event.task for event in recorder.of("tracer.start_task")]
    assert started == ["b", "c"]
    assert recorder.count("metrics.task_completed") == 2
    assert recorder.count("notify", "Completed") == 4
    assert recorder.names("c", without=("server.create_task",)) == [
        *("notify", "log.info"),  # added
        *("tracer.start_task", "notify", "log.info"),
        *("storage.post", "notify", "log.info", "metrics.task_completed"),
        *("tracer.end_task", "server.update_task"),
    ]


@pytest.mark.parametrize("before", [None, 60], ids=["none", "value"])
@pytest.mark.parametrize("after", [None, 70], ids=["none", "value"])
def test_what_is_run_again_counts_as_it_ended(
    before: int | None, after: int | None, storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """A later resume restores what the task made last, be it nothing, and what it failed at not."""
    returned = [before]

    def total(previous_context: Context) -> int | None:
        return steps.make("b", returned[-1]).func(previous_context)

    def make() -> DotFlow:
        return _flow(storage, [steps.make("a"), action(total), steps.make("c", 1)], silent_log)

    steps.break_at("a")
    run(make(), keep_going=True)
    assert steps.ran == "abc"
    returned.append(after)
    steps.break_at("b")
    run(make(), resume=True)
    assert steps.ran == "ab"
    steps.break_at("")
    run(make(), resume=True)
    assert steps.ran == "bc"
    flow = make()
    run(flow, resume=True)
    assert steps.ran == ""
    assert flow.result_storage() == ["a", after, 1]


def test_a_step_that_is_new_has_what_follows_run_again(
    storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """A step that was put in between feeds what came after it before."""
    steps.break_at("c")
    run(_flow(storage, [steps.make("a"), steps.make("b"), steps.make("c")], silent_log))
    steps.break_at("")
    assert steps.ran == "abc"
    queue = [steps.make("a"), steps.make("x"), steps.make("b"), steps.make("c")]
    flow = _flow(storage, queue, silent_log)
    run(flow, resume=True)
    assert steps.ran == "bcx"
    assert flow.result_storage() == ["a", "ax", "axb", "axbc"]


def test_a_run_that_is_killed_leaves_no_former_value_to_the_next(
    script: Any, tmp_path: Path
) -> None:
    """What followed from a task's former value is not restored beside its new one."""
    program = f"""
        import os, sys
        from dotflow import Config, DotFlow, action
        from dotflow.providers import LogDefault, StorageFile

        moment = sys.argv[1]

        @action
        def orders():
            if moment == "down":
                raise ConnectionError("the shop is down")
            return [10, 20, 30]

        @action
        def total(previous_context):
            return sum(previous_context.storage or [])

        def killed(task):
            if moment == "killed":
                os._exit(7)

        log = LogDefault(output="file", path=os.devnull)
        config = Config(log=log, storage=StorageFile(path={str(tmp_path / "kept")!r}))
        flow = DotFlow(config=config, workflow_id="nightly")
        flow.task.add(orders, callback=killed)
        flow.task.add(total)
        flow.start(resume=True, keep_going=True)
        print(flow.result_storage(), [task.restored for task in flow.result_task()])
    """
    ended = [script(program, moment) for moment in ("down", "killed", "up")]
    assert [each.returncode for each in ended] == [0, 7, 0], [each.stderr for each in ended]
    assert ended[0].stdout == "[None, 0] [False, False]\n"
    assert ended[2].stdout == "[[10, 20, 30], 60] [True, False]\n"


def test_resume_without_an_id(steps: Steps, in_process_mode: str, quiet: Config, run: Run) -> None:
    """The same flow can go on from its own results, and so again."""
    flow = DotFlow(config=quiet)
    flow.task.add([steps.make("a"), steps.make("b"), steps.make("c")])
    steps.break_at("b")
    run(flow, in_process_mode, keep_going=True)
    run(flow, in_process_mode, keep_going=True, resume=True)
    assert steps.ran == "abbcc"
    steps.break_at("c")
    run(flow, in_process_mode, resume=True)
    assert steps.ran == "bc"
    steps.break_at("")
    run(flow, in_process_mode, resume=True)
    assert steps.ran == "c"
    assert flow.result_storage() == ["a", "ab", "abc"]


def test_a_run_without_resume_starts_anew(
    storage: Storage, steps: Steps, run: Run, silent_log: Any
) -> None:
    """Without resume all steps run; a later resume never mixes the two runs."""
    queue = [steps.make("a"), steps.make("b"), steps.make("c")]
    run(_flow(storage, queue, silent_log))
    assert steps.ran == "abc"
    steps.break_at("b")
    run(_flow(storage, queue, silent_log))
    assert steps.ran == "ab"
    steps.break_at("")
    run(_flow(storage, queue, silent_log), resume=True)
    assert steps.ran == "bc"


def test_first_run_with_resume_runs_all(mode: str, steps: Steps, run: Run, silent_log: Any) -> None:
    """With nothing stored, resume=True is an ordinary run."""
    flow = _flow(StorageDefault(), [steps.make("a"), steps.make("b")], silent_log)
    run(flow, mode, resume=True)
    assert steps.ran == "ab"
    assert [task.status for task in flow.result_task()] == ["Completed", "Completed"]


def test_one_workflow_is_not_cleared_by_another(steps: Steps, run: Run, silent_log: Any) -> None:
    """A run of the id etl clears nothing of etl-daily, and the other way round."""
    storage = StorageDefault()
    queue = [steps.make("a"), steps.make("b")]
    for workflow_id in ("etl", "etl-daily", "etl", "etl-daily", "etl"):
        run(_flow(storage, queue, silent_log, workflow_id))
    assert steps.ran == "a" * 5 + "b" * 5
    for workflow_id in ("etl-daily", "etl"):
        run(_flow(storage, queue, silent_log, workflow_id), resume=True)
    assert steps.ran == ""


def test_uuid_and_its_text_are_given_ids(steps: Steps, run: Run, silent_log: Any) -> None:
    """A UUID given as workflow id makes checkpoints as a text does."""
    storage, workflow_id = StorageDefault(), uuid4()
    queue = [steps.make("a"), steps.make("b")]
    run(_flow(storage, queue, silent_log, workflow_id))
    run(_flow(storage, queue, silent_log, workflow_id), resume=True)
    assert steps.ran == "ab"


def test_id_from_the_environment_makes_checkpoints(
    steps: Steps, run: Run, silent_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WORKFLOW_ID is a given id: a resume finds the checkpoints."""
    monkeypatch.setenv("WORKFLOW_ID", "from-environment")
    storage = StorageDefault()
    queue = [steps.make("a"), steps.make("b")]
    run(_flow(storage, queue, silent_log, None))
    run(_flow(storage, queue, silent_log, None), resume=True)
    assert steps.ran == "ab"


def _ids(steps: list[Any], silent_log: Any, workflow_id: Any, **add: Any) -> list[str]:
    flow = _flow(StorageDefault(), steps, silent_log, workflow_id, **add)
    return [task.task_id for task in flow.task.queue]


def test_ids_are_stable_with_a_given_id(steps: Steps, silent_log: Any) -> None:
    """The same queue has the same 26-character ids, unique within the flow, at each making."""
    queue = [steps.make("a"), steps.make("b"), steps.make("a"), steps.make("a")]
    one = _ids(queue, silent_log, "etl")
    assert one == _ids(queue, silent_log, "etl")
    assert len(set(one)) == 4
    assert {len(task_id) for task_id in one} == {26}
    assert not set(one) & set(_ids(queue, silent_log, "other"))


def test_ids_are_random_without_a_given_id(steps: Steps, silent_log: Any) -> None:
    """Without a given workflow id no two flows share an id."""
    queue = [steps.make("a"), steps.make("b")]
    assert not set(_ids(queue, silent_log, None)) & set(_ids(queue, silent_log, None))


def test_an_added_step_moves_no_other_id(steps: Steps, silent_log: Any) -> None:
    """Ids come from workflow, group, name and the how-manieth of that name, not the position."""
    a, b, new = steps.make("a"), steps.make("b"), steps.make("new")
    before = _ids([a, b, a], silent_log, "etl")
    after = _ids([new, a, new, b, a], silent_log, "etl")
    assert [after[1], after[3], after[4]] == before


def test_ids_after_clear_are_the_same(steps: Steps, silent_log: Any) -> None:
    """A queue that is cleared and filled again has the ids it had."""
    flow = _flow(StorageDefault(), [steps.make("a")] * 2, silent_log)
    before = [task.task_id for task in flow.task.queue]
    flow.task.clear()
    flow.task.add([steps.make("a")] * 2, group_name="group")
    assert [task.task_id for task in flow.task.queue] == before


class TestFingerprint:
    """What a resume does when the input has changed."""

    @staticmethod
    def first_run(storage: Storage, steps: Steps, log: Any, **kwargs: Any) -> None:
        """Run with input 1, and fail at the second step."""
        steps.break_at("b")
        _flow(storage, [steps.make("a"), steps.make("b")], log, initial_context=1).start(**kwargs)
        steps.break_at("")
        assert steps.ran == "ab"

    @staticmethod
    def flow(storage: Storage, steps: Steps, log: Any, initial: Any) -> DotFlow:
        """Make the same flow with other input."""
        return _flow(storage, [steps.make("a"), steps.make("b")], log, initial_context=initial)

    @pytest.mark.parametrize("policy", ["reuse", "reset", "raise"])
    def test_same_input_goes_on(
        self, policy: str, storage: Storage, steps: Steps, run: Run, silent_log: Any
    ) -> None:
        """With equal input every policy goes on from the checkpoints."""
        self.first_run(storage, steps, silent_log, resume=True)
        run(self.flow(storage, steps, silent_log, 1), resume=True, on_input_change=policy)
        assert steps.ran == "b"

    @pytest.mark.parametrize("first", [{"resume": True}, {}], ids=["resumed", "plain"])
    def test_raise(
        self,
        first: dict[str, Any],
        mode: str,
        storage: Storage,
        steps: Steps,
        run: Run,
        silent_log: Any,
    ) -> None:
        """Policy raise with changed input: InputChangedError with the id, before anything runs.

        Every run with a given id keeps its fingerprint, whether it resumed or not.
        """
        self.first_run(storage, steps, silent_log, **first)
        flow = self.flow(storage, steps, silent_log, 2)
        with pytest.raises(InputChangedError, match="etl"):
            run(flow, mode, resume=True, on_input_change="raise")
        assert steps.ran == ""
        assert [task.status for task in flow.result_task()] == ["Not started"] * 2
        run(self.flow(storage, steps, silent_log, 1), resume=True, on_input_change="raise")
        assert steps.ran == "b"

    def test_raise_calls_no_start_event(self, steps: Steps, recorder: Recorder) -> None:
        """A run that was refused for its input did not start: no events."""
        storage = StorageDefault()
        config = recorder.config(storage=storage)
        self.first_run(storage, steps, config.log)
        flow = DotFlow(config=config, workflow_id="etl")
        flow.task.add([steps.make("a"), steps.make("b")], initial_context=2, group_name="group")
        recorder.clear()
        with pytest.raises(InputChangedError):
            flow.start(resume=True, on_input_change="raise")
        assert recorder.events == []

    def test_reuse_keeps_checkpoints_and_fingerprint(
        self, storage: Storage, steps: Steps, run: Run, silent_log: Any
    ) -> None:
        """Policy reuse goes on from the checkpoints, and keeps the old fingerprint."""
        self.first_run(storage, steps, silent_log, resume=True, fingerprint="v1")
        assert read_fingerprint(storage, "etl") == "v1"
        steps.break_at("b")
        flow = self.flow(storage, steps, silent_log, 1)
        run(flow, resume=True, fingerprint="v2", on_input_change="reuse")
        assert steps.ran == "b"
        assert read_fingerprint(storage, "etl") == "v1"

    def test_reuse_is_the_default(
        self, storage: Storage, steps: Steps, run: Run, silent_log: Any
    ) -> None:
        """Without on_input_change a changed input reuses the checkpoints."""
        self.first_run(storage, steps, silent_log, resume=True)
        run(self.flow(storage, steps, silent_log, 2), resume=True)
        assert steps.ran == "b"

    @pytest.mark.parametrize("storage", ["memory", "file"], indirect=True)
    def test_reset_runs_all(
        self, storage: Storage, steps: Steps, run: Run, silent_log: Any
    ) -> None:
        """Policy reset clears the workflow, stores the new fingerprint and runs all."""
        self.first_run(storage, steps, silent_log, resume=True, fingerprint="v1")
        flow = self.flow(storage, steps, silent_log, 1)
        run(flow, resume=True, fingerprint="v2", on_input_change="reset")
        assert steps.ran == "ab"
        assert read_fingerprint(storage, "etl") == "v2"
        run(
            self.flow(storage, steps, silent_log, 1),
            resume=True,
            fingerprint="v2",
            on_input_change="raise",
        )
        assert steps.ran == ""

    def test_given_fingerprint_stands_for_the_input(
        self, storage: Storage, steps: Steps, run: Run, silent_log: Any
    ) -> None:
        """With fingerprint= the input itself is not looked at."""
        self.first_run(storage, steps, silent_log, resume=True, fingerprint="v1")
        flow = self.flow(storage, steps, silent_log, object())
        run(flow, resume=True, fingerprint="v1", on_input_change="raise")
        assert steps.ran == "b"

    def test_input_without_a_stable_form(self, steps: Steps, run: Run, silent_log: Any) -> None:
        """Resuming with an input that has no stable form asks for fingerprint=."""
        storage = StorageDefault()
        with pytest.raises(UnstableInput, match="fingerprint="):
            run(self.flow(storage, steps, silent_log, object()), resume=True)
        assert steps.ran == ""

    @pytest.mark.parametrize("workflow_id", [None, "etl"])
    def test_input_without_a_stable_form_runs_without_resume(
        self, workflow_id: str | None, steps: Steps, run: Run, silent_log: Any
    ) -> None:
        """Without resume such an input is no error, with and without a given id."""
        flow = _flow(
            StorageDefault(),
            [steps.make("a")],
            silent_log,
            workflow_id,
            initial_context=object(),
        )
        run(flow)
        assert steps.ran == "a"
        assert flow.result_task()[0].status == "Completed"


def test_checkpoint_that_cannot_be_read_fails_its_task(
    steps: Steps, run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    """A corrupt checkpoint fails its task with a clear error; it counts as started and failed."""
    storage = StorageFile(path=tmp_path / "kept")
    queue = [steps.make("a"), steps.make("b")]
    first = DotFlow(config=recorder.config(storage=storage), workflow_id="etl")
    first.task.add(queue, group_name="group")
    steps.break_at("b")
    run(first)
    [document] = [
        path
        for path in storage.path.rglob("*")
        if path.is_file() and first.task.queue[0].task_id in path.name and path.suffix == ".json"
    ]
    document.write_text("{ not json")
    recorder.clear()
    second = DotFlow(config=recorder.config(storage=storage), workflow_id="etl")
    second.task.add(queue, group_name="group")
    run(second, resume=True)
    task = second.result_task()[0]
    assert task.status == "Failed"
    assert document.name in task.errors[-1].message
    assert recorder.count("metrics.task_failed") == 1
    assert recorder.count("tracer.start_task") == recorder.count("tracer.end_task") == 1
