"""StorageSQL on SQLite: the promises, the table, ttl, and what it refuses."""

from __future__ import annotations

import copy
import sqlite3
import sys
import time as clock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from promises import Place, Promises

from dotflow import Config, DotFlow, action
from dotflow.core.context import Context
from dotflow.core.exception import InvalidOption, ModuleNotFound, StorageError
from dotflow.providers import storage_codec, storage_document, storage_sql
from dotflow.providers.storage_file import StorageFile
from dotflow.providers.storage_sql import StorageSQL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of the database."""
    return tmp_path / "runs.db"


@pytest.fixture
def storage(file: Path) -> Iterator[StorageSQL]:
    """Return an empty storage."""
    made = StorageSQL(f"sqlite:///{file}")
    yield made
    made.close()


def rows(file: Path, table: str = "dotflow_contexts") -> list[tuple[Any, ...]]:
    """Return the rows of the table, read without SQLAlchemy."""
    connection = sqlite3.connect(file)
    found = connection.execute(
        f'SELECT key, document, expires FROM "{table}" ORDER BY key'  # noqa: S608 - a test's own
    ).fetchall()
    connection.close()
    return found


class TestPromises(Promises):
    """A file of SQLite keeps what every storage does."""

    @pytest.fixture
    def place(self, file: Path) -> Iterator[Place]:
        """Return a file of its own."""
        made = []

        def make() -> StorageSQL:
            made.append(StorageSQL(f"sqlite:///{file}"))
            return made[-1]

        yield Place(
            make,
            f"from dotflow.providers import StorageSQL\nstorage = StorageSQL('sqlite:///{file}')",
        )
        for each in made:
            each.close()


# The table


def test_document_is_that_of_a_file(storage: StorageSQL, file: Path, tmp_path: Path) -> None:
    """A row holds the same document as a file of StorageFile, one a key, the last one."""
    files = StorageFile(path=tmp_path)
    context = Context(storage={"n": (1, {2})}, task_id="a")
    storage.post("flow-a", Context(storage="old"))
    for each in (storage, files):
        each.post("flow-a", context, fingerprint="f")
    document = (files.path / "flow-a").read_text()
    assert rows(file) == [("flow-a", document, None)]
    assert storage.fingerprint("flow-a") == "f"
    assert storage.fingerprint("absent") is None


def test_tables_are_apart(file: Path) -> None:
    """Storages with tables of their own share nothing; a name that SQL knows is a name as well."""
    one, other = (StorageSQL(f"sqlite:///{file}", table=name) for name in ("select", "Other"))
    one.post("a", Context(storage=1))
    assert (one.get("a").storage, other.get("a").storage) == (1, None)
    assert len(rows(file, "select")) == 1
    one.close()
    other.close()


def test_relative_path_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is that of the folder in which the storage was made, whoever changes it later."""
    monkeypatch.chdir(tmp_path)
    storage = StorageSQL("sqlite:///runs.db")
    storage.close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    storage.post("a", Context(storage=1))
    assert len(rows(tmp_path / "runs.db")) == 1
    assert not (tmp_path / "elsewhere" / "runs.db").exists()
    storage.close()


def test_in_memory() -> None:
    """A database in memory is of one storage, for all its threads."""
    storage, other = StorageSQL("sqlite://"), StorageSQL("sqlite:///:memory:")
    storage.post("a", Context(storage=1))
    assert (storage.get("a").storage, other.get("a").storage) == (1, None)
    storage.close()
    other.close()


def test_contexts_that_belong_together(storage: StorageSQL, file: Path) -> None:
    """All of several are written, or none."""
    storage.post("b", Context(storage="old"))
    with pytest.raises(StorageError, match=r"builtins\.object .* under 'b'|under 'b'"):
        storage.post_all({"a": Context(storage=1), "b": Context(storage=object())})
    assert (storage.get("a").storage, storage.get("b").storage) == (None, "old")
    storage.post_all({"a": Context(storage=1), "b": Context(storage=2)})
    storage.post_all({})
    assert [key for key, *_ in rows(file)] == ["a", "b"]
    assert (storage.get("a").storage, storage.get("b").storage) == (1, 2)


