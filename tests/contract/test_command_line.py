"""The command line: what each flag does, what is refused, and the exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import Done, in_process

import dotflow

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., Done]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """What runs a command in an empty folder with the module `steps`."""
    monkeypatch.setenv("COLUMNS", "80")
    return in_process(tmp_path, monkeypatch, capsys)


def last_line(done: Done) -> str:
    """The last line of stderr, where an error is."""
    return done.err.rstrip("\n").rpartition("\n")[2]


def test_version(command: Command) -> None:
    """`-v` and `--version` print the version as pip writes it."""
    expected = Done(0, f"dotflow=={dotflow.__version__}\n", "")
    assert command("-v") == command("--version") == expected


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",), ("--debug",), ("--debug", "--help")])
def test_page_of_the_program(command: Command, args: tuple[str, ...]) -> None:
    """Without a command the description and all commands are printed."""
    done = command(*args)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{dotflow.__description__}.\n\nUsage: dotflow ")
    assert [line.split()[0] for line in done.out.splitlines()[5:8]] == ["start", "schedule", "init"]


@pytest.mark.parametrize("name", ["start", "schedule", "init"])
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_page_of_a_command(
    command: Command, name: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command's page names all its options, and is no wider than the terminal."""
    monkeypatch.setenv("COLUMNS", columns)
    done = command(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: dotflow {name} [OPTIONS]" in done.out
    assert "--debug" in done.out
    assert max(map(len, done.out.splitlines())) <= int(columns)


def test_steps_run_in_order(command: Command) -> None:
    """Each --step is a task; the table shows them with what they returned."""
    done = command("start", "-s", "steps:read", "--step", "steps.total")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "reading"
    assert lines[1].split() == ["task", "status", "time", "result"]
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["read", "Completed"],
        ["total", "Completed"],
    ]
    assert lines[3].rstrip().endswith(" 6")
    assert lines[4].startswith("workflow: completed in ")
    assert lines[4].endswith(", 2 tasks")


@pytest.mark.parametrize("mode", ["sequential", "sequential_group", "background", "parallel"])
@pytest.mark.parametrize("arguments", [("-s", "steps:echo", "-i", "[7]"), ("-w", "steps:build")])
def test_each_mode_waits_for_its_work(
    command: Command, mode: str, arguments: tuple[str, ...]
) -> None:
    """The command ends when the run has, in each mode; so what steps returned is shown."""
    done = command("start", *arguments, "-m", mode)
    # Of a workflow in one group each task is on its own in `parallel`: `total` gets nothing.
    fails = mode == "parallel" and "-w" in arguments
    assert done.code == (1 if fails else 0)
    assert "Completed" in done.out
    if "-w" not in arguments:
        assert "[7]" in done.out


def test_names_the_workflow(command: Command) -> None:
    """--name is what the run is called."""
    assert (
        "\nbilling: completed in " in command("start", "-s", "steps:read", "--name", "billing").out
    )


def test_callback_is_called_after_each_step(command: Command) -> None:
    """--callback names a callable that gets each task."""
    done = command("start", "-s", "steps:read", "-s", "steps:total", "-c", "steps:after")
    assert [line for line in done.out.splitlines() if line.startswith("after")] == [
        "after read",
        "after total",
    ]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('{"a": [1, null]}', "{'a': [1, None]}"),
        ("5", "5"),
        ('"5"', "'5'"),
        ("hello world", "'hello world'"),
        ("2026-01-31", "'2026-01-31'"),
        ("", "''"),
    ],
)
def test_initial_context(command: Command, given: str, shown: str) -> None:
    """--initial-context is JSON; what is plainly none is passed as a text, as in 1.x."""
    done = command("start", "-s", "steps:echo", "-i", given)
    assert done.code == 0
    assert done.out.splitlines()[1].rstrip().endswith(f"  {shown}")


@pytest.mark.parametrize("given", ['{"a": 1', "[1, 2", '"open', "{a: 1}"])
def test_initial_context_that_is_no_json(command: Command, given: str) -> None:
    """A text that begins as JSON does has to be JSON."""
    done = command("start", "-s", "steps:echo", "-i", given)
    assert (done.code, done.out) == (2, "")
    assert last_line(done).startswith("error: --initial-context is no JSON: ")
    assert last_line(done).endswith(f"Given: {given}")


