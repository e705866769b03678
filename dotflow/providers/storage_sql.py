"""The storage that keeps contexts in a table of SQLite or PostgreSQL."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.storage import Storage
from dotflow.core.arguments import check_seconds, check_text, strict_arguments
from dotflow.core.context import Context
from dotflow.core.exception import InvalidOption, StorageError
from dotflow.core.ids import belongs_to, prefix_of, task_key
from dotflow.core.process import call_in_forked_child
from dotflow.providers.sql_database import Database
from dotflow.providers.storage_document import (
    Header,
    check_context,
    check_key,
    matches,
    new_document,
    read_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import URL, ColumnElement, Connection, Table, TextClause

    from dotflow.core.model import Task

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
# PostgreSQL's index takes no longer ones.
_LONGEST_KEY: Final = 2000
# Above all that a key has once it is written, which is printable ASCII.
_ABOVE: Final = "\x7f"
_AT_ONCE: Final = 500


class StorageSQL(Storage):
    """Keeps one row a key, in a table that is made where there is none.

    Safe for threads, for processes and for machines. The contexts are documents as those of
    `StorageFile`, with the same values. A task's context and the record of its run are written
    in one transaction.

    A server that is away is tried again: what was sent to it is written once, whether it came to
    the answer or not. Connections are made as they are needed, and again in a forked child.

    Args:
        url: A URL of SQLAlchemy, as `sqlite:///runs.db` or
            `postgresql://user:password@host/database`. PostgreSQL is reached through psycopg 3.
        table: The name of the table, of letters, digits and `_`.
        patience: For how many seconds a database that is away is tried again.
        options: More arguments of `sqlalchemy.create_engine`, as `{"pool_size": 2}`.

    Attributes:
        table: The name of the table.

    Raises:
        InvalidOption: An argument is not valid.
        ModuleNotFound: SQLAlchemy or psycopg is not installed.
        StorageError: The database cannot be reached, or the table cannot be made.
    """

    @strict_arguments
    def __init__(
        self,
        url: str | URL,
        table: str = "dotflow_contexts",
        patience: float = 30,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(table, str) or not _NAME.fullmatch(table):
            raise InvalidOption("table", table, "give a name of at most 63 letters, digits and _")
        check_seconds("patience", patience, zero=True)
        self.table = table
        self._database = Database(url, patience, options)
        self._rows = _table(table)
        self._upserts: dict[int, TextClause] = {}
        self._make_table()
        call_in_forked_child(self._begin_in_child)

    def __repr__(self) -> str:
        return f"StorageSQL({self._database.name!r}, table={self.table!r})"

    def post(
        self,
        key: str,
        context: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Store a context, in place of what was there; see `Storage.post`.

        Raises:
            InvalidOption: An argument is of a wrong type, the ttl is negative, or the key longer
                than 2,000 bytes.
            StorageError: The value is of a type that cannot be kept, or it cannot be written.
        """
        self._write(key, [_row(key, context, ttl, fingerprint)])

    def post_all(self, contexts: Mapping[str, Context]) -> None:
        """Store contexts, all of them or none; see `Storage.post_all`.

        Raises:
            InvalidOption: As `post`.
            StorageError: As `post`.
        """
        if contexts:
            rows = [_row(key, context, None, None) for key, context in contexts.items()]
            self._write(next(iter(contexts)), rows)

    def get(self, key: str) -> Context:
        """Return the context under `key`, or an empty one.

        Raises:
            StorageError: The row of that key is corrupt, or it cannot be read.
        """
        found = self._found(key)
        return Context() if found is None else found[1]

    def key(self, task: Task) -> str:
        """Return `<workflow id>-<task id>`."""
        return task_key(task)

    def delete(self, key: str) -> bool:
        """Remove what is under `key`; tell whether anything was."""
        condition = self._rows.c.key == _written(key)
        return self._delete(f"delete {key!r}", condition) > 0

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that begin with `prefix`, in one transaction; tell how many."""
        return self._delete(f"delete {prefix!r}*", self._begins_with(prefix))

    def list_keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`, in alphabetical order."""
        now = time.time()
        condition = self._begins_with(prefix)
        found = self._listed(prefix, condition)
        gone = [key for key, expires in found if not _live(expires, now)]
        if gone:
            self._delete(f"list {prefix!r}*", condition & (self._rows.c.expires <= now))
        return sorted(_read(key) for key, expires in found if _live(expires, now))

    def clear(self, workflow_id: Any) -> int:
        """Remove everything of one workflow, and of no other; tell how many keys."""
        prefix = prefix_of(workflow_id)
        found = self._listed(prefix, self._begins_with(prefix))
        keys = [key for key, _ in found if belongs_to(_read(key), workflow_id)]
        parts = [keys[begin : begin + _AT_ONCE] for begin in range(0, len(keys), _AT_ONCE)]
        column = self._rows.c.key
        return sum(self._delete(f"clear {prefix!r}*", column.in_(part)) for part in parts)

    def atomic_swap(
        self,
        key: str,
        expected: Context | None,
        new: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> bool:
        """Store `new` only if the value there is still `expected`; see `Storage.atomic_swap`.

        Atomic among all who use the table.

        Raises:
            InvalidOption: As `post`.
            StorageError: As `post` and `get`; or the connection broke, and what another writer has
                done since leaves open whether `new` was there.
        """
        if expected is not None:
            check_context("expected", expected)
        swap = _Swap(self._rows, key, expected, _row(key, new, ttl, fingerprint))
        return self._database.run(f"swap {key!r}", swap)

    def fingerprint(self, key: str) -> str | None:
        """Return the mark that was stored beside `key`."""
        found = self._found(key)
        return None if found is None else found[0].fingerprint

    def close(self) -> None:
        """Close the connections; the storage can still be used, and opens them again."""
        self._database.close()

    def _write(self, key: str, rows: Sequence[dict[str, Any]]) -> None:
        statement = self._upsert(len(rows))
        values = {f"{name}_{number}": row[name] for number, row in enumerate(rows) for name in row}
        self._database.run(f"store {key!r}", lambda it: it.execute(statement, values).close())

    def _upsert(self, count: int) -> TextClause:
        # One statement, and so one transaction, in the words that both databases know.
        found = self._upserts.get(count)
        if found is None:
            from sqlalchemy import text  # noqa: PLC0415 - has been imported

            names = [column.name for column in self._rows.columns]
            values = ", ".join(
                f"({', '.join(f':{name}_{number}' for name in names)})" for number in range(count)
            )
            changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != "key")
            found = self._upserts[count] = text(
                f'INSERT INTO "{self.table}" ({", ".join(names)}) VALUES {values} '  # noqa: S608 - a checked name
                f"ON CONFLICT (key) DO UPDATE SET {changes}"
            )
        return found

    def _found(self, key: str) -> tuple[Header, Context] | None:
        statement = _select(self._rows, key)
        row = self._database.run(f"read {key!r}", lambda it: it.execute(statement).first())
        return _loaded(key, row)

    def _listed(
        self, prefix: str, condition: ColumnElement[bool]
    ) -> list[tuple[str, float | None]]:
        from sqlalchemy import select  # noqa: PLC0415 - has been imported

        statement = select(self._rows.c.key, self._rows.c.expires).where(condition)
        found = self._database.run(f"list {prefix!r}*", lambda it: it.execute(statement).all())
        return [(row.key, row.expires) for row in found]

    def _delete(self, purpose: str, condition: ColumnElement[bool]) -> int:
        from sqlalchemy import delete  # noqa: PLC0415 - has been imported

        statement = delete(self._rows).where(condition).returning(self._rows.c.expires)
        now = time.time()
        gone = self._database.run(purpose, lambda it: it.execute(statement).all())
        return sum(_live(expires, now) for (expires,) in gone)

    def _begins_with(self, prefix: str) -> ColumnElement[bool]:
        check_text("prefix", prefix, blank=True)
        begin = _escaped(prefix)
        column = self._rows.c.key
        condition: ColumnElement[bool] = (column >= begin) & (column < begin + _ABOVE)
        return condition

    def _make_table(self) -> None:
        from sqlalchemy import inspect  # noqa: PLC0415 - has been imported
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - has been imported

        def make(connection: Connection) -> None:
            # Asked first: who may not make tables may use one.
            if inspect(connection).has_table(self.table):
                return
            try:
                self._rows.create(connection)
            except SQLAlchemyError:
                # Another process made it in between, for which a server has several errors.
                connection.rollback()
                if not inspect(connection).has_table(self.table):
                    raise

        self._database.run(f"make the table {self.table!r}", make)

    def _begin_in_child(self) -> None:
        # The parent's database in memory is not there.
        if self._database.in_memory:
            self._make_table()


