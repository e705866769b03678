"""The commands that show the history: what they print, what is refused, and the exit codes."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Done, in_process
from made_history import MadeAttempt, MadeHistory, MadeLine, MadeSpan, MadeTask, at

from dotflow.core.process_mark import ProcessMark
from dotflow_otel.cli import shared
from dotflow_otel.plain import escape_unencodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Command = Callable[..., Done]

COMMANDS = ("runs", "trace", "why", "logs")
# What each takes to show the latest run.
SHOWN = (("runs",), ("trace", "latest"), ("why", "latest"), ("logs", "latest"))


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """What runs a command in an empty folder, in a window of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return in_process(tmp_path, monkeypatch, capsys)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeHistory]:
    """Return the history of that folder, to be made."""
    with MadeHistory(tmp_path / ".dotflow" / "history.db") as found:
        yield found


def add_five(made: MadeHistory) -> None:
    """Add a run of each kind, a minute apart."""
    made.add("billing", MadeTask("load", 0, 8), run_id="AAAA0000000000")
    bad = MadeTask("load", 61, 62, error="ValueError: no [red]luck[/red]")
    made.add("nightly", bad, started=60, ended=62, count=3, run_id="AABB0000000000")
    lost = made.process(beat=129)
    made.add(
        "nightly",
        MadeTask("load", 120, 121),
        MadeTask("wait", 121, None),
        started=120,
        ended=None,
        process=lost,
        run_id="BBBB0000000000",
    )
    retried = MadeTask(
        "flaky", 180, 183, attempts=[MadeAttempt(180, 181, "OSError: x"), MadeAttempt(182, 183)]
    )
    made.add("billing", retried, started=180, ended=183, run_id="CCCC0000000000")
    now = made.process(beat=241, gone=False)
    made.add(
        "billing",
        MadeTask("load", 240, None),
        started=240,
        ended=None,
        process=now,
        run_id="DDDD0000000000",
    )


# --- runs ---------------------------------------------------------------------------------


def test_runs(command: Command, made: MadeHistory) -> None:
    """A table of the runs, the latest first, with what they did and why they failed."""
    add_five(made)
    done = command("runs")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "run          workflow status    started             time tasks error",
        "DDDD00000000 billing  running   Mar 01 12:04:00   1.00 s   0/1",
        "CCCC00000000 billing  completed Mar 01 12:03:00   3.00 s   1/1 1 retried",
        "BBBB00000000 nightly  lost      Mar 01 12:02:00   9.00 s   1/2 1 in flight",
        "AABB00000000 nightly  failed    Mar 01 12:01:00   2.00 s   0/3 no [red]luck[/re…",
        "AAAA00000000 billing  completed Mar 01 12:00:00   10.0 s   1/1",
    ]


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ((), "DCBaA"),
        (("--failed",), "a"),
        (("--lost",), "B"),
        (("--failed", "--lost"), "Ba"),
        (("--status", "failed", "--failed"), "a"),
        (("--status", "running"), "D"),
        (("--status", "completed"), "CA"),
        (("-w", "nightly"), "Ba"),
        (("--workflow", "bill*"), "DCA"),
        (("-w", "n?ghtly", "--failed"), "a"),
        (("--since", "2026-03-01T12:02"), "DCB"),
        (("--since", "2026-03-01T12:02+00:00", "--until", "2026-03-01T12:04:00"), "CB"),
        (("--until", "2026-03-01 12:01:30"), "aA"),
        (("--since", "1s"), ""),
        (("--since", "200w"), "DCBaA"),
        (("--limit", "2"), "DC"),
        (("-n", "1", "--failed", "--lost"), "B"),
        (("-n", "1", "-w", "n*"), "B"),
        (("-n", "0"), "DCBaA"),
        (("-w", "billing", "--failed"), ""),
    ],
    ids=str,
)
def test_filters(command: Command, made: MadeHistory, args: tuple[str, ...], found: str) -> None:
    """Each filter keeps what it names, all together what all keep."""
    add_five(made)
    done = command("runs", "--json", *args)
    assert (done.code, done.err) == (0, "")
    ids = [run["id"][:4] for run in json.loads(done.out)]
    letters = {"AAAA": "A", "AABB": "a", "BBBB": "B", "CCCC": "C", "DDDD": "D"}
    assert "".join(letters[each] for each in ids) == found


