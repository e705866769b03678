"""The program `dotflow` as a process: its streams, signals, schedules, projects and extensions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import ROOT, command, environment, finished, started
from waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

ABORTED = {signal.SIGINT: (130, "Aborted."), signal.SIGTERM: (143, "Terminated.")}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a failed test must not leave."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    """With --json stdout has the result alone; what steps print is on stderr, also in workers."""
    steps = ("-s", "steps:process", "-s", "steps:read", "-s", "steps:bad", "-m", "parallel")
    done = command(tmp_path, "start", *steps, "--json", "--name", "etl")
    assert done.code == 1
    assert done.out.count("\n") == 1
    result = json.loads(done.out)
    assert (result["name"], result["status"]) == ("etl", "Failed")
    assert result["duration"] > 0
    statuses = {task["name"]: task["status"] for task in result["tasks"]}
    assert statuses == {"process": "Completed", "read": "Completed", "bad": "Failed"}
    assert int(result["tasks"][0]["current_context"]) > 0
    assert result["tasks"][2]["error"]["exception"] == "ValueError"
    assert "in a worker" in done.err
    assert "reading" in done.err


@pytest.mark.parametrize("number", ABORTED)
@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_signal_ends_a_run(
    tmp_path: Path,
    running: list[subprocess.Popen[str]],
    mode: str,
    number: signal.Signals,
) -> None:
    """Ctrl-C and SIGTERM end the run and its workers, with the result so far and without noise."""
    process = started(tmp_path, "start", "-s", "steps:slow", "-s", "steps:read", "-m", mode)
    running.append(process)
    wait_for((tmp_path / "started").exists)
    process.send_signal(number)
    done = finished(process)
    code, line = ABORTED[number]
    assert (done.code, done.err) == (code, f"error: {line}\n")
    rows = {row.split()[0]: row.split()[1:] for row in done.out.splitlines() if row[:1] in "rs"}
    assert rows["slow"][0] == "Failed"
    assert rows["slow"][-1] == "interrupted"


@pytest.mark.parametrize("number", ABORTED)
def test_signal_waits_for_the_background(
    tmp_path: Path, running: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    """A run in the background cannot be interrupted: a note says so, and a second signal leaves."""
    process = started(tmp_path, "start", "-s", "steps:slow", "-m", "background")
    running.append(process)
    wait_for((tmp_path / "started").exists)
    process.send_signal(number)
    assert process.stderr is not None
    assert process.stderr.readline() == (
        "note: Waiting for the run in the background to end; once more leaves it at once.\n"
    )
    process.send_signal(number)
    done = finished(process)
    assert done.code == ABORTED[number][0]
    assert done.err == "error: Aborted: what was running is left as it is.\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe(tmp_path: Path, running: list[subprocess.Popen[str]], unbuffered: str) -> None:
    """Where the reader goes, as `head` does, the run goes on to its end, without a traceback."""
    process = started(tmp_path, "start", "-s", "steps:chatty", PYTHONUNBUFFERED=unbuffered)
    running.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    (tmp_path / "closed").touch()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("options", ["", "--json -m parallel"])
def test_closed_streams(tmp_path: Path, closed: str, options: str) -> None:
    """Streams that are closed from the start keep neither the run nor the other streams from it."""
    command(tmp_path, "-v")  # writes the steps
    program = f"{sys.executable} -m dotflow.main start -s steps:read {options} {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        0,
        "reading\n" if "json" in options and closed == ">&-" else "",
    )
    if closed != "2>&-":
        assert done.stdout == ""
    elif options:
        assert json.loads(done.stdout)["status"] == "Completed"
    else:
        assert done.stdout.endswith(", 1 task\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("args", ["start -s steps:read --json", "start --help", "--help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk(tmp_path: Path, args: str, unbuffered: str) -> None:
    """Where the output cannot be written the code is 1, and a line says why."""
    command(tmp_path, "-v")  # writes the steps
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dotflow.main", *args.split()],
            cwd=tmp_path,
            env=environment(PYTHONUNBUFFERED=unbuffered),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert re.search("^error: .* No space left on device", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_streams_without_unicode(tmp_path: Path) -> None:
    """A character that stdout has no code for is written by its number."""
    done = command(tmp_path, "start", "-s", "steps:snowman", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1].rstrip().endswith("'\\u2603'")


def test_no_colours_in_a_pipe(tmp_path: Path) -> None:
    """Neither stream has escapes where it is no terminal."""
    done = command(tmp_path, "start", "-w", "steps:build_bad", TERM="xterm-256color")
    assert done.code == 1
    assert "\x1b" not in done.out + done.err


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal(tmp_path: Path, variables: dict[str, str], coloured: bool) -> None:
    """On a terminal the status has a colour, unless NO_COLOR is set; lines fit its width."""
    command(tmp_path, "-v")  # writes the steps
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dotflow.main", "start", "-w", "steps:build"],
        cwd=tmp_path,
        env=environment(TERM="xterm-256color", COLUMNS="40", **variables),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    _, err = process.communicate(timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert (process.returncode, err) == (0, b"")
    assert ("\x1b[32mCompleted" in shown) is coloured
    assert ("\x1b[3" in shown) is coloured
    if not coloured:
        plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert max(map(len, plain.splitlines())) <= 40


def test_script_finds_modules_of_the_working_directory(tmp_path: Path) -> None:
    """The installed script imports what is beside the user, and so do its workers."""
    script = Path(sysconfig.get_path("scripts")) / "dotflow"
    command(tmp_path, "-v")  # writes the steps
    done = subprocess.run(
        [script, "start", "-s", "steps:read", "-s", "steps:echo", "-m", "parallel"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(", 2 tasks\n")


def test_without_the_extra(tmp_path: Path) -> None:
    """A command without typer says in one line how to install it; the program's page is there."""
    code = (
        "import sys\n"
        "sys.modules['typer'] = None\n"
        "from dotflow.cli.app import run\n"
        "assert run(['--help']) == 0\n"
        "sys.exit(run(['start', '-s', 'x:y']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Commands:" in done.stdout
    assert done.stderr == "error: typer is not installed: pip install 'dotflow[cli]'\n"


def test_page_loads_little() -> None:
    """`dotflow --help` loads neither its libraries nor what runs workflows."""
    code = (
        "import sys\n"
        "from dotflow.cli.app import run\n"
        "run(['--help'])\n"
        "late = ('typer', 'rich', 'dotflow.core', 'dotflow_otel.history', 'opentelemetry', "
        "'sqlite3', 'asyncio')\n"
        "print([name for name in late if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("dotflow st", {"start"}),
        ("dotflow start --mode p", {"parallel"}),
        ("dotflow start --storage ", {"default", "file"}),
    ],
)
def test_completion(tmp_path: Path, words: str, completions: set[str]) -> None:
    """A shell gets the commands, options and values that begin so."""
    done = command(
        tmp_path,
        _DOTFLOW_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    )
    assert (done.code, set(done.out.split()), done.err) == (0, completions, "")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (("-s", "steps:read", "--observe"), {}),
        (("-w", "steps:build"), {"DOTFLOW_OBSERVE": "1"}),
    ],
)
def test_observe(tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str]) -> None:
    """--observe, or DOTFLOW_OBSERVE=1, exports the run as the OTEL_* variables say."""
    done = command(tmp_path, "start", *arguments, OTEL_TRACES_EXPORTER="console", **variables)
    assert done.code == 0, done.err
    assert '"name": "task read"' in done.out
    events = [json.loads(line)["event"] for line in done.err.splitlines() if line[:1] == "{"]
    assert events[0] == "workflow.started"
    assert events[-1] == "workflow.completed"


