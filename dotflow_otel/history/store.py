"""The file of the history: where it is, its tables, and how it is opened, bounded and set aside."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Final, NamedTuple

from dotflow.core.exception import DotflowError
from dotflow.core.process import fork_safe_lock, hold_at_fork
from dotflow.core.timing import system_time_ns
from dotflow_otel.history.place import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger: Final = logging.getLogger("dotflow_otel")

# "dotf", by which a file of this project is distinguished from a database of something else.
_APPLICATION: Final = 0x646F7466

# Seconds that a transaction waits for another process's.
PATIENCE: Final = 5.0

# Each takes the schema one version further; those that were released never change.
MIGRATIONS: Final = (
    """
    CREATE TABLE processes (
        key INTEGER PRIMARY KEY,
        host TEXT NOT NULL,
        boot TEXT NOT NULL,
        namespace TEXT NOT NULL,
        pid INTEGER NOT NULL,
        born INTEGER NOT NULL,
        resource TEXT NOT NULL,
        exporters TEXT,
        opened INTEGER NOT NULL,
        beat INTEGER NOT NULL,
        closed INTEGER NOT NULL DEFAULT 0,
        recovery INTEGER
    );
    CREATE TABLE runs (
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        process INTEGER NOT NULL,
        workflow_id TEXT NOT NULL,
        workflow TEXT NOT NULL,
        mode TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'running',
        started INTEGER NOT NULL,
        ended INTEGER,
        tasks INTEGER NOT NULL,
        begun INTEGER NOT NULL DEFAULT 0,
        completed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        restored INTEGER NOT NULL DEFAULT 0,
        retried INTEGER NOT NULL DEFAULT 0,
        error_type TEXT,
        error TEXT,
        trace_id BLOB NOT NULL,
        span_id INTEGER NOT NULL,
        sampled INTEGER NOT NULL,
        size INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX runs_started ON runs (started);
    CREATE INDEX runs_workflow ON runs (workflow, started);
    CREATE INDEX runs_trace ON runs (trace_id);
    CREATE INDEX runs_process ON runs (process);
    CREATE TABLE segments (
        key INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX segments_run ON segments (run);
    CREATE TABLE sends (
        key INTEGER PRIMARY KEY,
        process INTEGER NOT NULL,
        exporter TEXT NOT NULL,
        sent INTEGER NOT NULL,
        delivered INTEGER,
        spans BLOB NOT NULL
    );
    CREATE INDEX sends_sent ON sends (sent);
    """,
)
VERSION: Final = len(MIGRATIONS)

# Held while SQLite is at work, which has locks of its own.
in_use: Final = fork_safe_lock()
hold_at_fork(in_use, 0.5)

RUNNING: Final = "running"
LOST: Final = "lost"


class HistoryUnusable(DotflowError):
    """There is no history at a path, or none that can be read or written."""

    def __init__(self, path: object = "", problem: str = "cannot be used") -> None:
        super().__init__(f"The history {str(path)!r} {problem}")


class Limits(NamedTuple):
    """How much a history keeps. The oldest runs that have ended go first.

    Attributes:
        runs: How many runs.
        days: For how many days after their start.
        size: How many bytes the file has.
    """

    runs: int = 1_000
    days: float = 90
    size: int = 256 << 20


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the history, and make it where there is none.

    A file that is damaged is renamed, with a warning, and another one is made.

    Raises:
        HistoryUnusable: A later version of dotflow made it, or it is no history.
        sqlite3.Error: The file cannot be written.
        OSError: Its folder cannot be made.
    """
    _make_folder(path)
    with in_use:
        try:
            return _opened(path)
        except sqlite3.DatabaseError as error:
            if not is_damaged(error):
                raise
        set_aside(path)
        return _opened(path)


def _make_folder(path: Path) -> None:
    if path.parent.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.name == FOLDER:
        # What is recorded on one machine is no part of a repository.
        (path.parent / ".gitignore").write_text("*\n", encoding="ascii")


def _opened(path: Path) -> sqlite3.Connection:
    # Transactions are begun by hand; threads take turns by a lock of their own.
    connection = sqlite3.connect(
        path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = _checked_version(connection, path)
    if version == 0:
        # The first run waits until it is there. The disk, which takes nearly all of that time, is
        # not waited for: there is nothing yet that the end of the machine could damage.
        connection.execute("PRAGMA synchronous = OFF")
        # This has to come before the first table, and lets the file shrink later.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _use_log(connection)
    connection.execute("PRAGMA journal_size_limit = 4194304")
    if version < VERSION:
        _migrate(connection, path)
    # What is committed survives the end of the process at once, and that of the machine from
    # the next checkpoint on.
    connection.execute("PRAGMA synchronous = NORMAL")


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    application = _number(connection, "PRAGMA application_id")
    version = _number(connection, "PRAGMA user_version")
    tables = _number(connection, "SELECT count(*) FROM sqlite_master")
    if tables and application != _APPLICATION:
        raise HistoryUnusable(
            path, "is a database of something else: name another file, or none for the usual one."
        )
    if version > VERSION:
        raise HistoryUnusable(
            path,
            f"was written by a later version of dotflow (schema {version}; this one knows "
            f"{VERSION}): upgrade dotflow, or name another file.",
        )
    return version


def _use_log(connection: sqlite3.Connection) -> None:
    # Another process that does the same at this moment makes this fail without a wait.
    for _ in range(100):
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
            return
        sleep(0.02)
    connection.execute("PRAGMA journal_mode = WAL")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection):
        # Another process may have done it since.
        for migration in MIGRATIONS[_checked_version(connection, path) :]:
            for statement in migration.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a history that is there, to read it only.

    Raises:
        HistoryUnusable: There is none, it is damaged, or this version cannot read it.
    """
    if not path.exists():
        raise HistoryUnusable(
            path,
            "is not there: record one with `dotflow start`, observe(history=True) or "
            "DOTFLOW_HISTORY=1, or name where it is.",
        )
    try:
        with in_use:
            connection = _opened_to_read(path)
            try:
                version = _checked_version(connection, path)
                if version == 0:
                    reason = (
                        "is empty: record one with `dotflow start`, observe(history=True) or "
                        "DOTFLOW_HISTORY=1."
                    )
                    raise HistoryUnusable(path, reason)  # noqa: TRY301 - closed as for any other
            except BaseException:
                connection.close()
                raise
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    return connection


def _opened_to_read(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    for options in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(
            f"{address}?{options}", uri=True, timeout=PATIENCE, check_same_thread=False
        )
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            # In a folder that cannot be written to, where nobody writes at the moment.
            connection.close()
            if os.access(path.parent, os.W_OK):
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise HistoryUnusable(path, "cannot be opened: see that you may read it.")


def unreadable(path: Path, error: sqlite3.Error) -> HistoryUnusable:
    """Return the error that says why a history cannot be read."""
    if is_damaged(error):
        return HistoryUnusable(
            path, f"is damaged ({error}). The next run that is recorded there sets it aside."
        )
    return HistoryUnusable(path, f"cannot be read: {error}.")


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether an error means that a file is no database any more."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def set_aside(path: Path) -> Path:
    """Rename a damaged history, with what belongs to it, and warn of that."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    kept = path.with_name(f"{path.name}.damaged-{now}")
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{kept}{suffix}")
    _logger.warning("The history %r is damaged and was renamed to %r", str(path), kept.name)
    return kept


class transaction:  # noqa: N801 - used as a statement
    """Makes one transaction of what is done inside; nothing of it where that raises."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        in_use.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            in_use.release()
            raise

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise
        else:
            if kind is not None:
                self._roll_back()
        finally:
            in_use.release()

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")


def shrink(connection: sqlite3.Connection, limits: Limits) -> int:
    """Delete the runs that are too many, too old or too large; return how many.

    Only runs that have ended are deleted, the oldest first.
    """
    with in_use:
        return _shrunk(connection, limits)


def _shrunk(connection: sqlite3.Connection, limits: Limits) -> int:
    deleted = 0
    for keys in _surplus(connection, limits):
        with transaction(connection):
            for key in keys:
                connection.execute("DELETE FROM segments WHERE run = ?", (key,))
                connection.execute("DELETE FROM runs WHERE key = ?", (key,))
        deleted += len(keys)
    _delete_the_rest(connection)
    if deleted:
        # As a script, which runs to its end: of a statement that gives nothing one step is taken.
        connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
    return deleted


# How many runs are deleted in one transaction: other processes wait for it.
_MOST_AT_ONCE: Final = 50

_OLDEST_ENDED: Final = (
    "SELECT key, started, size FROM runs WHERE status != 'running' ORDER BY started LIMIT ?"
)


def _surplus(connection: sqlite3.Connection, limits: Limits) -> Iterator[list[int]]:
    oldest = system_time_ns() - int(limits.days * 86_400e9)
    while True:
        too_many = _number(connection, "SELECT count(*) FROM runs") - limits.runs
        too_large = used_bytes(connection) - limits.size
        keys = []
        for key, started, size in connection.execute(_OLDEST_ENDED, (_MOST_AT_ONCE,)).fetchall():
            if not (too_many > 0 or too_large > 0 or started < oldest):
                break
            keys.append(key)
            too_many -= 1
            too_large -= size
        if not keys:
            return
        yield keys


def _delete_the_rest(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute(
            "DELETE FROM processes WHERE closed AND key NOT IN (SELECT process FROM runs)"
        )
        # What was delivered counts as long as its process may have to be recovered.
        connection.execute(
            "DELETE FROM sends WHERE sent < (SELECT coalesce(min(started), ?) FROM runs "
            "WHERE process IN (SELECT key FROM processes WHERE NOT closed))",
            (system_time_ns(),),
        )


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the file are in use."""
    pages = _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")
    return pages * _number(connection, "PRAGMA page_size")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
