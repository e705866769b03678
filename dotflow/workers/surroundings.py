"""What workers take over from the process that owns a run, and every attempt begins with.

A step finds what it would find in the run's process at the run's beginning. What it changes is
undone after it: else the next attempt would depend on which worker it gets, and so on the number
of cores.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import warnings
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from dotflow.core.exception import RunWhileReading
from dotflow.core.user_objects import guarded
from dotflow.workers.allowance import VARIABLE, nested_workers
from dotflow.workers.reloads import code_version

if TYPE_CHECKING:
    from collections.abc import Sequence

# A filter of warnings as it travels: with its category's module and name. To import that module
# for the filter alone would take time, and run whatever it does when it is imported.
Filter = tuple[Any, Any, tuple[str, str], Any, int]


class Surroundings(NamedTuple):
    """Where a process is.

    Attributes:
        folder: The working directory.
        environment: The variables.
        path: Where modules are found.
        argv: The arguments of the program.
        recursion_limit: How deep calls may be.
        int_digits: How many digits a text of a number may have.
        filters: What becomes of warnings.
        main: The file of the main module, and the name by which it was found, if any.
        umask: The bits that new files do not get.
        modules: The program's own modules, in the order of their imports; see `import_in_order`.
    """

    folder: str
    environment: dict[str, str]
    path: list[str]
    argv: list[str]
    recursion_limit: int
    int_digits: int
    filters: list[Filter]
    main: tuple[str | None, str | None]
    umask: int
    modules: list[str]

    @classmethod
    def here(cls) -> Surroundings:
        """Return those of this process."""
        return cls(
            _folder() or "/",  # the folder was removed
            environment(),
            list(sys.path),
            list(getattr(sys, "argv", ())),  # a program that embeds Python need not set them
            sys.getrecursionlimit(),
            sys.get_int_max_str_digits(),
            _packed_filters(),
            _main(),
            _umask(),
            code_version.modules,
        )


class Baseline:
    """The state of a worker in which each attempt begins.

    Args:
        surroundings: Those of the run's process.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._given = surroundings
        self._argv = surroundings.argv
        self._recursion_limit = surroundings.recursion_limit
        self._int_digits = surroundings.int_digits
        self._environment = dict(surroundings.environment)
        nested = nested_workers()
        if nested is not None:
            self._environment[VARIABLE] = str(nested)
        # Here alone: what a step has imported may rely on what it has added, as on its globals.
        sys.path[:] = surroundings.path
        self._set_environment()
        # The name is private; to compare the variables in public takes ten times as long.
        self._variables: Any = getattr(os.environ, "_data", os.environ)
        self._expected = dict(self._variables)
        _change_to(surroundings.folder)
        self._folder = _folder()
        self._umask = surroundings.umask
        self._unknown: list[Filter] = []
        self._filters: list[Any] = []
        self._set_filters()
        self.restore()

    def restore(self) -> None:
        """Undo what a step has changed; it costs little where that is nothing."""
        os.umask(self._umask)
        # A timer that a step left would end the next one.
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._variables != self._expected:
            self._set_environment()
        try:
            folder = os.getcwd()  # noqa: PTH109 - once an attempt
        except OSError:
            folder = None  # it was removed
        if folder != self._folder:
            _change_to(self._given.folder)
        if sys.argv != self._argv:
            sys.argv[:] = self._argv
        if sys.getrecursionlimit() != self._recursion_limit:
            with contextlib.suppress(RecursionError):  # this process is deeper than that already
                sys.setrecursionlimit(self._recursion_limit)
        if sys.get_int_max_str_digits() != self._int_digits:
            sys.set_int_max_str_digits(self._int_digits)
        if warnings.filters != self._filters:
            self._set_filters()

    def note_modules(self) -> None:
        """Take over filters of categories whose modules have been imported by now."""
        if self._unknown and any(_category(each) for each in self._unknown):
            self._set_filters()

    def _set_environment(self) -> None:
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
            time.tzset()

    def _set_filters(self) -> None:
        self._unknown = [each for each in self._given.filters if _category(each) is None]
        known = ((each, _category(each)) for each in self._given.filters)
        self._filters = [
            (each[0], each[1], category, *each[3:]) for each, category in known if category
        ]
        warnings.resetwarnings()  # tells the interpreter as well that they are others
        warnings.filters[:] = self._filters  # type: ignore[index] # it is a list


def import_in_order(modules: Sequence[str]) -> RunWhileReading | None:
    """Import modules in the order in which the run's process has.

    Those that import each other may be importable from one end alone.

    Returns:
        That one of them starts a run, where one does; what else they raise is left to those who
        need them.
    """
    refused = None
    for name in modules:
        if name not in sys.modules:
            error = guarded(partial(import_module, name))[1]
            refused = error if type(error) is RunWhileReading else refused
    return refused


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - a worker does without pathlib, which is slow to import
    except OSError:
        return None


def _umask() -> int:
    # Where the system tells; to set it, and so learn what it was, is seen by other threads.
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:  # noqa: PTH123
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    found = os.umask(0o077)
    os.umask(found)
    return found


def _change_to(folder: str) -> None:
    with contextlib.suppress(OSError):  # the folder may be gone by now
        os.chdir(folder)


def environment() -> dict[str, str]:
    """Return the variables of this process."""
    # Another thread may take a variable away while they are read.
    found = ((name, os.environ.get(name)) for name in list(os.environ))
    return {name: value for name, value in found if value is not None}


def _packed_filters() -> list[Filter]:
    packed = []
    filters: Any = warnings.filters
    for found in tuple(filters):
        with contextlib.suppress(Exception):  # of a kind that only its maker knows
            action, message, category, module, line = found
            named = category.__module__, category.__qualname__
            packed.append((action, message, named, module, line))
    return packed


def _category(packed: Filter) -> type[Warning] | None:
    module, name = packed[2]
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _main() -> tuple[str | None, str | None]:
    module = sys.modules.get("__main__")
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or file.startswith("<"):  # as of a program that is piped in
        file = None
    return file, getattr(getattr(module, "__spec__", None), "name", None)
