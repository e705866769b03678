"""The command that starts an interpreter like this one.

`sys.executable` need not be one: in a frozen application, or a program that embeds Python, it is
that program, or nothing. To start that as a worker would start the program again, in which the
same would happen. So nothing is started that is not called like an interpreter, and what is not
plainly this one is asked first whether it is of the same version.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.exception import InterpreterNotFound

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
    is_frozen = getattr(sys, "frozen", False)
    if not is_frozen and _is_named_so(executable) and _runs_here(executable):
        return str(executable)
    if _ASKED not in os.environ:
        for candidate in dict.fromkeys(_candidates(executable)):
            if is_frozen and (candidate == executable or _runs_here(candidate)):
                continue
            if _is_named_so(candidate) and _is_alike(candidate):
                return str(candidate)
    return None


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
        yield str(Path(prefix, "bin", name))


def _is_named_so(path: Any) -> bool:
    if not isinstance(path, str) or not os.access(path, os.X_OK):
        return False
    names = (os.path.basename(each) for each in (path, os.path.realpath(path)))  # noqa: PTH119
    return any(_NAMES.fullmatch(name) for name in names)


def _runs_here(path: Any) -> bool:
    # Where the system tells which program this process runs, that one needs not be asked.
    try:
        return Path(path).samefile("/proc/self/exe")
    except (OSError, TypeError, ValueError):
        return False


def _is_alike(candidate: str) -> bool:
    own = f"{sys.implementation.name} {sys.version_info[0]} {sys.version_info[1]} {sys.abiflags}"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(  # noqa: S603 - called like an interpreter
            [candidate, "-I", "-S", "-c", _ABOUT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, _ASKED: "1"},
            start_new_session=True,
            timeout=_SECONDS,
            check=True,
        )
        return answer.stdout.decode(errors="replace").strip() == own.strip()
    return False
