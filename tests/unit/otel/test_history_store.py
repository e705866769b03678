"""The file of the history: made, migrated, refused, set aside, bounded."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.core.exception import DotflowError, InvalidOption
from dotflow_otel.history import store
from dotflow_otel.history.place import history_path
from dotflow_otel.history.reader import History
from dotflow_otel.history.store import (
    HistoryUnusable,
    Limits,
    open_to_read,
    open_to_write,
    shrink,
    used_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400 * 10**9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a place without a history."""
    return tmp_path / "history.db"


def add_run(
    connection: sqlite3.Connection, number: int, status: str = "completed", *, size: int = 0
) -> None:
    """Add a run that started as many nanoseconds ago as its number is below 1,000."""
    connection.execute(
        "INSERT OR IGNORE INTO processes (key, host, boot, namespace, pid, born, resource, opened, "
        "beat) VALUES (1, 'h', 'b', '', 1, 0, '{}', 0, 0)"
    )
    connection.execute(
        "INSERT INTO runs (key, id, process, workflow_id, workflow, mode, status, started, tasks, "
        "trace_id, span_id, sampled, size) "
        "VALUES (?, ?, 1, 'w', 'w', 'm', ?, ?, 1, x'00', 1, 1, ?)",
        (number, f"run {number}", status, time_ns() - 1000 + number, size),
    )
    connection.execute("INSERT INTO segments (run, body) VALUES (?, zeroblob(?))", (number, size))


def runs(connection: sqlite3.Connection) -> list[int]:
    """Return the runs that are there."""
    return [key for (key,) in connection.execute("SELECT key FROM runs ORDER BY key")]


def test_a_new_file(path: Path) -> None:
    """A history that is made has the schema of this version, and a log that many can write."""
    with closing(open_to_write(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (store.VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    with closing(open_to_write(path)) as connection:
        assert runs(connection) == []


def test_the_disk_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a file waits for no disk, as the first run waits for it; later use of it does."""
    asked: list[str] = []

    class Traced(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
            asked.append(sql)
            return super().execute(sql, *args)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Traced))
    off, on, log = (
        f"PRAGMA {each}" for each in ("synchronous = OFF", "synchronous = NORMAL", "journal_mode")
    )
    for is_new in (True, False):
        asked.clear()
        with closing(open_to_write(path)) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
        (uses_log,) = [at for at, each in enumerate(asked) if each.startswith(log)]
        assert asked.count(off) == is_new
        assert off in asked[:uses_log] or not is_new
        assert on in asked[uses_log:]


def test_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history of an earlier version gets what is new, and keeps what it has."""
    with closing(open_to_write(path)) as connection:
        add_run(connection, 1)
    later = (*store.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT DEFAULT 'none'")
    monkeypatch.setattr(store, "MIGRATIONS", later)
    monkeypatch.setattr(store, "VERSION", len(later))
    with closing(open_to_write(path)) as connection:
        assert connection.execute("SELECT key, note FROM runs").fetchall() == [(1, "none")]
        assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)


def test_a_later_version(path: Path) -> None:
    """A history of a later version is refused, by a line that says what to do, and stays."""
    with closing(open_to_write(path)) as connection:
        connection.execute(f"PRAGMA user_version = {store.VERSION + 1}")
    before = path.read_bytes()
    for use in (open_to_write, open_to_read):
        with pytest.raises(HistoryUnusable) as raised:
            use(path)
        assert str(raised.value) == (
            f"The history {str(path)!r} was written by a later version of dotflow (schema "
            f"{store.VERSION + 1}; this one knows {store.VERSION}): upgrade dotflow, or name "
            "another file."
        )
    assert path.read_bytes() == before
    assert isinstance(raised.value, DotflowError)


def test_another_database(path: Path) -> None:
    """A database of something else is refused, and stays as it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    for use in (open_to_write, open_to_read):
        with pytest.raises(HistoryUnusable, match="is a database of something else"):
            use(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "page"])
def test_a_damaged_file(path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """A damaged history is renamed, which a line tells, and another one is made."""
    if damage == "page":
        with closing(open_to_write(path)) as connection:
            add_run(connection, 1)
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + b"\xff" * 3996 + whole[4096:])
    else:
        path.write_bytes(b"no database at all, " * 100)
    before = path.read_bytes()
    with pytest.raises(HistoryUnusable, match="is damaged"):
        open_to_read(path)
    with closing(open_to_write(path)) as connection:
        assert runs(connection) == []
    (kept,) = path.parent.glob("*.damaged-*[0-9]")
    assert kept.read_bytes() == before
    assert f"is damaged and was renamed to {kept.name!r}" in caplog.text


def test_nothing_to_read(path: Path) -> None:
    """Where there is no history, or an empty one, the error says how to record one."""
    with pytest.raises(HistoryUnusable, match="is not there: record one with `dotflow start`, obs"):
        History(path)
    path.touch()
    with pytest.raises(HistoryUnusable, match="is empty: record one"):
        History(path)
    assert path.read_bytes() == b""


# --- bounds ------------------------------------------------------------------------------


def test_too_many(path: Path) -> None:
    """The oldest runs that have ended go first; one that goes on never does."""
    with closing(open_to_write(path)) as connection:
        for number in range(1, 121):
            add_run(connection, number, "running" if number in {1, 70} else "completed")
        assert shrink(connection, Limits(runs=10)) == 110
        assert runs(connection) == [1, 70, *range(113, 121)]
        kept = connection.execute("SELECT run FROM segments ORDER BY run").fetchall()
        assert [run for (run,) in kept] == runs(connection)
        assert shrink(connection, Limits(runs=10)) == 0
        assert shrink(connection, Limits(runs=1)) == 8
        assert runs(connection) == [1, 70]


def test_too_old(path: Path) -> None:
    """Runs that started too long ago go, unless they go on."""
    with closing(open_to_write(path)) as connection:
        for number in range(1, 7):
            add_run(connection, number, "running" if number == 2 else "failed")
        connection.execute("UPDATE runs SET started = started - ? WHERE key <= 4", (2 * DAY,))
        assert shrink(connection, Limits(days=1)) == 3
        assert runs(connection) == [2, 5, 6]


def test_too_large(path: Path) -> None:
    """Runs go until the file is small enough, and it shrinks."""
    with closing(open_to_write(path)) as connection:
        for number in range(1, 21):
            add_run(connection, number, size=100_000)
        assert used_bytes(connection) > 2_000_000
        assert shrink(connection, Limits(size=1_000_000)) == 11
        assert runs(connection) == list(range(12, 21))
        assert used_bytes(connection) <= 1_000_000
    assert path.stat().st_size <= 1_100_000


# --- place -------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [1, 1.5, b"x", "", object()])
def test_no_place(history: object) -> None:
    """What is no path and no flag is an error that names it."""
    with pytest.raises(InvalidOption, match="history"):
        history_path(history)  # type: ignore[arg-type]