def test_many_keys_are_cleared(storage: StorageSQL) -> None:
    """A workflow of more tasks than one statement takes is removed, and no other."""
    keys = [f"etl-{number:026d}" for number in range(1100)]
    storage.post_all({key: Context(storage=1) for key in (*keys[:300], "etl-daily-_run")})
    storage.post_all({key: Context(storage=1) for key in keys[300:]})
    assert storage.clear("etl") == 1100
    assert storage.list_keys("") == ["etl-daily-_run"]


def test_corrupt_row_is_named(storage: StorageSQL, file: Path) -> None:
    """A document that is none is an error that says which row, and what to do."""
    for document in ("{", '{"dotflow": 2}', "[]"):
        storage.post("flow-a", Context(storage=1))
        connection = sqlite3.connect(file)
        with connection:
            connection.execute("UPDATE dotflow_contexts SET document = ?", (document,))
        connection.close()
        with pytest.raises(StorageError, match="Cannot read the row of 'flow-a': not a document"):
            storage.get("flow-a")
    storage.post("flow-a", Context(storage=2))
    assert storage.get("flow-a").storage == 2


def test_row_of_another_key_is_refused(storage: StorageSQL, file: Path) -> None:
    """A row whose document is of another key is not read as this one's."""
    storage.post("a", Context(storage=1))
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("UPDATE dotflow_contexts SET key = 'b'")
    connection.close()
    with pytest.raises(StorageError, match="the row of 'b' belongs to the key 'a'"):
        storage.get("b")


