"""The program as a whole, in this process: its codes, its errors, and other people's commands."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import typer
from command_line import Done, in_process

import dotflow
from dotflow import main
from dotflow.cli import app
from dotflow.cli.commands import CORE, Command, known_commands, page
from dotflow.cli.group import run_command

if TYPE_CHECKING:
    from collections.abc import Callable

    Runs = Callable[..., Done]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runs:
    """What runs a command in a folder with the module `steps`."""
    return in_process(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--version"], 0),
        (["start", "-s", "steps:read"], 0),
        (["start", "-s", "steps:bad"], 1),
        (["start", "--wrong"], 2),
    ],
)
def test_exits_with_the_code_of_the_command(
    command: Runs, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int
) -> None:
    """The program runs the arguments of its process, and exits with the code."""
    monkeypatch.setattr(sys, "argv", ["dotflow", *args])
    with pytest.raises(SystemExit) as raised:
        main.main()
    assert raised.value.code == code


def test_interrupted_before_a_run(command: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the program is still loading ends it in one line."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "known_commands", interrupted)
    assert command("start") == Done(130, "", "error: Aborted.\n")


def test_a_working_directory_that_is_gone(command: Runs, tmp_path: Path) -> None:
    """A folder that was removed meanwhile is told in one line."""
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        done = command("start", "-s", "steps:read")
    finally:
        os.chdir(tmp_path)
    assert done == Done(
        2,
        "",
        "error: The working directory cannot be used: No such file or directory. Go to one that is "
        "there.\n",
    )


def test_output_that_cannot_be_written(command: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told in one line, and what is left is dropped."""
    dropped: list[int] = []

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app, "known_commands", full)
    monkeypatch.setattr(app, "send_nowhere", dropped.append)
    error = "error: The output could not be written: [Errno 28] No space left on device\n"
    assert command("--help") == Done(1, "", error)
    assert dropped == [1]


