"""A database as SQLAlchemy reaches it: its URL, its connections, and how long it may be away.

Each statement is a transaction of its own (AUTOCOMMIT), which costs one round trip and not three.
SQLAlchemy is imported by who makes a `Database`.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dotflow.core.exception import InvalidOption, ModuleNotFound, StorageError
from dotflow.core.process import call_in_forked_child, fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

_logger = logging.getLogger("dotflow")

_Result = TypeVar("_Result")

_DRIVERS: Final = {"sqlite": "pysqlite", "postgresql": "psycopg", "postgres": "psycopg"}
_EXAMPLES: Final = "'sqlite:///runs.db' or 'postgresql://user:password@host/database'"
# What an application must not change, for the storage depends on it.
_OURS: Final = ("isolation_level", "hide_parameters", "poolclass", "creator")
# What tells that a server is away for a while: SQLSTATEs, or the beginnings of them. A connection
# broke; the server shuts down or starts; conflicts of transactions; too many connections; and two
# who make a table at once.
_PASSING: Final = ("08", "57P", "40", "53300", "23505", "42P07")
# Of the refusals of a connection, which have no SQLSTATE, those that pass.
_REFUSALS_THAT_PASS: Final = ("starting up", "shutting down", "recovery", "too many", "remaining")
_PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.5)  # seconds between attempts; the last one again
_LONGEST_CONNECT: Final = 10.0  # seconds


class Database:
    """A SQLite file or a PostgreSQL server.

    Args:
        url: A URL of SQLAlchemy.
        patience: For how many seconds what fails because it is away is tried again.
        options: What `sqlalchemy.create_engine` is given as well.

    Attributes:
        name: The URL without its password and query, for messages.
        dialect: `sqlite` or `postgresql`.
        in_memory: Whether it is a SQLite database that goes with this process.

    Raises:
        InvalidOption: The URL is none, or of another database or driver; an option is unknown.
        ModuleNotFound: SQLAlchemy or the driver is not installed.
    """

    def __init__(self, url: str | URL, patience: float, options: Mapping[str, Any] | None) -> None:
        parsed = _parsed(url)
        self.dialect = parsed.get_backend_name()
        self.in_memory = self.dialect == "sqlite" and parsed.database in (None, "", ":memory:")
        self.name = parsed.set(query={}).render_as_string(hide_password=True)
        self._secrets = [
            str(secret)
            for secret in (parsed.password, parsed.query.get("password"))
            if secret is not None
        ]
        self._patience = patience
        self._engine = _engine(parsed, patience, options, in_memory=self.in_memory)
        # All threads share the one connection of a database in memory.
        self._lock: AbstractContextManager[Any] = (
            fork_safe_lock() if self.in_memory else nullcontext()
        )
        self._inherited: list[Any] = []
        call_in_forked_child(self._leave_connections)

    def run(self, purpose: str, work: Callable[[Connection], _Result]) -> _Result:
        """Return what a call returns that is given a connection.

        Where the database is away it is called again, so it must do no harm by that.

        Args:
            purpose: What the call is for, as `store 'a'`.
            work: The call.

        Raises:
            StorageError: The database refuses, or was away for longer than the patience.
        """
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - has been imported

        began = 0.0
        for count in range(1, 1 << 62):
            try:
                with self._lock, self._engine.connect() as connection:
                    return work(connection)
            except SQLAlchemyError as error:
                # Kept as a text: the driver's errors hold the password, and so what is raised
                # here must not refer to them.
                reason, passes = self._text(error), _passes(error)
            now = time.monotonic()
            began = began if count > 1 else now
            pause = _PAUSES[min(count, len(_PAUSES)) - 1]
            if not passes or now + pause > began + self._patience:
                break
            if count == 1:
                text = "the database %s is away (%s): trying again for %g s"
                _logger.warning(text, self.name, reason, self._patience)
            time.sleep(pause)
        tried = f", tried {count} times in {now - began:.1f} s" if count > 1 else ""
        hint = (
            "See whether it is up, or give StorageSQL more patience."
            if passes
            else "See that the URL is right, and that its user may write there."
        )
        raise StorageError(f"Cannot {purpose} in {self.name}: {reason}{tried}. {hint}")

    def close(self) -> None:
        """Close the connections that nobody uses at the moment; more are opened when needed."""
        self._engine.dispose()

    def _text(self, error: SQLAlchemyError) -> str:
        lines = str(getattr(error, "orig", None) or error).splitlines()
        text = " ".join(line.strip() for line in lines if line.strip()).rstrip(".")
        for secret in self._secrets:
            text = text.replace(secret, "***") if secret else text
        return text or type(error).__name__

    def _leave_connections(self) -> None:
        # They are the parent's: to close one here would end it there.
        self._inherited.append(self._engine.pool)
        self._engine.dispose(close=False)


def _parsed(given: str | URL) -> URL:
    try:
        from sqlalchemy import URL, make_url  # noqa: PLC0415 - slow to import
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ModuleNotFound("sqlalchemy", "dotflow[sql]") from None
    if not isinstance(given, (str, URL)) or not str(given).strip():
        shown = given if isinstance(given, str) else type(given)
        raise InvalidOption("url", shown, f"give a URL, as {_EXAMPLES}")
    parsed = None
    # The error may quote the password, so it is no cause of what is raised.
    with suppress(ArgumentError, ValueError):
        parsed = make_url(given)
    if parsed is None:
        scheme, mark, _ = str(given).partition("://")
        shown = f"{scheme}://..." if mark else "..."
        raise InvalidOption("url", shown, f"it is no URL: give one, as {_EXAMPLES}")
    backend, _, driver = parsed.drivername.partition("+")
    expected = _DRIVERS.get(backend)
    if expected is None:
        raise InvalidOption(
            "url", f"{parsed.drivername}://...", f"use SQLite or PostgreSQL, as {_EXAMPLES}"
        )
    backend = "postgresql" if backend == "postgres" else backend
    if driver not in ("", expected):
        raise InvalidOption(
            "url", f"{parsed.drivername}://...", f"use the driver {expected}: {backend}+{expected}"
        )
    parsed = parsed.set(drivername=f"{backend}+{expected}")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        # A step may change the working directory.
        path = str(parsed.database)
        return parsed if path.startswith("file:") else parsed.set(database=os.path.abspath(path))  # noqa: PTH100
    return parsed


def _engine(
    url: URL, patience: float, options: Mapping[str, Any] | None, *, in_memory: bool
) -> Engine:
    from sqlalchemy import StaticPool, create_engine, event  # noqa: PLC0415 - has been imported

    given = _checked(options)
    arguments = given.pop("connect_args", {})
    if url.get_backend_name() == "sqlite":
        arguments = {"timeout": patience, **arguments}
        if in_memory:
            given["poolclass"] = StaticPool
            arguments["check_same_thread"] = False
    else:
        arguments = {**_limits(patience), **arguments}
    try:
        engine = create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args=arguments,
            **given,
        )
    except ImportError:  # also where psycopg is there, and its library is not
        raise ModuleNotFound("psycopg", "dotflow[postgres]") from None
    except TypeError as error:
        raise InvalidOption("options", sorted(given), str(error).rstrip(".")) from None
    if url.get_backend_name() == "sqlite" and not in_memory:
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _checked(options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        expected = "give a dictionary of arguments of sqlalchemy.create_engine"
        raise InvalidOption("options", type(options), expected)
    for name in _OURS:
        if name in options:
            raise InvalidOption("options", name, "StorageSQL sets that itself: leave it out")
    if not isinstance(options.get("connect_args", {}), Mapping):
        kind = type(options["connect_args"])
        raise InvalidOption("options['connect_args']", kind, "give a dictionary")
    return dict(options)


def _limits(patience: float) -> dict[str, Any]:
    # Else a machine that answers no more is waited for until the system's own limits.
    connect = max(2, math.ceil(min(patience, _LONGEST_CONNECT)))
    unanswered = max(1000, math.ceil(min(patience, 3600) * 1000))  # milliseconds
    return {"connect_timeout": connect, "tcp_user_timeout": unanswered}


def _set_up_sqlite(connection: Any, _: object) -> None:
    # Readers and a writer do not wait for each other, and a commit is on the disk.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _passes(error: SQLAlchemyError) -> bool:
    """Return whether an error is of a database that is away for a while."""
    from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError  # noqa: A004, PLC0415

    if isinstance(error, TimeoutError):  # all connections of the pool are in use
        return True
    if not isinstance(error, DBAPIError):
        return False
    sqlite = getattr(error.orig, "sqlite_errorname", None)
    if sqlite is not None:
        return str(sqlite).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_PASSING)
    if error.connection_invalidated:
        return True
    text = str(error.orig)
    refused = "FATAL" in text and not any(each in text for each in _REFUSALS_THAT_PASS)
    return isinstance(error, OperationalError) and not refused