def test_runs_as_json(command: Command, made: MadeHistory) -> None:
    """--json has all that is known of a run, its times in UTC."""
    add_five(made)
    (run,) = json.loads(command("runs", "--json", "--failed").out)
    assert {name: run[name] for name in ("id", "workflow", "status", "duration", "skipped")} == {
        "id": "AABB0000000000",
        "workflow": "nightly",
        "status": "failed",
        "duration": 2.0,
        "skipped": 2,
    }
    assert run["started"] == datetime(2026, 3, 1, 12, 1, tzinfo=UTC).isoformat()
    assert (run["error_type"], run["error"]) == ("ValueError", "no [red]luck[/red]")
    assert len(run["trace_id"]) == 32


def test_what_is_not_there(command: Command, made: MadeHistory) -> None:
    """Where no run is found, a note says so, and that is no error."""
    add_five(made)
    done = command("runs", "-w", "monthly")
    path = str(made.path)
    assert done == Done(0, "", f"note: The history {path!r} has no such run.\n")


def test_that_there_are_more(command: Command, made: MadeHistory) -> None:
    """Where there may be more runs than are listed, a note says how to have all."""
    add_five(made)
    assert command("runs", "-n", "3").err == "note: The latest 3; --limit 0 lists all.\n"
    assert command("runs", "-n", "0").err == ""


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize(
    "args", [*SHOWN, ("trace", "--diff", "AAAA", "CCCC"), ("why", "AABB")], ids=str
)
def test_width(
    command: Command,
    made: MadeHistory,
    args: tuple[str, ...],
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No line but a log's is wider than the window, whatever the names."""
    monkeypatch.setenv("COLUMNS", str(columns))
    add_five(made)
    name = "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 30 + "x" * 100
    task = MadeTask(name, 1, 2, name, error=f"E: {name}", spans=[MadeSpan(name, 1, 2)])
    made.add(name, task, MadeTask("b", 0, 1), started=300, ended=302, error=f"E: {name}")
    done = command(*args)
    assert done.code == 0
    assert done.out or args[0] == "logs"
    assert args[0] == "logs" or max(map(shared.wide, done.out.splitlines())) <= columns


# --- trace --------------------------------------------------------------------------------


def add_nightly(made: MadeHistory, start: float = 0, slow: float = 0, **more: Any) -> None:
    """Add a run in parallel, with retries, waiting, spans and two groups."""
    in_step = [
        MadeSpan("GET /", start + 1, start + 3, below=[MadeSpan("parse", start + 2, start + 3)])
    ]
    end = start + 20 + slow
    made.add(
        "nightly",
        MadeTask(
            "fetch",
            start,
            start + 4,
            "a",
            attempts=[MadeAttempt(start + 1, start + 4, pid=11, queue=1, spans=in_step)],
        ),
        MadeTask(
            "flaky",
            start,
            end - 1,
            "b",
            attempts=[
                MadeAttempt(start, start + 4, "OSError: down", 12, 0),
                MadeAttempt(start + 8, end - 1, pid=11, queue=2),
            ],
        ),
        started=start,
        ended=end,
        mode="parallel",
        **more,
    )


def test_trace(command: Command, made: MadeHistory) -> None:
    """Bars show waiting, attempts and backoff on one scale; the critical path is marked."""
    add_nightly(made, run_id="RUN1")
    done = command("trace", "latest")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "nightly completed in 20.0 s",
        f"RUN1, parallel, 2026-03-01 12:00:00, {host_and_pid()}",
        "   task            time 0                           10.0 s                20.0 s",
        "▸  flaky [b]     19.0 s ━━━━━━━━━━━━┈┈┈┈──────━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸",
        " ✗   attempt 1   4.00 s ━━━━━━━━━━━╸",
        "       OSError: down",
        "     attempt 2   11.0 s            ┈┈┈┈┈──────━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸",
        "   fetch [a]     3.00 s ──╼━━━━━━━━╸",
        "     GET /       2.00 s   ╺━━━━━╸",
        "       parse     1.00 s      ╺━━╸",
        "▸  critical path: steps 11.0 s, failed attempts 4.00 s, waiting for workers",
        "   2.00 s, backoff 2.00 s, between tasks 1.00 s",
        "   ── waiting for workers ┈┈ backoff",
    ]