# Ttl


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Put a clock that tests set in the place of the real one."""
    moment = [clock.time()]
    stopped = SimpleNamespace(time=lambda: moment[0])
    for module in (storage_sql, storage_document):
        monkeypatch.setattr(module, "time", stopped)
    return moment


def test_ttl_holds_for_all(storage: StorageSQL, file: Path, now: list[float]) -> None:
    """The expiry is in the row: whoever looks, it is gone at the ttl; a listing removes it."""
    storage.post("a", Context(storage=1), ttl=5, fingerprint="f")
    other = StorageSQL(f"sqlite:///{file}")
    now[0] += 4.9
    assert (other.get("a").storage, other.fingerprint("a")) == (1, "f")
    now[0] += 0.2
    assert (other.get("a").storage, other.fingerprint("a")) == (None, None)
    assert other.atomic_swap("a", Context(storage=1), Context(storage=2)) is False
    assert len(rows(file)) == 1
    assert storage.list_keys("") == []
    assert rows(file) == []
    other.close()


def test_swap_over_the_expired(storage: StorageSQL, now: list[float]) -> None:
    """What has expired counts as nothing, also where its row is still there."""
    storage.post("a", Context(storage=1), ttl=5)
    storage.post("b", Context(storage=1), ttl=5)
    now[0] += 6
    assert storage.atomic_swap("a", None, Context(storage=2)) is True
    assert storage.get("a").storage == 2
    assert storage.delete("b") is False
    assert storage.delete_prefix("") == 1


# What is refused


@pytest.mark.parametrize(
    ("url", "shown", "hint"),
    [
        ("mysql://u:hidden@h/d", "'mysql://...'", "use SQLite or PostgreSQL"),
        ("postgresql+asyncpg://u:hidden@h/d", "'postgresql+asyncpg://...'", "driver psycopg"),
        ("postgresql+psycopg2://u:hidden@h/d", "'postgresql+psycopg2://...'", "driver psycopg"),
        ("sqlite+aiosqlite:///x.db", "'sqlite+aiosqlite://...'", "driver pysqlite"),
        ("postgresql://u:hidden@h:port/d", "'postgresql://...'", "it is no URL"),
        ("hidden", "'...'", "it is no URL"),
        ("", "''", "give a URL"),
        (None, "NoneType", "give a URL"),
    ],
)
def test_wrong_url(url: Any, shown: str, hint: str) -> None:
    """The error says what is wrong and how it is written, and quotes no password."""
    with pytest.raises(InvalidOption) as caught:
        StorageSQL(url)
    text = str(caught.value)
    assert shown in text
    assert hint in text
    assert "hidden" not in text
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"table": "a; b"}, "table='a; b' is not valid: give a name"),
        ({"table": ""}, "give a name"),
        ({"table": 3}, "give a name"),
        ({"patience": -1}, "patience=-1 is not valid"),
        ({"options": [1]}, "give a dictionary of arguments of sqlalchemy.create_engine"),
        ({"options": {"pool_sise": 3}}, "pool_sise"),
        ({"options": {"isolation_level": "SERIALIZABLE"}}, "leave it out"),
        ({"options": {"connect_args": 3}}, "give a dictionary"),
    ],
)
def test_wrong_option(file: Path, options: dict[str, Any], hint: str) -> None:
    """An option that cannot be is named, with what to give."""
    with pytest.raises(InvalidOption) as caught:
        StorageSQL(f"sqlite:///{file}", **options)
    assert hint in str(caught.value)


def test_unknown_argument(file: Path) -> None:
    """An argument that there is not names the one that was meant."""
    with pytest.raises(TypeError, match=r"StorageSQL\(\) .* 'tabel': is 'table' meant"):
        StorageSQL(f"sqlite:///{file}", tabel="x")  # type: ignore[call-arg]


def test_options_reach_the_engine(file: Path) -> None:
    """What `create_engine` takes can be given, and what a connection takes inside of it."""
    options: dict[str, Any] = {"echo": False, "connect_args": {"timeout": 1}}
    given = copy.deepcopy(options)
    storage = StorageSQL(f"sqlite:///{file}", options=options)
    storage.post("a", Context(storage=1))
    assert storage.get("a").storage == 1
    assert options == given
    storage.close()


def test_long_key(storage: StorageSQL) -> None:
    """A key that PostgreSQL could not find again is refused, by SQLite as well."""
    storage.post("k" * 2000, Context(storage=1))
    with pytest.raises(InvalidOption, match="at most 2,000 bytes"):
        storage.post("k" * 2001, Context(storage=1))
    assert storage.list_keys("") == ["k" * 2000]


def test_wrong_arguments_of_methods(storage: StorageSQL) -> None:
    """Keys, contexts and ttl of a wrong type are refused, without their values."""
    context: Any = {"secret": 1}
    for call in (
        lambda: storage.post(3, Context()),  # type: ignore[arg-type]
        lambda: storage.get(b"a"),  # type: ignore[arg-type]
        lambda: storage.post("a", context),
        lambda: storage.atomic_swap("a", context, Context()),
        lambda: storage.post("a", Context(), ttl=-1),
        lambda: storage.list_keys(None),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidOption) as caught:
            call()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("sqlalchemy", "sqlite://", "dotflow[sql]"),
        ("psycopg", "postgresql://u:hidden@127.0.0.1:1/d", "dotflow[postgres]"),
    ],
)
def test_missing_library(
    module: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a library the error names the extra that has it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFound) as caught:
        StorageSQL(url)
    assert f"pip install '{extra}'" in str(caught.value)


# Errors of the database


def test_repr_has_no_password(file: Path) -> None:
    """The text of a storage tells where it writes."""
    storage = StorageSQL(f"sqlite:///{file}", table="t")
    assert repr(storage) == f"StorageSQL('sqlite+pysqlite:///{file}', table='t')"
    storage.close()


def test_no_folder(tmp_path: Path) -> None:
    """A database that cannot be opened is an error at once, that names it."""
    with pytest.raises(StorageError) as caught:
        StorageSQL(f"sqlite:///{tmp_path}/absent/runs.db", patience=600)
    text = str(caught.value)
    assert text.startswith("Cannot make the table 'dotflow_contexts' in sqlite+pysqlite:///")
    assert "unable to open database file. See that the URL is right" in text


def test_locked_database(file: Path) -> None:
    """A writer that never ends costs no more than the patience, and the task then fails."""
    storage = StorageSQL(f"sqlite:///{file}", patience=0.2)
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    @action
    def step() -> str:
        return "a value that is secret"

    flow = DotFlow(config=Config(storage=storage))
    flow.task.add(step)
    began = clock.monotonic()
    flow.start()
    assert clock.monotonic() - began < 30
    (task,) = flow.result_task()
    assert (task.status, task.errors[0].exception) == ("Failed", "StorageError")
    assert "database is locked" in task.errors[0].message
    assert "secret" not in task.errors[0].message + task.errors[0].traceback
    writer.execute("ROLLBACK")
    writer.close()
    storage.post("a", Context(storage=1))
    assert storage.get("a").storage == 1
    storage.close()


def test_codec_is_the_one_of_files() -> None:
    """There is one codec, which pickles nothing."""
    assert storage_sql.read_document is storage_document.read_document
    assert storage_document.encode is storage_codec.encode