def test_unobserved(tmp_path: Path) -> None:
    """Without it nothing is exported, whatever the variables say."""
    done = command(
        tmp_path, "start", "-s", "steps:read", OTEL_TRACES_EXPORTER="console", DOTFLOW_OBSERVE="0"
    )
    assert (done.code, done.err) == (0, "")
    assert "task read" not in done.out


def _distribution(folder: Path, name: str, module: str, code: str) -> None:
    (folder / f"{module}.py").write_text(code)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[dotflow.commands]\n{name} = {module}:COMMANDS\n"
    )


def test_commands_of_other_distributions(tmp_path: Path) -> None:
    """A table of commands that an entry point names is part of the program, and loaded late."""
    other = tmp_path / "other"
    other.mkdir()
    _distribution(
        other,
        "greeting",
        "greeting",
        "COMMANDS = {'greet': ('greets:greet', 'Greet somebody.'), 'start': ('x:y', 'Never.')}\n",
    )
    (other / "greets.py").write_text(
        "import typer\n\n"
        "def greet(name: str, loud: bool = typer.Option(False, '--loud')) -> int:\n"
        "    'Greet somebody, loudly where asked to.'\n"
        "    print(f'Hello {name}' + '!' * loud)\n"
        "    return 1 if name == 'nobody' else 0\n"
    )
    _distribution(other, "broken", "broken_commands", "import nowhere\n")
    path = os.pathsep.join([str(other), str(ROOT)])

    page = command(tmp_path, PYTHONPATH=path)
    assert page.code == 0
    assert "  greet     Greet somebody.\n" in page.out
    assert "Never." not in page.out
    assert page.err == (
        "note: the commands of broken_commands:COMMANDS are left out, for they do not load: "
        "ModuleNotFoundError: No module named 'nowhere'\n"
    )
    assert command(tmp_path, "greet", "Ann", "--loud", PYTHONPATH=path)[:2] == (0, "Hello Ann!\n")
    assert command(tmp_path, "greet", "nobody", PYTHONPATH=path).code == 1
    assert command(tmp_path, "start", "-s", "steps:read", PYTHONPATH=path).code == 0


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ("--timezone", "Asia/Tokyo", "--json"))],
)
def test_schedule_ends_in_order(
    tmp_path: Path,
    running: list[subprocess.Popen[str]],
    number: signal.Signals,
    options: tuple[str, ...],
) -> None:
    """A schedule runs the workflow at each tick, and ends at a signal, with its code."""
    process = started(tmp_path, "schedule", "--cron", "* * * * * *", "-w", "steps:build", *options)
    running.append(process)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("note: sums: runs next at 20")
    assert first.endswith("; Ctrl-C ends it\n")
    assert ("JST" in first) is ("Asia/Tokyo" in options)
    assert process.stdout is not None
    if "--json" in options:
        assert json.loads(process.stdout.readline())["status"] == "Completed"
    else:
        while not process.stdout.readline().startswith("sums: completed in "):
            pass
    process.send_signal(number)
    done = finished(process)
    assert done.code == ABORTED[number][0]
    assert done.err.endswith("note: The schedule has ended.\n")
    assert "Traceback" not in done.err


