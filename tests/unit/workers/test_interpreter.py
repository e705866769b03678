"""The command that starts an interpreter like this one."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dotflow.core.exception import InterpreterNotFound
from dotflow.workers import worker as module
from dotflow.workers.worker import interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeProgram = Callable[..., Path]

ROOT = Path(__file__).resolve().parents[3]
SHOW = "import sys; print(sys.flags, sys._xoptions, sys.warnoptions, sys.dont_write_bytecode)"
ASK = f"""\
import subprocess, sys
sys.path.append({str(ROOT)!r})
from dotflow.workers.worker import interpreter
print(subprocess.run([*interpreter(), "-c", {SHOW!r}], stdout=-1, text=True).stdout, end="")
"""


@pytest.fixture(autouse=True)
def nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with nothing found yet."""
    monkeypatch.setattr(module, "found_before", {})


@pytest.fixture
def make_program(tmp_path: Path) -> MakeProgram:
    """Return a function that makes a program, which notes that it is started."""

    def make(name: str, then: str = "") -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho x >> {tmp_path}/started\n{then}\n")
        program.chmod(0o755)
        return program

    return make


def only(executable: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no other candidate than `sys.executable`."""
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "_base_executable", executable)
    for prefix in ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, prefix, "/nowhere")


@pytest.mark.parametrize(
    "given",
    [
        [
            "-OO",
            "-B",
            "-X",
            "utf8=1",
            "-X",
            "faulthandler",
            "-W",
            "error",
            "-W",
            "ignore::UserWarning",
        ],
        ["-I"],
        ["-E", "-s", "-P", "-S"],
        ["-bb", "-X", "dev"],
    ],
    ids=" ".join,
)
def test_flags_are_those_of_this_process(given: list[str]) -> None:
    """An interpreter that is started so has the same flags, options and warning options."""
    outputs = [
        subprocess.run(
            [sys.executable, *given, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for code in (SHOW, ASK)
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0]


def test_warnings_of_the_environment_are_not_given_twice() -> None:
    """What `PYTHONWARNINGS` gives to both is no option of the command line besides."""
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONWARNINGS": "error,ignore"},
    )
    assert "['error', 'ignore']" in done.stdout


def test_this_interpreter_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `sys.executable` runs in this process, nothing is started to find that out."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something is started")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert interpreter()[0] == sys.executable


@pytest.mark.parametrize("executable", [None, "", "/bin/true", "/nowhere/python3"])
def test_one_is_found_where_executable_is_none(
    executable: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of the environment, or that which it was made from, is taken."""
    monkeypatch.setattr(sys, "executable", executable)
    found = Path(interpreter()[0])
    assert found.parent == Path(sys.prefix, "bin")
    assert found.name.startswith("python")


def test_an_application_is_not_started(
    make_program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not called like an interpreter is none, and is not tried; the error names it."""
    application = make_program("application")
    only(str(application), monkeypatch)
    with pytest.raises(InterpreterNotFound) as caught:
        interpreter()
    assert str(caught.value) == (
        f"There is no interpreter to start workers with: sys.executable={str(application)!r} is "
        "none of this version of Python, and neither sys.prefix nor sys.base_prefix has one. Set "
        "sys.executable to the path of one, run in mode 'sequential', or give "
        "Config(executor=ThreadPoolExecutor())."
    )
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("then", ["exit 1", "echo cpython 2 7", "echo"])
def test_another_version_is_asked_once(
    then: str, make_program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called like an interpreter must say that it is of the same version; once."""
    only(str(make_program("python3", then)), monkeypatch)
    for _ in range(2):
        with pytest.raises(InterpreterNotFound):
            interpreter()
    assert (tmp_path / "started").read_text() == "x\n"


def test_one_that_starts_another(
    make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that starts this interpreter, such as a launcher of versions, is as good."""
    launcher = str(make_program("python3", f'exec {sys.executable} "$@"'))
    only(launcher, monkeypatch)
    assert interpreter()[0] == launcher


def test_who_is_asked_does_not_ask_in_turn(
    make_program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program with Python in it that is called like an interpreter is started once, not on."""
    only(str(make_program("python3")), monkeypatch)
    monkeypatch.setenv(module.ASKED, "1")
    with pytest.raises(InterpreterNotFound):
        interpreter()
    assert not (tmp_path / "started").exists()


def test_a_frozen_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program is no interpreter, whatever it is called, nor where its library is."""
    only(sys.executable, monkeypatch)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    for place in ("/application/lib.zip/os.pyc", "/nowhere/lib/python3/os.py"):
        with monkeypatch.context() as changed:
            changed.setattr(os, "__file__", place)
            with pytest.raises(InterpreterNotFound):
                interpreter()


def test_a_launcher_that_says_it_is_frozen(
    make_program: MakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python as it was installed is an interpreter all the same; the launcher is not started."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert interpreter()[0] == sys.executable
    monkeypatch.setattr(sys, "executable", str(make_program("python-launcher")))
    found = Path(interpreter()[0])
    assert found.parent == Path(sys.prefix, "bin")
    assert not (tmp_path / "started").exists()


@pytest.fixture
def at_start(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | None], None]:
    """Return a function that has the system tell other variables of the process's start."""

    def tell(told: bytes | None) -> None:
        def opened(path: str, mode: str) -> BytesIO:
            assert (path, mode) == ("/proc/self/environ", "rb")
            if told is None:
                raise FileNotFoundError
            return BytesIO(told)

        module.at_start.cache_clear()
        monkeypatch.setattr(module, "open", opened, raising=False)

    return tell


@pytest.fixture(autouse=True)
def forget_start() -> Iterator[None]:
    """End with nothing known of the start."""
    yield
    module.at_start.cache_clear()


NOW = {"PYTHONHOME": "/other", "LD_PRELOAD": "lib.so", "PATH": "/bin", "MINE": "1"}


def test_variables_are_those_of_the_start(at_start: Callable[[bytes | None], None]) -> None:
    """Those that an interpreter or the loader reads; others are those of now."""
    at_start(b"PYTHONHASHSEED=7\0PYTHONPATH=/a=b\0PATH=/old\0")
    expected = {"PYTHONHASHSEED": "7", "PYTHONPATH": "/a=b", "PATH": "/bin", "MINE": "1"}
    assert module.variables(NOW) == expected
    assert module.hint(NOW) == ""
    at_start(b"")
    assert module.variables(NOW) == {"PATH": "/bin", "MINE": "1"}


@pytest.mark.parametrize(
    "told", [None, b"\0\0\0", b"my title\0", b"\0A=1\0"], ids=["none", "zeros", "title", "part"]
)
def test_a_start_that_is_not_known(
    told: bytes | None, at_start: Callable[[bytes | None], None]
) -> None:
    """Then variables are those of now, and an error names those that may be its reason."""
    at_start(told)
    assert module.variables(NOW) == NOW
    assert module.hint(NOW) == (
        " (its interpreter reads LD_PRELOAD, PYTHONHOME when it starts: are they right?)"
    )
    assert module.hint({"PATH": "/bin"}) == ""