def test_initial_context_that_is_nested_too_deep(command: Command) -> None:
    """JSON that no reader takes is refused in a short line."""
    done = command("start", "-s", "steps:echo", "-i", "[" * 100_000)
    assert done == Done(2, "", "error: --initial-context is nested too deep to be read as JSON.\n")


def test_a_failed_task(command: Command) -> None:
    """The exit code is 1; retries, the step's traceback and a line of all are on stderr."""
    done = command("start", "-w", "steps:build_bad")
    assert done.code == 1
    statuses = [line.split()[1] for line in done.out.splitlines()[2:5]]
    assert statuses == ["Completed", "Failed", "Not"]
    assert done.out.splitlines()[5].endswith("3 tasks: 1 completed, 1 failed, 1 not started")
    lines = done.err.splitlines()
    assert lines[0] == "note: bad: attempt 1 of 2 failed, another follows: ValueError: no luck"
    assert lines[2:4] == ["task bad", "Traceback (most recent call last):"]
    assert "dotflow" not in done.err.partition("Traceback")[2].partition("error:")[0]
    assert lines[-1] == (
        "error: bad: 1 of 3 tasks failed: bad (ValueError: no luck, in attempt 2 of 2)"
    )


def test_keep_going(command: Command) -> None:
    """With --keep-going the tasks behind a failed one run."""
    done = command("start", "-w", "steps:build_bad", "--keep-going")
    assert done.code == 1
    assert done.out.splitlines()[-1].endswith("3 tasks: 2 completed, 1 failed")


def test_a_step_that_exits(command: Command) -> None:
    """`sys.exit` in a step is that task's failure, and not the command's code."""
    done = command("start", "-s", "steps:leaves", "-s", "steps:read")
    assert done.code == 1
    assert last_line(done) == "error: workflow: 1 of 2 tasks failed: leaves (SystemExit: 3)"


def test_resume(command: Command, tmp_path: Path) -> None:
    """What completed in an earlier process is restored, by its id and its folder."""
    arguments = ("start", "-s", "steps:once", "-o", "file", "-p", "kept", "--workflow-id", "etl")
    first, second = command(*arguments), command(*arguments, "--resume")
    assert (first.code, second.code, second.err) == (0, 0, "")
    assert second.out.splitlines()[1].split() == ["once", "Restored", "'done'"]
    assert (tmp_path / "runs").read_text() == "x"
    assert (tmp_path / "kept" / "tasks").is_dir()


def test_resume_of_a_factory(command: Command) -> None:
    """A factory that sets no storage and no id gets those of the command line."""
    arguments = ("start", "-w", "steps:build", "-o", "file", "-p", "kept", "--workflow-id", "etl")
    assert command(*arguments).code == 0
    assert command(*arguments, "--resume").out.count("Restored") == 2


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        (
            (),
            "note: --resume finds nothing that another process kept in memory: add --storage file",
        ),
        (("-o", "file"), "note: --resume finds nothing without the id of the earlier run"),
    ],
)
def test_resume_that_finds_nothing(command: Command, arguments: tuple[str, ...], note: str) -> None:
    """A note says why a run is resumed in vain; it goes on all the same."""
    done = command("start", "-s", "steps:read", "--resume", *arguments)
    assert done.code == 0
    assert done.err.startswith(note)