def host_and_pid() -> str:
    """Return what the heading says of the process of a run that is made here."""
    mark = ProcessMark.of_this()
    return f"{mark.host} {mark.pid}"


def test_trace_names_workers(
    command: Command, made: MadeHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a wide window the process of each attempt has a column."""
    monkeypatch.setenv("COLUMNS", "120")
    add_nightly(made)
    lines = command("trace", "latest").out.splitlines()
    assert lines[2].split()[:3] == ["task", "time", "pid"]
    assert lines[4].split()[:6] == ["✗", "attempt", "1", "4.00", "s", "12"]
    assert lines[7].split()[:5] == ["fetch", "[a]", "3.00", "s", "11"]


def test_trace_of_a_failed_run(command: Command, made: MadeHistory) -> None:
    """What failed has its error below it, what was restored no time, and the rest is counted."""
    made.add(
        "billing",
        MadeTask("read", 0, 0.001, restored=True),
        MadeTask("load", 1, 2, error="ValueError: no [red]luck[/red]\nat all"),
        ended=2,
        count=4,
    )
    lines = command("trace", "failed").out.splitlines()
    assert lines[3:] == [
        " ↺ read",
        "▸✗ load   1.00 s                                ╺━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "     ValueError: no [red]luck[/red] at all",
        "▸  critical path: steps 1.00 s, between tasks 1.00 s",
        "   ✗ failed ↺ restored",
        "   2 tasks did not run.",
    ]


def test_a_run_that_is_not_sampled(command: Command, made: MadeHistory) -> None:
    """Of such a run it is said that what its tasks took is not told in parts."""
    task = MadeTask("load", 0, 5, attempts=[MadeAttempt(1, 5), MadeAttempt(3, 5)])
    made.add("billing", task, ended=5, sampled=False)
    lines = command("trace", "latest").out.splitlines()
    assert lines[4:] == [
        "     2 attempts, whose times are not recorded",
        "▸  critical path: steps 5.00 s",
        "   The run was not sampled: what its tasks took includes waiting and retries.",
    ]
    lines = command("why", "latest").out.splitlines()
    assert lines[-2:] == [
        "  The run was not sampled: what its tasks took includes waiting and retries",
        "  1 retry in 1 task: load had 2 attempts",
    ]


def test_many_tasks(command: Command, made: MadeHistory) -> None:
    """Of many tasks those that tell most have lines of their own; --all gives them to all."""
    tasks = [MadeTask(f"step {n % 2}", n, n + (5 if n == 40 else 0.5)) for n in range(100)]
    tasks[7] = tasks[7]._replace(error="OSError: x")
    made.add("long", *tasks, ended=100)
    lines = command("trace", "latest").out.splitlines()
    assert sum("step " in line for line in lines) == 24 + 2
    assert any(line.startswith("▸✗ step 1") for line in lines)
    assert any("5.00 s" in line for line in lines)
    assert sum(" more: step " in line for line in lines) == 2
    assert "   --all shows each task on a line of its own." in lines
    assert "     500 ms to 500 ms each, 500 ms at the median" in lines
    lines = command("trace", "latest", "--all").out.splitlines()
    assert sum("step " in line for line in lines) == 100


def test_many_spans(command: Command, made: MadeHistory) -> None:
    """Of many spans of an attempt the first have lines of their own; --all gives them to all."""
    spans = [MadeSpan(f"row {n}", n, n + 1) for n in range(30)]
    made.add("rows", MadeTask("load", 0, 30, spans=spans), ended=30)
    lines = command("trace", "latest").out.splitlines()
    assert sum("row " in line for line in lines) == 11
    assert any(line.startswith("     19 more spans") for line in lines)
    lines = command("trace", "latest", "--all").out.splitlines()
    assert sum("row " in line for line in lines) == 30


def test_diff(command: Command, made: MadeHistory) -> None:
    """Two runs side by side: the task that got slower by most comes first."""
    add_nightly(made, run_id="RUN1")
    add_nightly(made, 100, 10, run_id="RUN2")
    done = command("trace", "--diff", "RUN1", "RUN2")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "A  nightly completed in 20.0 s",
        "   RUN1, 2026-03-01 12:00:00",
        "B  nightly completed in 30.0 s",
        "   RUN2, 2026-03-01 12:01:40",
        "task                         A        B   change   B / A",
        "flaky [b]               19.0 s   29.0 s  +10.0 s  1.53 x",
        "fetch [a]               3.00 s   3.00 s     0 ms  1.00 x",
        "the whole run           20.0 s   30.0 s  +10.0 s  1.50 x",
        "- steps                 11.0 s   21.0 s  +10.0 s  1.91 x",
        "- retries               4.00 s   4.00 s     0 ms  1.00 x",
        "- waiting for workers   2.00 s   2.00 s     0 ms  1.00 x",
        "- backoff               2.00 s   2.00 s     0 ms  1.00 x",
    ]


@pytest.mark.parametrize(
    ("form", "key"), [("otlp-json", "resourceSpans"), ("chrome", "traceEvents")]
)
def test_formats(command: Command, made: MadeHistory, form: str, key: str) -> None:
    """--format prints JSON in ASCII, and nothing else."""
    made.add("\N{SNOWMAN}", MadeTask("load", 0, 1))
    done = command("trace", "latest", "--format", form)
    assert (done.code, done.err) == (0, "")
    assert done.out.isascii()
    assert key in json.loads(done.out)


# --- why ----------------------------------------------------------------------------------


def test_why_it_failed(command: Command, made: MadeHistory) -> None:
    """What failed first is told with what lay in it, and what followed from it."""
    call = MadeSpan("call", 1, 2, "OSError: 503", below=[MadeSpan("GET /", 1, 2, "OSError: 503")])
    made.add(
        "billing",
        MadeTask("fetch", 0, 2, error="OSError: 503", spans=[call]),
        MadeTask("load", 2, 4, error="ValueError: none"),
        ended=4,
        count=4,
        run_id="RUN1",
        lines=[MadeLine(4, "task.skipped", 30, {"task": name}) for name in ("save", "send")],
    )
    done = command("why", "failed")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "billing failed in 4.00 s",
        f"RUN1, sequential, 2026-03-01 12:00:00, {host_and_pid()}",
        "",
        "What failed first",
        "  fetch failed after 2.00 s: OSError: 503",
        "    in it GET / failed: OSError: 503",
        "  then load failed after 4.00 s: ValueError: none",
        "  2 tasks did not run: save, send",
        "",
        "Where the time went: 4.00 s",
        "  4.00 s (100%) steps, 2.00 s of it fetch",
    ]


def test_why_it_was_slow(command: Command, made: MadeHistory) -> None:
    """Where the time went is told with its parts, and what is outside of what the last runs had."""
    for number in range(6):
        add_nightly(made, number * 100.0)
    add_nightly(made, 600, 10)
    lines = command("why", "latest:nightly").out.splitlines()
    assert lines[3:] == [
        "Where the time went: 30.0 s",
        "  21.0 s (70%) steps: flaky [b]",
        "  4.00 s (13%) attempts that failed and were retried: flaky [b]",
        "  2.00 s (7%) waiting for workers: flaky [b]",
        "  2.00 s (7%) waiting between attempts: flaky [b]",
        "  1.00 s (3%) before, between and after tasks",
        "  1 retry in 1 task: flaky [b] had 2 attempts",
        "  all 2 tasks together ran for 28.0 s and waited 3.00 s for workers",
        "  at most 2 tasks ran at a time, 0.9 on average",
        "",
        "Out of the ordinary beside the last 6 runs",
        "  the run took 30.0 s, 1.5 x (median 20.0 s, spread 0 ms, of 6)",
        "  flaky [b] took 29.0 s, 1.5 x (median 19.0 s, spread 0 ms, of 6)",
    ]


def test_why_nothing_is_unusual(command: Command, made: MadeHistory) -> None:
    """Where nothing is outside, that is told; beside too few runs nothing can be."""
    for number in range(5):
        add_nightly(made, number * 100.0)
    assert command("why", "latest").out.splitlines()[-1] == (
        "What is out of the ordinary is not known: it takes 5 earlier runs, and there are 4"
    ) or command("why", "latest").out.splitlines()[-2:] == [
        "What is out of the ordinary is not known: it takes 5 earlier runs, and there are",
        "4",
    ]
    add_nightly(made, 600)
    last = command("why", "latest").out.splitlines()[-1]
    assert last == "Nothing is out of the ordinary beside the last 5 runs"


def test_why_it_was_lost(command: Command, made: MadeHistory) -> None:
    """What was in flight is told with its attempt, and for how long it went on."""
    add_five(made)
    lines = command("why", "BBBB").out.splitlines()
    assert lines[3:5] == [
        "In flight when it was lost: its process was last alive at 12:02:09",
        "  wait: attempt 1 since 12:02:01, for 8.00 s",
    ]


def test_why_it_goes_on(command: Command, made: MadeHistory) -> None:
    """Of a run that goes on what runs now is told, as far as it is recorded."""
    add_five(made)
    lines = command("why", "DDDD").out.splitlines()
    assert lines[0] == "billing running for 1.00 s"
    assert lines[3:5] == [
        "In flight at 12:04:01, as far as is recorded",
        "  load: attempt 1 since 12:04:00, for 1.00 s",
    ]


# --- logs ---------------------------------------------------------------------------------


def add_logged(made: MadeHistory) -> None:
    """Add a run of two tasks with log lines."""
    about = {"task": "load", "task_id": "T0001", "attempt": 1, "took": 0.1234567}
    trace = {"error": "down\nthere", "exception": "Traceback:\n  line\nOSError"}
    made.add(
        "billing",
        MadeTask("fetch", 0, 1, spans=[MadeSpan("GET /", 0, 1)]),
        MadeTask("load", 1, 2),
        lines=[
            MadeLine(0, "workflow.started"),
            MadeLine(0.5, "reading \x1b[31m[red]\nrows", 10, {"logger": "shop"}, 0),
            MadeLine(1.25, "task.failed", 40, {**about, **trace}, 1),
        ],
    )


def test_logs(command: Command, made: MadeHistory) -> None:
    """A line has its time, level, task and values; nothing in it is taken for an order."""
    add_logged(made)
    done = command("logs", "latest")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "12:00:00.000 info             workflow.started",
        "12:00:00.500 debug   fetch    reading \\x1b[31m[red] rows logger=shop",
        '12:00:01.250 error   load     task.failed attempt=1 took=0.123457 error="down\\nthere"',
        "    Traceback:",
        "      line",
        "    OSError",
    ]


@pytest.mark.parametrize(
    ("args", "events"),
    [
        (("--task", "fetch"), ["reading \x1b[31m[red]\nrows"]),
        (("-t", "T0001"), ["task.failed"]),
        (("--level", "WARNING"), ["task.failed"]),
        (("--level", "info"), ["workflow.started", "task.failed"]),
        (("--follow", "--level", "info"), ["workflow.started", "task.failed"]),
        (("-f", "--task", "fetch"), ["reading \x1b[31m[red]\nrows"]),
    ],
    ids=str,
)
def test_which_logs(
    command: Command, made: MadeHistory, args: tuple[str, ...], events: list[str]
) -> None:
    """--task and --level choose lines; --follow ends with the run."""
    add_logged(made)
    done = command("logs", "latest", "--json", *args)
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line)["event"] for line in done.out.splitlines()] == events


def test_logs_as_json(command: Command, made: MadeHistory) -> None:
    """An object a line, with its task; what a step calls its values hides none of that."""
    about = {"task": "load", "level": "high", "rows": 7}
    made.add("billing", MadeTask("load", 0, 1), lines=[MadeLine(1, "read", 25, about, 0)])
    (line,) = command("logs", "latest", "--json").out.splitlines()
    found = json.loads(line)
    del found["span_id"]
    assert found == {
        "time": "2026-03-01T12:00:01+00:00",
        "level": 25,
        "event": "read",
        "task": "load",
        "task_id": None,
        "rows": 7,
    }


def test_names_without_utf_8(command: Command, made: MadeHistory) -> None:
    """A name that is no UTF-8 is found as it is given, though it is recorded escaped."""
    made.add("bill\\udcff", MadeTask("load", 0, 1), run_id="RUN1")
    for args in (("runs", "-w", "bill\udcff"), ("why", "latest:bill\udcff")):
        done = command(*args)
        assert (done.code, done.err) == (0, "")
        assert "bill\\udcff" in done.out
    missing = "error: The history has no run 'bill\\udcff'. Give "
    assert command("why", "bill\udcff").err.startswith(missing)


def test_a_limit_beyond_any_history(command: Command, made: MadeHistory) -> None:
    """All runs are listed."""
    made.add("billing", MadeTask("load", 0, 1), run_id="RUN1")
    done = command("runs", "-n", str(10**30))
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 2)


def test_no_logs(command: Command, made: MadeHistory) -> None:
    """Where there are none, a note says so."""
    made.add("billing", MadeTask("load", 0, 1), run_id="RUN1")
    recorded = (
        "of the run RUN1: it has those that the levels of the workflow's log and of the root "
        "logger let through.\n"
    )
    assert command("logs", "RUN1") == Done(0, "", f"note: The history has no log lines {recorded}")
    assert command("logs", "RUN1", "--level", "error") == Done(
        0, "", f"note: The history has no such log lines {recorded}"
    )
    assert command("logs", "RUN1", "-t", "load") == Done(
        0, "", "note: The history has no such log lines of the task 'load'.\n"
    )


# --- which run ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "run_id"),
    [
        ("latest", "DDDD"),
        ("latest:nightly", "BBBB"),
        ("failed", "BBBB"),
        ("AAB", "AABB"),
        ("id of nightly", ""),
        ("00000000000000000000000000000003", "AABB"),
    ],
)
def test_references(command: Command, made: MadeHistory, reference: str, run_id: str) -> None:
    """RUN is the beginning of an id, the latest, the latest of a workflow, or the last failed."""
    add_five(made)
    done = command("trace", reference)
    assert done.code == (0 if run_id else 2)
    assert run_id in done.out


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("runs", "--status", "fine"), "--status 'fine' is none: use one of running, "),
        (("runs", "--status", "lost", "--failed"), "--status lost and --failed contradict"),
        (("runs", "--since", "soon"), "--since 'soon' is no time: give how long ago, as 30m"),
        (("runs", "--until", "2026-13-01"), "--until '2026-13-01' is no time"),
        (("runs", "--since", "1h", "--until", "2h"), "--since 1h is not before --until 2h: "),
        (("runs", "--since", "9" * 400 + "w"), "is no time: "),
        (("runs", "--limit", "-1"), "Invalid value for '--limit' / '-n': "),
        (("runs", "--watch"), "--watch draws on a terminal: it does not go with a pipe"),
        (("runs", "--watch", "--json"), "--watch draws on a terminal: it does not go with --json"),
        (("runs", "extra"), "Got unexpected extra argument"),
        (("trace",), "no run is named: give RUN, such as latest, or --diff RUN RUN."),
        (("trace", "AAAA", "--diff", "AAAA", "BBBB"), "RUN and --diff are both given: "),
        (("trace", "--diff", "AAAA"), "Option '--diff' requires 2 arguments."),
        (("trace", "--diff", "AAAA", "none"), "The history has no run 'none'. "),
        (("trace", "AAAA", "--format", "xml"), "--format 'xml' is none: use one of text, "),
        (("trace", "--diff", "AAAA", "BBBB", "--format", "chrome"), "--diff is text: "),
        (("trace", "nothing"), "The history has no run 'nothing'. Give the beginning of a run"),
        (("why", "AA"), "'AA' may be any of AABB0000000000 (nightly), AAAA0000000000 (billing): "),
        (("why", ""), "The history has no run ''. "),
        (("why",), "Missing argument 'RUN'. See 'dotflow why --help'."),
        (("logs", "latest:monthly"), "The history has no run 'latest:monthly'. "),
        (("logs", "AAAA", "--task", "send"), "The run AAAA0000000000 has no task 'send': it has "),
        (("logs", "AAAA", "--level", "loud"), "--level 'loud' is none: use one of debug, "),
    ],
    ids=str,
)
def test_wrong_use(
    command: Command, made: MadeHistory, args: tuple[str, ...], message: str
) -> None:
    """What cannot be is refused in one line, with what to do."""
    add_five(made)
    done = command(*args)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def _other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()


# What is wrong with a history, and what is said of it.
UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "is not there: record one with `dotflow start`, obs"),
    "empty": (lambda path: path.write_bytes(b""), "is empty: record one with `dotflow start`, obs"),
    "damaged": (lambda path: path.write_bytes(b"no database" * 100), "is damaged (file is not a"),
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "is damaged ("),
    "newer": (_newer, "was written by a later version of dotflow (schema 99; this one knows 1)"),
    "other": (_other, "is a database of something else: name another file"),
    "folder": (lambda path: path.unlink() or path.mkdir(), ""),
}


@pytest.mark.parametrize("args", SHOWN, ids=str)
@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable(command: Command, tmp_path: Path, kind: str, args: tuple[str, ...]) -> None:
    """A history that cannot be read is told of in one line, and left as it is."""
    path = tmp_path / "here.db"
    with MadeHistory(path) as made:
        add_five(made)
    spoil, message = UNUSABLE[kind]
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    done = command(*args, "--history", str(path))
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert str(path) in done.err
    assert done.err.count("\n") == 1
    assert (path.read_bytes() if path.is_file() else None) == before


def test_locked(command: Command, made: MadeHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history that another program keeps for itself is told of, once the wait is over."""
    monkeypatch.setattr("dotflow_otel.history.store.PATIENCE", 0.1)
    add_five(made)
    made.close()
    keeper = sqlite3.connect(made.path, isolation_level=None)
    keeper.execute("PRAGMA locking_mode = EXCLUSIVE")
    keeper.execute("BEGIN EXCLUSIVE")
    try:
        done = command("runs")
    finally:
        keeper.close()
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: The history {str(made.path)!r} cannot be read: database is locked.\n"
    )


