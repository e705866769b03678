"""StorageSQL on a real PostgreSQL: the contract, crashes, restarts, several writers."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import unittest
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from backends.postgres import PASSWORD, Postgres
from promises import Place, Promises

from dotflow import Config, Context, DotFlow, action
from dotflow.core.exception import StorageError
from dotflow.providers.storage_sql import StorageSQL
from dotflow.testing import StorageContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_tables: Final = itertools.count()


def table() -> str:
    """Return the name of a table that nobody uses."""
    return f"contexts_{next(_tables)}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Return a server, the same for all tests here; each has a table of its own."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def storage(server: Postgres) -> Iterator[StorageSQL]:
    """Return an empty storage that waits for the server as long as a test does."""
    made = StorageSQL(server.url, table=table(), patience=60)
    yield made
    made.close()


@pytest.mark.usefixtures("_for_the_suite")
class TestContract(StorageContract, unittest.TestCase):
    """The suite of the contract."""

    server: Postgres

    @pytest.fixture(scope="class")
    @classmethod
    def _for_the_suite(cls, server: Postgres) -> None:
        cls.server = server

    def make_storage(self) -> StorageSQL:
        """Return an empty storage."""
        made = StorageSQL(self.server.url, table=table())
        self.addCleanup(made.close)
        return made


class TestPromises(Promises):
    """What is promised beyond it."""

    @pytest.fixture
    def place(self, server: Postgres) -> Iterator[Place]:
        """Return a table of its own."""
        name, made = table(), []

        def make() -> StorageSQL:
            made.append(StorageSQL(server.url, table=name))
            return made[-1]

        yield Place(
            make,
            "from dotflow.providers import StorageSQL\n"
            f"storage = StorageSQL({server.url!r}, table={name!r})",
        )
        for each in made:
            each.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "crash"])
def test_restart_in_mid_run(
    server: Postgres,
    storage: StorageSQL,
    how: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server restarted between and under the steps costs the run no step and no value."""
    ran: list[str] = []

    @action
    def stops() -> list[int]:
        ran.append("stops")
        server.stop(how)
        # It starts while the value of this step is being stored.
        starting.start()
        return [1]

    @action
    def restarts(previous_context: Context) -> list[int]:
        ran.append("restarts")
        server.restart(how)
        return [*previous_context.storage, 2]

    @action
    def last(previous_context: Context) -> list[int]:
        ran.append("last")
        return [*previous_context.storage, 3]

    starting = threading.Timer(0.3, server.start)
    flow = DotFlow(config=Config(storage=storage), workflow_id=f"restart-{how}")
    flow.task.add([stops, restarts, last])
    with caplog.at_level(logging.WARNING, "dotflow"):
        flow.start()
    starting.join()
    assert ran == ["stops", "restarts", "last"]
    assert flow.result_storage() == [[1], [1, 2], [1, 2, 3]]
    again = DotFlow(config=Config(storage=storage), workflow_id=f"restart-{how}")
    again.task.add([stops, restarts, last])
    again.start(resume=True)
    assert [task.restored for task in again.result_task()] == [True, True, True]
    assert ran == ["stops", "restarts", "last"]
    assert "is away" in caplog.text
    assert PASSWORD not in caplog.text


def test_server_that_stays_away(server: Postgres) -> None:
    """After the patience the task fails with an error that says so, without the password."""
    impatient = StorageSQL(server.url, table=table(), patience=0.3)

    @action
    def stops() -> str:
        server.stop()
        return "a value that is secret"

    flow = DotFlow(config=Config(storage=impatient))
    flow.task.add(stops)
    try:
        flow.start()
    finally:
        server.start()
    (task,) = flow.result_task()
    assert task.status == "Failed"
    assert task.failure is not None
    (error,) = task.errors
    assert error.exception == "StorageError"
    assert error.message.startswith("Cannot store '")
    assert "tried " in error.message
    assert "Connection refused" in error.message
    for secret in (PASSWORD, "a value that is secret"):
        assert secret not in error.message
        assert secret not in error.traceback
    impatient.close()


def test_wrong_password_is_refused_at_once(server: Postgres) -> None:
    """A refusal is not tried again, and quotes no password; nor does any text of the storage."""
    for url, reason in (
        (server.url.replace(PASSWORD, "wr0ng-one"), "password authentication failed"),
        (server.url.replace("/postgres", "/absent"), 'database "absent" does not exist'),
    ):
        with pytest.raises(StorageError, match=reason) as caught:
            StorageSQL(url, patience=600)
        assert "tried" not in str(caught.value)
        assert "wr0ng-one" not in str(caught.value)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_context_and_record_are_one_transaction(server: Postgres, storage: StorageSQL) -> None:
    """A task with checkpoints costs one transaction more than one without costs, not two."""

    @action
    def step() -> int:
        return 1

    def transactions(count: int, **more: str) -> int:
        flow = DotFlow(config=Config(storage=storage), **more)
        for _ in range(count):
            flow.task.add(step)
        before = _last_number(server)
        flow.start()
        return _last_number(server) - before - 1  # of who asks

    assert transactions(10) == 10
    # The run's record and its lease are written when it begins and when it ends as well.
    assert transactions(10, workflow_id="once") == 10 + 4


def _last_number(server: Postgres) -> int:
    # Each transaction that writes takes a number, and so does this one.
    with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert row is not None
    return int(row[0])


def break_after_update(server: Postgres, first: Callable[[], None]) -> None:
    """Break all connections when the next UPDATE is done, before its answer comes."""
    from sqlalchemy import Engine, event

    def broken(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE"):
            event.remove(Engine, "after_cursor_execute", broken)
            first()
            server.restart()
            cursor.execute("SELECT 1")

    event.listen(Engine, "after_cursor_execute", broken)


def test_swap_whose_answer_was_lost(server: Postgres, storage: StorageSQL) -> None:
    """A swap that was committed, and whose connection then broke, has happened, once."""
    storage.post("a", Context(storage=1))
    started = server.starts
    break_after_update(server, lambda: None)
    assert storage.atomic_swap("a", Context(storage=1), Context(storage=2)) is True
    assert server.starts == started + 1
    assert storage.get("a").storage == 2


def test_swap_that_cannot_be_told(server: Postgres, storage: StorageSQL) -> None:
    """Where a third writer came after a broken connection, the error says that it is open."""
    storage.post("a", Context(storage=1))
    third = StorageSQL(server.url, table=storage.table)
    break_after_update(server, lambda: third.post("a", Context(storage=3)))
    with pytest.raises(StorageError, match="Whether 'a' was swapped cannot be told"):
        storage.atomic_swap("a", Context(storage=1), Context(storage=2))
    assert storage.get("a").storage == 3
    third.close()


def test_table_is_made_once(server: Postgres) -> None:
    """Storages that are made at the same time for a table that is not there make one."""
    name = table()
    barrier = threading.Barrier(4)
    made: list[StorageSQL] = []

    def make() -> None:
        barrier.wait()
        made.append(StorageSQL(server.url, table=name))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    made[0].post("a", Context(storage=1))
    assert made[3].get("a").storage == 1
    for each in made:
        each.close()