class _Swap:
    """One swap, called again where the connection broke.

    Each write has a version of its own. So a swap whose answer was lost finds its own version,
    or the one that it saw before; any other is of a third writer, after which nobody can tell.
    """

    def __init__(
        self, rows: Table, key: str, expected: Context | None, new: dict[str, Any]
    ) -> None:
        self._rows = rows
        self._key = key
        self._expected = expected
        self._new = new
        # The version that was there when the new row was sent; empty: no row.
        self._sent_over: str | None = None

    def __call__(self, connection: Connection) -> bool:
        while True:
            row = connection.execute(_select(self._rows, self._key)).first()
            version = "" if row is None else row.version
            if version == self._new["version"]:
                return True
            if self._sent_over not in (None, version):
                raise StorageError(
                    f"Whether {self._key!r} was swapped cannot be told: the connection broke, and "
                    "another writer has stored a value since. Read it, and decide."
                )
            found = _loaded(self._key, row)
            if not matches(None if found is None else found[1], self._expected):
                return False
            self._sent_over = version
            if self._send(connection, version):
                return True
            self._sent_over = None  # Another writer was faster, and this one changed nothing.

    def _send(self, connection: Connection, version: str) -> bool:
        from sqlalchemy import update  # noqa: PLC0415 - has been imported

        if not version:
            return connection.execute(_insert(self._rows, connection), self._new).rowcount == 1
        columns = self._rows.c
        there = (columns.key == self._new["key"]) & (columns.version == version)
        return connection.execute(update(self._rows).where(there).values(self._new)).rowcount == 1