GIVE = "give either --step MODULE:FUNCTION, once or more, or --workflow MODULE:FACTORY."
FACTORY = "it must be a callable without arguments that returns a DotFlow."
WRONG = [
    ((), f"nothing says what to run: {GIVE}"),
    (("-s", "steps:read", "-w", "steps:build"), f"--step and --workflow are both given: {GIVE}"),
    (
        ("-w", "steps:build", "-c", "steps:after"),
        "--callback cannot be combined with --workflow: set it inside the workflow factory.",
    ),
    (
        ("-w", "steps:build", "-i", "1"),
        "--initial-context cannot be combined with --workflow: set it inside the workflow factory.",
    ),
    (
        ("-w", "steps:build", "--name", "x"),
        "--name cannot be combined with --workflow: set it inside the workflow factory.",
    ),
    (
        ("-w", "steps:build_own", "-o", "file"),
        "--storage cannot be combined with --workflow: set it inside the workflow factory.",
    ),
    (
        ("-w", "steps:build_own", "--workflow-id", "x"),
        "--workflow-id cannot be combined with --workflow: set it inside the workflow factory.",
    ),
    (
        ("-s", "steps:read", "-p", "x"),
        "--path is the folder of '--storage file': add that, or leave it out.",
    ),
    (
        ("-s", "steps:read", "-o", "s3"),
        "--storage s3 needs a bucket: add --path BUCKET/PREFIX.",
    ),
    (
        ("-s", "steps:read", "-o", "gcs"),
        "--storage gcs needs a bucket: add --path BUCKET/PREFIX.",
    ),
    (
        ("-s", "steps:read", "-o", "disk"),
        "--storage='disk' is not valid: use one of default, file.",
    ),
    (
        ("-s", "steps:read", "-m", "paralel"),
        (
            "There is no execution mode 'paralel': is 'parallel' meant? Use one of: 'sequential', "
            "'sequential_group', 'background', 'parallel'."
        ),
    ),
    (
        ("-s", "json:dumps"),
        (
            "A step must be made with the @action decorator (given: 'json:dumps'). Decorate the "
            "function or class with `@action` and add that, not what it returns; several steps as "
            "a list."
        ),
    ),
    (
        ("-s", "nowhere:x"),
        (
            "Cannot import 'nowhere:x': ModuleNotFoundError: No module named 'nowhere'. Write "
            "'package.module:attribute' or 'package.module.attribute', importable from here."
        ),
    ),
    *(
        (
            ("-s", f"{file}:read"),
            (
                f"Cannot import '{file}:read': '{file}' is the path of a file, and a module is "
                "named as by 'import'. Write 'package.module:attribute' or "
                "'package.module.attribute', importable from here."
            ),
        )
        for file in ("steps.py", "./steps.py", "jobs/steps")
    ),
    (
        ("-w", "steps:build_nothing"),
        f"steps:build_nothing is not a workflow factory (it returned None): {FACTORY}",
    ),
    (
        ("-w", "steps:number"),
        (
            "steps:number is not a workflow factory (it is a value of type int, which cannot be "
            f"called): {FACTORY}"
        ),
    ),
    (("--stpe", "x"), "No such option: --stpe"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[str(each[0]) for each in WRONG])
def test_wrong_use(command: Command, arguments: tuple[str, ...], message: str) -> None:
    """What cannot be is refused in one line that says what to do, with 2, before anything runs."""
    done = command("start", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("async def build(): pass", "it returned a value of type coroutine"),
        ("def build(): raise GeneratorExit('x')", "it raised GeneratorExit: x in odd.py, line 1"),
        (
            "import asyncio\ndef build(): raise asyncio.CancelledError('x')",
            "it raised CancelledError: x in odd.py, line 2",
        ),
    ],
)
def test_odd_factory(command: Command, tmp_path: Path, code: str, reason: str) -> None:
    """A coroutine function, or an error that is no `Exception`, is refused in one line as well."""
    (tmp_path / "odd.py").write_text(code, encoding="utf-8")
    done = command("start", "-w", "odd:build")
    assert done == Done(
        2, "", f"error: odd:build is not a workflow factory ({reason}): {FACTORY}\n"
    )


def test_factory_that_raises(command: Command) -> None:
    """A factory's error is shown with its line; --debug shows the traceback."""
    done = command("start", "-w", "steps:build_broken")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert " (it raised KeyError: 'k' in steps.py, line " in done.err
    debugged = command("start", "-w", "steps:build_broken", "--debug")
    assert debugged.code == 2
    assert debugged.err.startswith("Traceback (most recent call last):")
    assert last_line(debugged) == last_line(done)