def test_schedule_waits_for_the_run_that_goes_on(
    tmp_path: Path, running: list[subprocess.Popen[str]]
) -> None:
    """SIGTERM ends a schedule once its run has ended, whose result is written."""
    process = started(tmp_path, "schedule", "--cron", "* * * * * *", "-s", "steps:chatty")
    running.append(process)
    wait_for((tmp_path / "started").exists)
    process.send_signal(signal.SIGTERM)
    (tmp_path / "closed").touch()
    done = finished(process)
    assert done.code == 143
    assert "workflow: completed in " in done.out


def test_schedule_goes_on_after_a_failed_run(
    tmp_path: Path, running: list[subprocess.Popen[str]]
) -> None:
    """A run that fails is shown with its traceback, and the next tick comes all the same."""
    process = started(tmp_path, "schedule", "--cron", "* * * * * *", "-s", "steps:bad")
    running.append(process)
    assert process.stdout is not None
    ended: list[str] = []
    while len(ended) < 2:
        line = process.stdout.readline()
        if line.startswith("workflow: "):
            ended.append(line)
    process.send_signal(signal.SIGTERM)
    done = finished(process)
    assert done.code == 143
    assert "failed in " in ended[1]
    assert done.err.count("error: workflow: 1 of 1 task failed: bad (ValueError: no luck") >= 2


def test_init_makes_a_project_that_runs(tmp_path: Path) -> None:
    """In an empty folder: `init`, `start`, and the tests of the project pass."""
    folder = tmp_path / "my-etl"
    folder.mkdir()
    made = subprocess.run(
        [sys.executable, "-m", "dotflow.main", "init"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("The project my-etl is in ")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "tests/test_workflow.py",
        "workflow.py",
    }
    text = "".join((folder / file).read_text() for file in files)
    assert "$" not in text
    assert max(map(len, text.splitlines())) <= 90
    for program in (
        ["dotflow.main", "start", "--workflow", "workflow:build"],
        ["pytest", "-q", "-p", "no:cacheprovider"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *program],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