def _table(name: str) -> Table:
    from sqlalchemy import Column, Double, MetaData, String, Table, Text  # noqa: PLC0415 - imported

    # Byte by byte, as SQLite's are by default, so that the index finds prefixes.
    in_order = Text().with_variant(Text(collation="C"), "postgresql")
    return Table(
        name,
        MetaData(),
        Column("key", in_order, primary_key=True),
        Column("document", Text, nullable=False),
        Column("expires", Double),
        Column("version", String(32), nullable=False),
        quote=True,
    )


def _insert(rows: Table, connection: Connection) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415 - have been imported

    make: Callable[[Table], Any] = (
        sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    )
    return make(rows).on_conflict_do_nothing()


def _select(rows: Table, key: str) -> Any:
    from sqlalchemy import select  # noqa: PLC0415 - has been imported

    columns = rows.c
    return select(columns.document, columns.version).where(columns.key == _written(key))


def _row(key: str, context: Context, ttl: float | None, fingerprint: str | None) -> dict[str, Any]:
    header, document = new_document(key, context, ttl, fingerprint)
    return {
        "key": _written(key),
        "document": document.decode("ascii"),
        "expires": header.expires,
        "version": os.urandom(16).hex(),
    }


def _loaded(key: str, row: Any) -> tuple[Header, Context] | None:
    if row is None:
        return None
    return read_document(key, row.document.encode(), f"the row of {key!r}", time.time())


def _live(expires: float | None, now: float) -> bool:
    return expires is None or now < expires


def _escaped(text: str) -> str:
    # Any text becomes printable ASCII, its beginnings stay such, and no two become the same.
    return text.encode("unicode_escape").decode("ascii")


def _written(key: str) -> str:
    check_key(key)
    written = _escaped(key)
    if len(written) > _LONGEST_KEY:
        raise InvalidOption("key", key, f"give one of at most {_LONGEST_KEY:,} bytes")
    return written


def _read(written: str) -> str:
    return written.encode("ascii").decode("unicode_escape")
