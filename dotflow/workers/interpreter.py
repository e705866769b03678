"""The command that starts an interpreter like this one.

`sys.executable` need not be one: in a frozen application, or a program that embeds Python, it is
that program, or nothing. To start that as a worker would start the program again, in which the
same would happen. So nothing is started that is not called like an interpreter, and what is not
plainly this one is asked first whether it is of the same version.

It is started with the variables with which this process was: those that an interpreter, or the
system's loader, reads then. A program may have set others for what it starts, such as a home of
another Python, with which a worker would not begin.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import InterpreterNotFound
from dotflow.workers.environment import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES: Final = re.compile(r"(python|pypy|graalpy)[\w.-]*", re.IGNORECASE)
_ABOUT: Final = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.abiflags)"

# Set for one that is asked: where that is a program with Python in it, it does not ask in turn.
_ASKED: Final = "DOTFLOW_ASKED_INTERPRETER"
_SECONDS: Final = 10.0

# The flags of `sys.flags` and the options that set them; isolated mode stands for three others.
_FLAGS: Final = {
    "ignore_environment": "E",
    "no_user_site": "s",
    "safe_path": "P",
    "no_site": "S",
    "debug": "d",
    "optimize": "O",
    "bytes_warning": "b",
    "verbose": "v",
    "quiet": "q",
}
_OF_ISOLATED: Final = ("ignore_environment", "no_user_site", "safe_path")

# What is read when an interpreter starts, by itself or by the system's loader.
_READ_AT_START: Final = ("PYTHON", "LD_", "DYLD_")

# By `sys.executable`, which an application may set; None: there is none.
_found: dict[object, str | None] = {}


def interpreter() -> list[str]:
    """Return the command of an interpreter like this one, with the flags that this one has.

    Raises:
        InterpreterNotFound: There is none.
    """
    executable: Any = sys.executable
    if executable not in _found:
        _found[executable] = _find(executable)
    found = _found[executable]
    if found is None:
        raise InterpreterNotFound(executable)
    return [found, *flags()]


def variables(now: dict[str, str]) -> dict[str, str]:
    """Return the variables to start an interpreter with.

    Args:
        now: Those of this process.
    """
    began = _at_start()
    if began is None:
        return dict(now)
    kept = {name: value for name, value in now.items() if not name.startswith(_READ_AT_START)}
    return {**kept, **began}


def hint(now: dict[str, str]) -> str:
    """Return what to say of a worker that does not begin: which variables may be the reason.

    Args:
        now: Those of this process.
    """
    read = sorted(name for name in now if name.startswith(_READ_AT_START))
    if not read or _at_start() is not None:
        return ""
    return f" (its interpreter reads {', '.join(read)} when it starts: are they right?)"


@cache
def _at_start() -> dict[str, str] | None:
    # None where the system does not tell, or the process has written over it to change its title.
    try:
        with open("/proc/self/environ", "rb") as file:
            told = file.read()
    except OSError:
        return None
    pairs = [entry.partition(b"=") for entry in told.removesuffix(b"\0").split(b"\0") if told]
    if not all(name and equals for name, equals, _ in pairs):
        return None
    found = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    return {name: value for name, value in found.items() if name.startswith(_READ_AT_START)}


def flags() -> list[str]:
    """Return the options of the command line that give an interpreter the flags of this one."""
    isolated = bool(sys.flags.isolated)
    given = ["-I"] if isolated else []
    for name, letter in _FLAGS.items():
        times = int(getattr(sys.flags, name))
        if times and not (isolated and name in _OF_ISOLATED):
            given.append("-" + letter * times)
    if sys.dont_write_bytecode:
        given.append("-B")
    for name, value in getattr(sys, "_xoptions", {}).items():
        given += ["-X", name if value is True else f"{name}={value}"]
    for option in _warn_options():
        given += ["-W", option]
    return given


def _warn_options() -> list[str]:
    # Without those that the flags and the environment give there as well.
    options = list(sys.warnoptions)
    implied = ["default"] if sys.flags.dev_mode else []
    if not sys.flags.ignore_environment:
        implied += os.environ.get("PYTHONWARNINGS", "").split(",")
    if sys.flags.bytes_warning:
        implied.append(f"{'default' if sys.flags.bytes_warning == 1 else 'error'}::BytesWarning")
    for option in implied:
        if option in options:
            options.remove(option)
    return options


def _find(executable: Any) -> str | None:
    if _is_named_so(executable) and _runs_here(executable) and not _is_application(executable):
        return str(executable)
    if _ASKED not in os.environ:
        for candidate in dict.fromkeys(_candidates(executable)):
            is_own = candidate == executable or _runs_here(candidate)
            if is_own and _is_application(candidate):
                continue
            if _is_named_so(candidate) and _is_alike(candidate):
                return str(candidate)
    return None


def _is_application(own: Any) -> bool:
    # A launcher may say that it is frozen as well, where Python runs as it was installed.
    return bool(getattr(sys, "frozen", False)) and not _is_installed(own)


def _candidates(executable: Any) -> Iterator[Any]:
    yield executable
    yield from _in_prefix(sys.prefix)
    yield from _in_prefix(sys.exec_prefix)
    yield getattr(sys, "_base_executable", None)
    yield from _in_prefix(sys.base_prefix)
    yield from _in_prefix(sys.base_exec_prefix)


def _in_prefix(prefix: str) -> Iterator[str]:
    major, minor = sys.version_info[:2]
    for name in (f"python{major}.{minor}{sys.abiflags}", f"python{major}", "python", "pypy3"):
        yield os.path.join(prefix, "bin", name)


def _is_named_so(path: Any) -> bool:
    if not isinstance(path, str) or not os.access(path, os.X_OK):
        return False
    names = (os.path.basename(each) for each in (path, os.path.realpath(path)))
    return any(_NAMES.fullmatch(name) for name in names)


def _is_installed(path: Any) -> bool:
    # The standard library is in files, where such a program finds it if it is Python.
    from pathlib import Path  # noqa: PLC0415 - for frozen programs alone

    try:
        libraries = Path(os.path.realpath(path)).parent.parent / sys.platlibdir
        return Path(os.__file__).is_file() and Path(os.__file__).parents[1].samefile(libraries)
    except (OSError, TypeError, ValueError):
        return False


def _runs_here(path: Any) -> bool:
    # Where the system tells which program this process runs, that one needs not be asked.
    try:
        return os.path.samefile(path, "/proc/self/exe")
    except (OSError, TypeError, ValueError):
        return False


def _is_alike(candidate: str) -> bool:
    own = f"{sys.implementation.name} {sys.version_info[0]} {sys.version_info[1]} {sys.abiflags}"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(  # noqa: S603 - called like an interpreter
            [candidate, "-I", "-S", "-c", _ABOUT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**variables(environment()), _ASKED: "1"},
            start_new_session=True,
            timeout=_SECONDS,
            check=True,
        )
        return answer.stdout.decode(errors="replace").strip() == own.strip()
    return False