def test_which_history(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: MadeHistory
) -> None:
    """--history stands over DOTFLOW_HISTORY, and that over the usual place."""
    for name in ("here", "there", "usual"):
        path = made.path if name == "usual" else tmp_path / f"{name}.db"
        with MadeHistory(path) as other:
            other.add(name)
    assert command("runs").out.splitlines()[1].split()[1] == "usual"
    monkeypatch.setenv("DOTFLOW_HISTORY", "there.db")
    assert command("runs").out.splitlines()[1].split()[1] == "there"
    assert command("runs", "--history", "here.db").out.splitlines()[1].split()[1] == "here"


@pytest.mark.parametrize("args", SHOWN, ids=str)
def test_debug(
    command: Command, made: MadeHistory, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of dotflow's own is one line, and with --debug its traceback."""
    add_five(made)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("dotflow_otel.history.reader.RunInfo", fail)
    done = command(*args)
    assert done.code == 1
    assert done.err.startswith("error: RuntimeError: broken (")
    assert done.err.count("\n") == 1
    assert "Traceback" in command(*args, "--debug").err


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_page_of_a_command(
    command: Command, name: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command's page names all its options, and is no wider than the terminal."""
    monkeypatch.setenv("COLUMNS", columns)
    done = command(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: dotflow {name} [OPTIONS]" in done.out
    assert "--history" in done.out
    assert max(map(len, done.out.splitlines())) <= int(columns)


# --- odd names ----------------------------------------------------------------------------

ODD = (
    "\x1b[31mred\x1b[0m",
    "[bold]x[/bold] [/nothing]",
    "two\nlines\r\tand a tab",
    "\N{CJK UNIFIED IDEOGRAPH-65E5}\N{GRINNING FACE}\N{COMBINING ACUTE ACCENT}",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc\ud800",
    "x" * 10_240,
    "",
    "  ",
    ":smile: {0} %s $HOME",
)


@pytest.mark.parametrize("name", ODD, ids=[f"odd{number}" for number in range(len(ODD))])
@pytest.mark.parametrize("args", [*SHOWN, ("trace", "--diff", "latest", "latest")], ids=str)
def test_odd_names(command: Command, made: MadeHistory, name: str, args: tuple[str, ...]) -> None:
    """Whatever runs, tasks, groups, spans and errors are called, it is shown as it is."""
    name = escape_unencodable(name)
    made.add(
        name,
        MadeTask(name, 0, 1, name, error=f"{name}: {name}", spans=[MadeSpan(name, 0, 1, name)]),
        MadeTask("b", 1, 2),
        lines=[MadeLine(0, name, 20, {name or "field": name, "exception": name}, 0)],
        error=name,
    )
    done = command(*args)
    assert (done.code, done.err) == (0, "")
    assert all(each.isprintable() for each in done.out.replace("\n", ""))
    if args[0] != "logs":
        assert max(map(shared.wide, done.out.splitlines())) <= 80


# --- figures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ms"),
        (0.000001, "0.00 ms"),
        (0.00123, "1.23 ms"),
        (0.00996, "10.0 ms"),
        (0.0996, "100 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1m00s"),
        (3599.6, "1h00m"),
        (86_399, "23h59m"),
        (86_400 * 3 + 3600 * 4, "3d04h"),
        (-0.25, "-250 ms"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    """A duration takes at most eight characters, and is never rounded to 60 s or 1,000 ms."""
    assert shared.seconds(value) == text


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("1.5h", 5400), ("1d12h", 129_600), ("2w", 1_209_600)]
)
def test_how_long_ago(text: str, ago: float) -> None:
    """A duration means that long ago."""
    assert time.time() - shared.time_of("--since", text) / 1e9 == pytest.approx(ago, abs=5)


def test_a_time() -> None:
    """A time of ISO 8601 is of this machine's clock unless it names its zone."""
    assert shared.time_of("--since", "2026-03-01T12:00") == at(0)
    assert shared.time_of("--since", "2026-03-01T13:00:00+01:00") == at(0)
    assert shared.time_of("--since", "2026-03-01") == at(-12 * 3600)