@pytest.mark.parametrize("library", ["typer", "typer.core"])
def test_without_the_extra(command: Runs, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Where the command line's libraries are missing, the error says how to install them."""
    monkeypatch.delitem(sys.modules, "dotflow.cli.group")
    monkeypatch.setitem(sys.modules, library, None)
    error = "error: typer is not installed: pip install 'dotflow[cli]'\n"
    assert command("start") == Done(2, "", error)


def test_a_module_of_dotflow_that_is_missing(
    command: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else cannot be imported is no matter of what is installed."""
    monkeypatch.setitem(sys.modules, "dotflow.cli.group", None)
    with pytest.raises(ModuleNotFoundError, match=r"dotflow\.cli\.group"):
        command("start")


def test_finds_modules_of_the_working_directory(
    command: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder is put in front, once, and not where the path has the empty one."""
    monkeypatch.setattr(sys, "path", ["/other"])
    command("-v")
    command("-v")
    assert sys.path == [str(tmp_path), "/other"]
    monkeypatch.setattr(sys, "path", ["/other", ""])
    command("-v")
    assert sys.path == ["/other", ""]


def test_version_beside_another_option(command: Runs) -> None:
    """`--version` is found wherever it stands."""
    assert command("--debug", "--version") == Done(0, f"dotflow=={dotflow.__version__}\n", "")


def aborts() -> None:
    """Ask for something, which nobody answers."""
    raise typer.Abort


def breaks(debug: bool = False) -> None:
    """Break."""
    raise LookupError("not there")


def succeeds() -> None:
    """Return no code."""


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, Command]:
    """Commands of a module that others could have written."""
    module: Any = ModuleType("others_commands")
    module.aborts, module.breaks, module.succeeds = aborts, breaks, succeeds
    monkeypatch.setitem(sys.modules, "others_commands", module)
    return {
        name: Command(f"others_commands:{name}", "") for name in ("aborts", "breaks", "succeeds")
    }


def test_a_command_without_a_code(
    commands: dict[str, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that returns none has done its work."""
    assert run_command(commands, ["succeeds"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_command_that_is_aborted(
    commands: dict[str, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits as an interrupted one."""
    assert run_command(commands, ["aborts"]) == 130
    assert capsys.readouterr() == ("", "note: Aborted.\n")


def test_a_command_that_breaks(
    commands: dict[str, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error is told in one line; with --debug its traceback comes before."""
    assert run_command(commands, ["breaks"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: LookupError: not there")
    assert err.endswith(". Add --debug for the traceback.\n")
    assert run_command(commands, ["breaks", "--debug"]) == 1
    _, err = capsys.readouterr()
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("\nLookupError: not there\nerror: LookupError: not there\n")


@pytest.mark.parametrize("option", ["-s", "-w"])
def test_interrupted_on_the_way_to_a_run(command: Runs, tmp_path: Path, option: str) -> None:
    """Ctrl-C while a module is imported, or a factory called, ends the command in one line."""
    (tmp_path / "odd.py").write_text(
        "def build(): raise KeyboardInterrupt" if option == "-w" else "raise KeyboardInterrupt",
        encoding="utf-8",
    )
    assert command("start", option, "odd:build") == Done(130, "", "error: Aborted.\n")


def test_a_module_that_raises_no_exception(command: Runs, tmp_path: Path) -> None:
    """An error of a user's module that is no `Exception` is told in one line as well."""
    (tmp_path / "odd.py").write_text("raise GeneratorExit('x')", encoding="utf-8")
    place = "odd.py, line 1"
    expected = f"error: GeneratorExit: x ({place}). Add --debug for the traceback.\n"
    assert command("start", "-s", "odd:step") == Done(1, "", expected)


def test_a_command_that_is_nearly_there(
    commands: dict[str, Command], capsys: pytest.CaptureFixture[str]
) -> None:
    """The close one is named, and all others."""
    assert run_command(commands, ["break"]) == 2
    expected = (
        "error: There is no command 'break': is 'breaks' meant? Use one of: aborts, breaks, "
        "succeeds. See 'dotflow --help'.\n"
    )
    assert capsys.readouterr() == ("", expected)


def test_commands_of_other_distributions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are added; those of the core stay, and tables that do not load are noted."""

    def broken() -> None:
        raise ImportError("no module")

    tables = [
        SimpleNamespace(
            value="good:TABLE", load=lambda: {"more": ("m:f", "More."), "start": ("m:s", "")}
        ),
        SimpleNamespace(value="broken:TABLE", load=broken),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: tables)
    assert known_commands() == {**CORE, "more": Command("m:f", "More.")}
    note = "note: the commands of broken:TABLE are left out, for they do not load: "
    assert capsys.readouterr() == ("", f"{note}ImportError: no module\n")


def test_page_of_what_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option without a text has its line, and an empty section none."""
    monkeypatch.setenv("COLUMNS", "80")
    sections = {"Options": {"-x": "", "-y": "Why."}, "Arguments": {}}
    assert page("Text.", "p", sections) == "Text.\n\nUsage: p\n\nOptions:\n  -x\n  -y  Why."


@pytest.mark.parametrize(("folder", "name"), [("etl", "etl"), (".", "of-here")])
def test_init_makes_a_project(command: Runs, tmp_path: Path, folder: str, name: str) -> None:
    """All files are there, with the name in them, and the next steps are printed."""
    done = command("init", folder, "--name", name)
    enters = "    cd etl\n" if folder == "etl" else ""
    assert done == Done(
        0,
        f"The project {name} is in {folder}. Next:\n\n{enters}"
        "    dotflow start --workflow workflow:build\n    python -m pytest\n",
        "",
    )
    made = tmp_path / folder
    files = {str(each.relative_to(made)) for each in made.rglob("*") if each.is_file()}
    assert files - {"steps.py"} == {
        "README.md",
        ".gitignore",
        "pyproject.toml",
        "workflow.py",
        "tests/test_workflow.py",
    }
    assert (made / "README.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert f'name = "{name}"' in (made / "pyproject.toml").read_text(encoding="utf-8")


def test_init_in_a_folder_that_cannot_be(command: Runs) -> None:
    """An empty name, as of an unset variable, and one that is too long are refused in one line."""
    error = "error: FOLDER is empty: give the path of one, or none for the working directory.\n"
    assert command("init", "") == Done(2, "", error)
    done = command("init", "a" * 300)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("error: The project cannot be written to aaa")


def test_init_that_fails_half_way(
    command: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is removed, so that the next try is not refused; files of others stay."""
    opened = Path.open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "workflow.py":
            raise OSError(28, "No space left on device")
        return opened(path, *args, **kwargs)

    (tmp_path / "etl").mkdir()
    (tmp_path / "etl" / "notes.txt").touch()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        done = command("init", "etl")
    assert done.err == (
        "error: The project cannot be written to etl: [Errno 28] No space left on device.\n"
    )
    assert [each.name for each in (tmp_path / "etl").rglob("*") if each.is_file()] == ["notes.txt"]
    assert command("init", "etl").code == 0


def test_init_where_nothing_can_be_written(command: Runs, tmp_path: Path) -> None:
    """A folder that cannot be made is told in one line."""
    done = command("init", "steps.py/etl")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("error: The project cannot be written to steps.py/etl: [Errno ")
