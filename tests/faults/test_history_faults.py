"""The run goes on whatever becomes of the history's file, and what was dropped is counted."""

from __future__ import annotations

import logging
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from observed import RecordedRuns
from waiting import wait_for

from dotflow import action
from dotflow_otel._process import drop_counter
from dotflow_otel.history import recorder as recorder_module
from dotflow_otel.history import store, writer
from dotflow_otel.history.store import Limits, open_to_write

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@action
def step() -> int:
    """Succeed."""
    return 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place for a history."""
    return tmp_path / "history.db"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for no other process, and try again at once."""
    monkeypatch.setattr(store, "PATIENCE", 0.0)
    monkeypatch.setattr(writer, "PAUSE", 0.01)
    yield
    drop_counter.tell()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of the history."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "dotflow_otel" and record.levelno == logging.WARNING
    ]


def dropped() -> int:
    """Return how many records of the history were dropped in this process."""
    return drop_counter.total("history")


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_locked_file(path: Path, caplog: pytest.LogCaptureFixture, mode: str) -> None:
    """While another process holds the file, runs go on; all of them are there once it lets go."""
    before = dropped()
    with RecordedRuns(path) as recorded, closing(open_to_write(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            manager = recorded.run(step, mode=mode)
            assert [task.status for task in manager.tasks] == ["Completed"]
        wait_for(lambda: warnings(caplog))
        other.execute("ROLLBACK")
        runs = recorded.history().runs()
    assert [(run.status, run.completed) for run in runs] == [("completed", 1)] * 3
    assert len(warnings(caplog)) == 1
    assert "cannot be written: database is locked" in warnings(caplog)[0]
    assert dropped() == before


def test_a_file_that_is_locked_to_the_end(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the writer still waits for another process at the exit, a line says so."""
    with RecordedRuns(path) as recorded:
        recorded.run(step)
        assert recorded.recorder.flush()
        (thread,) = (each for each in enumerate_threads() if each.name == "dotflow-history")
        monkeypatch.setattr(store, "PATIENCE", 30.0)
        lets_go = Event()

        @contextmanager
        def waits(_connection: object) -> Iterator[None]:
            lets_go.wait(30)
            yield

        monkeypatch.setattr(writer, "transaction", waits)
        recorded.run(step)
        try:
            assert not recorded.recorder.close(0.05)
        finally:
            monkeypatch.undo()
            lets_go.set()
            thread.join(30)
    assert (
        f"The history {str(path)!r} was not written within 0.05 s: its disk is slow, or another "
        "program has locked it"
    ) in warnings(caplog)


def test_writes_that_fail_now_and_then(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of which some writes fail and some do not, as on a full disk, is told of once."""
    whole = writer.transaction
    failed: list[bool] = []

    def some_fail(connection: sqlite3.Connection) -> Any:
        failed.append(len(failed) % 3 == 0)
        if failed[-1]:
            raise sqlite3.OperationalError("database or disk is full")
        return whole(connection)

    with RecordedRuns(path) as recorded:
        recorded.run(step)
        recorded.recorder.flush(20)
        monkeypatch.setattr(writer, "transaction", some_fail)
        for _ in range(3):
            recorded.run(step)
            recorded.recorder.flush(20)
        assert sum(failed) > 1
        monkeypatch.setattr(writer, "transaction", whole)
        assert [run.status for run in recorded.history().runs()] == ["completed"] * 4
    assert len(warnings(caplog)) == 1


def test_no_run_waits_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the file was slow, no later run waits for its beginning to be written."""
    monkeypatch.setattr(recorder_module, "PATIENCE", 0.5)
    with RecordedRuns(path) as recorded, closing(open_to_write(path)) as other:
        monkeypatch.setattr(writer, "PAUSE", 5)
        other.execute("BEGIN IMMEDIATE")
        waited = []

        def wait(self: Event, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return False

        recorded.recorder.start()
        with monkeypatch.context() as patched:
            patched.setattr(recorder_module, "Event", type("Never", (Event,), {"wait": wait}))
            for _ in range(3):
                recorded.run(step)
        assert waited == [0.5]
        other.execute("ROLLBACK")


def test_what_does_not_fit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is no room for is counted and told; beginnings and ends of runs have room."""
    monkeypatch.setattr(recorder_module, "ROOM", 5)
    before = dropped()
    with RecordedRuns(path) as recorded, closing(open_to_write(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        recorded.run(*[step] * 50)
        lost = dropped() - before
        assert lost > 50
        # Told at the end of a run, with what else was dropped; its last line came after.
        drop_counter.tell()
        assert recorded.metric("dotflow_telemetry_dropped_total", signal="history") == lost
        other.execute("ROLLBACK")
        run, history = recorded.only()
        assert (run.status, run.tasks) == ("completed", 50)
        # 51 spans and two lines each: what is not there is counted.
        assert len(history.spans(run)) + len(history.logs(run)) + lost >= 3 * 51


@pytest.mark.parametrize("place", ["folder", "below a file", "read-only"])
def test_no_file_can_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str) -> None:
    """Where there can be no file a run goes on, and one line tells why; all is counted."""
    path = tmp_path / "history.db"
    if place == "folder":
        path.mkdir()
    elif place == "below a file":
        path.touch()
        path /= "history.db"
    else:
        path = Path("/proc/history/history.db")
    before = dropped()
    with RecordedRuns(path) as recorded:
        manager = recorded.run(step)
        assert [task.status for task in manager.tasks] == ["Completed"]
        wait_for(lambda: warnings(caplog))
        recorded.recorder.close(20)
    told = [text for text in warnings(caplog) if "cannot be written" in text]
    assert len(told) == 1
    assert repr(str(path)) in told[0]
    assert dropped() > before
    assert any("telemetry was dropped: " in text for text in warnings(caplog))


def test_a_later_version(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A history of a later version stays as it is, which one line tells; runs go on."""
    with closing(open_to_write(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with RecordedRuns(path) as recorded:
        for _ in range(2):
            recorded.run(step)
        recorded.recorder.close(20)
    told = [text for text in warnings(caplog) if "later version" in text]
    assert len(told) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_damaged_while_it_is_open(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is damaged while it is in use is set aside, and what follows is recorded."""
    with RecordedRuns(path) as recorded:
        recorded.run(step, name="first")
        recorded.recorder.flush(20)
        whole = writer.transaction

        def damaged(connection: sqlite3.Connection) -> Any:
            monkeypatch.setattr(writer, "transaction", whole)
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        monkeypatch.setattr(writer, "transaction", damaged)
        recorded.run(step, name="second")
        run, _ = recorded.only()
        assert (run.workflow, run.status) == ("second", "completed")
    assert any("was renamed to" in text for text in warnings(caplog))
    assert len([*path.parent.glob("*.damaged-*[0-9]")]) == 1


FULL = """
import resource, signal, sys
from pathlib import Path
from dotflow import DotFlow, action
from dotflow_otel import observe
import secrets, logging
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
config = observe(history=sys.argv[1], level="CRITICAL")
@action
def step():
    logging.getLogger("app").error(secrets.token_hex(2_000))
flow = DotFlow(config=config, name="etl")
flow.task.add([step] * 400)
flow.start()
assert all(task.status == "Completed" for task in flow.task.queue)
print("the run completed")
"""


def test_a_full_disk(path: Path) -> None:
    """Where the file cannot grow any more the run completes, and the exit counts what is lost."""
    assert resource.RLIMIT_FSIZE
    began = monotonic()
    done = subprocess.run(
        [sys.executable, "-c", FULL, path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the run completed\n"
    assert monotonic() - began < 30
    assert done.stderr.count("cannot be written") == 1
    assert "records of the history" in done.stderr


def test_bounded_by_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history keeps as many runs as it may, without being told to shrink."""
    monkeypatch.setattr(writer, "BETWEEN_SHRINKS", 1)
    with RecordedRuns(path, Limits(runs=3)) as recorded:
        for number in range(8):
            recorded.run(step, name=f"run {number}")
            recorded.recorder.flush(20)
        found = [run.workflow for run in recorded.history().runs()]
    assert found == ["run 7", "run 6", "run 5"]


def test_a_provider_that_raises(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written as text or number does not stop what follows."""

    class Odd:
        def __str__(self) -> str:
            raise ValueError("no text")

    @action
    def logs(**_: Any) -> None:
        logging.getLogger("shop").error("%s", "fine")

    with RecordedRuns(path) as recorded:
        recorded.recorder.event_logged(None, 20, "odd", {"odd": Odd()}, None)
        recorded.run(logs, step)
        run, history = recorded.only()
        assert run.status == "completed"
        assert "fine" in [line.event for line in history.logs(run)]