@pytest.mark.parametrize(
    ("code", "reason", "place"),
    [
        ("x = 1\ny = x / 0\n", "ZeroDivisionError: division by zero", "broken.py, line 2"),
        ("x = 1\n\ndef f(:\n", "SyntaxError: ", "broken.py, line 3"),
        ("import sys\nsys.exit(4)\n", "SystemExit: 4", "broken.py, line 2"),
        (
            "\nimport nowhere\n",
            "ModuleNotFoundError: No module named 'nowhere'",
            "broken.py, line 2",
        ),
        ("import json\n\njson.loads('{')\n", "JSONDecodeError: ", "broken.py, line 3"),
    ],
)
def test_module_that_fails_on_import(
    command: Command, tmp_path: Path, code: str, reason: str, place: str
) -> None:
    """The line that failed is named, in one line; it is the user's, not a library's."""
    (tmp_path / "broken.py").write_text(code)
    done = command("start", "-s", "broken:x")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: Cannot import 'broken:x': {reason}")
    assert f" That comes from {place}, " in done.err


def test_folder_that_cannot_be_made(command: Command, tmp_path: Path) -> None:
    """A path that is a file is refused, and left as it is."""
    (tmp_path / "file").write_text("kept")
    done = command("start", "-s", "steps:read", "-o", "file", "-p", "file")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: path='file' is not valid: ")
    assert done.err.endswith("file is a file: give the path of a folder.\n")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("start", "-s", "steps:read", "-o", "file", "-p", "/proc/x"),
            "--storage file cannot use the folder /proc/x: ",
        ),
        (("init", "/proc/x"), "The project cannot be written to /proc/x: "),
    ],
)
def test_folder_that_takes_no_files(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    """A folder that the system refuses is wrong use, in one line."""
    done = command(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: {message}")


def test_unknown_command(command: Command) -> None:
    """A command that is not there is refused with the one that is close."""
    done = command("strt")
    assert done.code == 2
    assert done.err.startswith(
        "error: There is no command 'strt': is 'start' meant? Use one of: start, schedule, init, "
    )
    assert done.err.endswith(". See 'dotflow --help'.\n")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-s", "steps:read"), "Missing option '--cron'. See 'dotflow schedule --help'."),
        (
            ("-s", "steps:read", "--cron", "0 0 30 2 *"),
            "cron='0 0 30 2 *' is not valid: no time ever matches it.",
        ),
        (("-s", "steps:read", "--cron", "often"), "cron='often' is not valid: it is no cron"),
        (
            ("-s", "steps:read", "--cron", "* * * * *", "--overlap", "x"),
            "overlap='x' is not valid: use one of skip, queue, parallel.",
        ),
        (
            ("-s", "steps:read", "--cron", "* * * * *", "--timezone", "Mars/Base"),
            "timezone='Mars/Base' is not valid: give the name of a time zone",
        ),
        (("--cron", "* * * * *"), f"nothing says what to run: {GIVE}"),
        (
            ("-w", "steps:build", "-i", "1", "--cron", "* * * * *"),
            "--initial-context cannot be combined with --workflow",
        ),
    ],
)
def test_wrong_schedule(command: Command, arguments: tuple[str, ...], message: str) -> None:
    """What can never run is refused at once."""
    done = command("schedule", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"error: {message}")


def test_init_overwrites_nothing(command: Command, tmp_path: Path) -> None:
    """Where one of its files is there, `init` writes none, and names it."""
    (tmp_path / "etl").mkdir()
    (tmp_path / "etl" / "README.md").write_text("mine")
    done = command("init", "etl")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: README.md in etl would be overwritten, so nothing was made")
    assert [path.name for path in (tmp_path / "etl").iterdir()] == ["README.md"]
    assert (tmp_path / "etl" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["Etl", "1st", "a b", "a'b", "-x", "é", "a-", ""])
def test_init_takes_names_that_can_be_projects(command: Command, tmp_path: Path, name: str) -> None:
    """A name that would break the project is refused, before anything is made."""
    done = command("init", "here", f"--name={name}")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {name!r} cannot be the project's name: give --name one of")
    assert not (tmp_path / "here").exists()
