"""`dotflow recover`: sends the traces of runs that were killed, and says what it did."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from command_line import Done, command
from lost_runs import going_on, lose
from wire.killing import nodes_of
from wire.receivers import OwnReceiver

from dotflow_otel.history.reader import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dotflow_otel.history.reader import RunInfo

NOTHING = "Nothing to recover: no process of this history was killed.\n"
NOWHERE = (
    ", so nothing could be sent, and nothing was done: name a backend in "
    "OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318.\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The usual place of a history below the working directory."""
    (tmp_path / ".dotflow").mkdir()
    return tmp_path / ".dotflow" / "history.db"


@pytest.fixture
def receiver() -> Iterator[OwnReceiver]:
    """A backend."""
    with OwnReceiver() as found:
        yield found


def recovered(folder: Path, receiver: OwnReceiver | None, *args: str, **variables: str) -> Done:
    """Run the command with a backend, or one that is down."""
    endpoint = "http://127.0.0.1:9" if receiver is None else receiver.endpoint("http/protobuf")
    to = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    return command(folder, "recover", *args, **{**to, **variables})


def about(run: RunInfo, sent: str) -> str:
    """Return the line about a run."""
    began = datetime.fromtimestamp(run.started / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    tasks = f"{run.completed} of {run.tasks} tasks completed"
    return f"  {run.id}  {run.workflow}  {began}  {run.status}, {tasks}  {sent}"


def received(receiver: OwnReceiver) -> list[str]:
    """Return the names of the spans that came since, sorted."""
    return sorted(node.span.name for node in nodes_of(receiver.take().traces))


LOST = ["attempt"] * 4 + ["task bad", "task read", "task waits", "workflow nightly"]


def test_what_was_not_sent_is_sent(path: Path, receiver: OwnReceiver) -> None:
    """Once, to where the variables say; stdout has which runs, and how many spans of each."""
    run = lose(path)
    done = recovered(path.parents[1], receiver)
    assert (done.code, done.out.splitlines()) == (
        0,
        ["Sent 8 spans of 1 run.", about(run, "8 sent")],
    )
    (event,) = map(json.loads, done.err.splitlines())
    assert (event["event"], event["workflow"]) == ("workflow.lost", "nightly")
    assert received(receiver) == LOST
    assert recovered(path.parents[1], receiver) == Done(0, NOTHING, "")
    assert received(receiver) == []


def test_runs_that_had_ended(path: Path, receiver: OwnReceiver) -> None:
    """Spans that waited for their batch when the process was killed are sent as well."""
    run = lose(
        path,
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint("http/protobuf"),
        OTEL_BSP_SCHEDULE_DELAY="1000000",
    )
    with History(path) as history:
        done = history.run("latest:done")
    ended = recovered(path.parents[1], receiver, "--json")
    assert (ended.code, json.loads(ended.out)) == (
        0,
        {
            "lost": [run.id],
            "sent": [
                {"id": done.id, "workflow": "done", "status": "completed"}
                | {"trace_id": done.trace_id, "spans": 2},
                {"id": run.id, "workflow": "nightly", "status": "lost"}
                | {"trace_id": run.trace_id, "spans": 8},
            ],
            "not_sent": [],
            "running": 0,
        },
    )
    assert received(receiver) == sorted([*LOST, "task read", "workflow done"])


def test_while_the_backend_is_down(path: Path, receiver: OwnReceiver) -> None:
    """The error says what to do, and the next call sends it."""
    run = lose(path)
    done = recovered(path.parents[1], None)
    assert (done.code, done.out.splitlines()) == (1, ["Sent nothing.", about(run, "not sent")])
    assert done.err.splitlines()[-1] == (
        "error: 1 run could not be sent: see that the backend is up, and call it again. Nothing is "
        "lost: what was not taken stays in the history."
    )
    again = recovered(path.parents[1], None, "--json")
    told = json.loads(again.out)
    assert (again.code, told["lost"], told["sent"]) == (1, [], [])
    assert [each["id"] for each in told["not_sent"]] == [run.id]
    done = recovered(path.parents[1], receiver)
    assert done == Done(0, f"Sent 8 spans of 1 run.\n{about(run, '8 sent')}\n", "")
    assert received(receiver) == LOST


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_TRACES_EXPORTER", "none", "OTEL_TRACES_EXPORTER is 'none'"),
        ("OTEL_SDK_DISABLED", "true", "OTEL_SDK_DISABLED is 'true'"),
    ],
)
def test_where_spans_go_nowhere(
    variable: str, value: str, reason: str, path: Path, receiver: OwnReceiver
) -> None:
    """Nothing is done then, and what was lost can be sent later."""
    lose(path)
    done = recovered(path.parents[1], receiver, **{variable: value})
    assert done == Done(2, "", f"error: {reason}{NOWHERE}")
    assert recovered(path.parents[1], receiver).code == 0
    assert received(receiver) == LOST


def test_a_run_that_goes_on(path: Path, receiver: OwnReceiver) -> None:
    """It is left alone."""
    with going_on(path):
        done = recovered(path.parents[1], receiver)
        assert done == Done(0, NOTHING.replace("\n", " 1 run goes on.\n"), "")
    assert received(receiver) == []
    assert recovered(path.parents[1], receiver).out.startswith("Sent 8 spans of 1 run.")


def test_a_run_that_is_not_sampled(path: Path, receiver: OwnReceiver) -> None:
    """It is told of, and not sent."""
    run = lose(path, OTEL_TRACES_SAMPLER="always_off")
    done = recovered(path.parents[1], receiver)
    assert (done.code, done.out.splitlines()) == (0, ["Sent nothing.", about(run, "not sampled")])
    assert received(receiver) == []


def no_history(path: Path) -> str:
    """Leave nothing."""
    return (
        f"'{path}' is not there: record one with `dotflow start`, observe(history=True) or "
        "DOTFLOW_HISTORY=1, or name where it is."
    )


def a_text(path: Path) -> str:
    """Put something else there."""
    path.write_text("no database\n" * 100)
    return (
        f"'{path}' is damaged (file is not a database). The next run that is recorded there sets "
        "it aside."
    )


def another_database(path: Path) -> str:
    """Put a database of something else there."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (key)")
    return (
        f"'{path}' is a database of something else: name another file, or none for the usual one."
    )


def a_later_one(path: Path) -> str:
    """Put there what a later version wrote."""
    lose(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    return (
        f"'{path}' was written by a later version of dotflow (schema 99; this one knows 1): "
        "upgrade dotflow, or name another file."
    )


@pytest.mark.parametrize("make", [no_history, a_text, another_database, a_later_one])
def test_no_history_that_can_be_used(
    make: Callable[[Path], str], path: Path, receiver: OwnReceiver
) -> None:
    """One line says why, and the file stays as it is."""
    problem = make(path)
    before = path.read_bytes() if path.exists() else None
    done = recovered(path.parents[1], receiver)
    assert done == Done(2, "", f"error: The history {problem}\n")
    assert (path.read_bytes() if path.exists() else None) == before
    assert received(receiver) == []


def test_a_history_elsewhere(path: Path, receiver: OwnReceiver, tmp_path: Path) -> None:
    """It is named by the option, or by the variable."""
    lose(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert recovered(elsewhere, receiver).code == 2
    done = recovered(elsewhere, receiver, "--history", str(path))
    assert (done.code, done.out.splitlines()[0]) == (0, "Sent 8 spans of 1 run.")
    done = recovered(elsewhere, receiver, DOTFLOW_HISTORY=str(path))
    assert done == Done(0, NOTHING, "")
    assert not (elsewhere / ".dotflow").exists()
