"""What workers take over from the process that owns a run, and every attempt begins with.

A step finds what it would find in the run's process at the run's beginning. What it changes is
undone after it: else the next attempt would depend on which worker it gets, and so on the number
of cores.
"""

from __future__ import annotations

import _locale
import _signal  # type: ignore[import-not-found] # it is private, and has no types
import contextlib
import os
import signal
import socket
import sys
import time
import warnings
from functools import partial
from importlib import import_module
from math import isqrt
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.core.exception import RunWhileReading, TooManyNestedWorkers
from dotflow.core.user_objects import guarded
from dotflow.workers.imports import FinderByPlace, code_version, import_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.workers.imports import Place


VARIABLE: Final = "DOTFLOW_NESTED_WORKERS"

# What a pool of a process that is no worker may have below it: so many in all, or for each of
# its workers, whichever is more.
_LEAST: Final = 16
_EACH: Final = 8

# The most generations of workers there are: each has no more than this part of the one before.
_SHARE: Final = 4

# How many pools a worker may have full of workers at a time: an application's and a few own.
_POOLS: Final = 4


class Own:
    """What this process may have below it, where it is a worker."""

    workers: int | None = None


def become_worker() -> None:
    """Note that this process is a worker, whatever a step does to its environment."""
    Own.workers = _inherited() or 0


def nested_workers() -> int | None:
    """Return how many workers may be below this process; None: it is below no worker."""
    return _inherited() if Own.workers is None else Own.workers


def _inherited() -> int | None:
    told = os.environ.get(VARIABLE, "")
    return int(told) if told.isdecimal() else None


def pool_size(wanted: int) -> int:
    """Return how many workers a pool of this process may have, which would have so many.

    Raises:
        TooManyNestedWorkers: It may have none.
        RunWhileReading: It is a child of a step that is still reading its main module.
    """
    own = nested_workers()
    if own is None:
        return wanted
    if _reads_main_module():
        raise RunWhileReading
    if own < 1:
        raise TooManyNestedWorkers
    return min(wanted, isqrt(own))


def _reads_main_module() -> bool:
    # As a child of `multiprocessing` does that is not forked, which is imported by that time. The
    # name is private; `multiprocessing` asks for it before it starts a child of such a child.
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and getattr(process.current_process(), "_inheriting", False)


def share_of_each(size: int) -> int:
    """Return how many workers may be below each one of a pool of this process."""
    own = nested_workers()
    whole = max(_LEAST, _EACH * size) if own is None else own
    return max(0, min((whole - size) // size, whole // _SHARE))


def check_one_more(live: int) -> None:
    """Check that this process may start a worker beside those that it has, of all its pools.

    Raises:
        TooManyNestedWorkers: It may not.
    """
    own = nested_workers()
    if own is not None and live >= _POOLS * isqrt(own):
        raise TooManyNestedWorkers


# Of this process, where that is a worker.
_finder: Final = FinderByPlace()

# The public functions make enumerations of what they return, and take several times as long.
_handler: Final = _signal.getsignal
_mask: Final = _signal.pthread_sigmask
_ADD: Final = int(signal.SIG_BLOCK)

# Those that programs handle. Left out are errors of the process itself, which have handlers that
# Python does not know of, as of `faulthandler`, those of a terminal, and real-time ones: to ask for
# each takes time.
_SIGNALS: Final = tuple(
    int(getattr(signal, f"SIG{name}"))
    for name in (
        *("HUP", "INT", "QUIT", "USR1", "USR2", "PIPE", "ALRM", "TERM", "CHLD"),
        *("XCPU", "VTALRM", "PROF", "WINCH", "IO"),
    )
)

# How a thread's decimal context is at first: its numbers, and the names of what it traps.
_DECIMAL: Final = (
    (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0),
    ("DivisionByZero", "InvalidOperation", "Overflow"),
)

# A filter of warnings as it travels: with its category's module and name. To import that module
# for the filter alone would take time, and run whatever it does when it is imported.
Filter = tuple[Any, Any, tuple[str, str], Any, int]


class ProcessEnvironment(NamedTuple):
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
        locale: That of the C library.
        socket_timeout: How long sockets wait that are told nothing else, in seconds.
        ignored: For each signal that is ignored (1) or has its default action (0), which of both.
            Functions that handle others belong to the program.
        blocked: The signals that the thread of the run blocks.
        decimal: The thread's context of decimal numbers, as `_DECIMAL`.
        places: Where modules are to which `path` does not lead, by their names.
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
    locale: str
    socket_timeout: float | None
    ignored: dict[int, int]
    blocked: set[int]
    decimal: tuple[tuple[Any, ...], tuple[str, ...]]
    places: dict[str, Place]

    @classmethod
    def here(cls) -> ProcessEnvironment:
        """Return those of this process."""
        folder = working_folder() or "/"  # the folder was removed
        path = import_path()
        return cls(
            folder,
            environment(),
            path,
            list(getattr(sys, "argv", ())),  # a program that embeds Python need not set them
            sys.getrecursionlimit(),
            sys.get_int_max_str_digits(),
            _packed_filters(),
            _main(),
            _umask(),
            code_version.modules,
            _locale.setlocale(_locale.LC_ALL, None),
            socket.getdefaulttimeout(),
            _ignored(),
            set(_mask(signal.SIG_BLOCK, ())),
            _decimal(),
            code_version.out_of([entry.rstrip("/") or folder for entry in path]),
        )


class Baseline:
    """The state of a worker in which each attempt begins.

    Args:
        given: Those of the run's process.
    """

    def __init__(self, given: ProcessEnvironment) -> None:
        self._given = given
        self._argv = given.argv
        self._recursion_limit = given.recursion_limit
        self._int_digits = given.int_digits
        self._environment = dict(given.environment)
        nested = nested_workers()
        if nested is not None:
            self._environment[VARIABLE] = str(nested)
        # What a step may replace in whole.
        self._stdin, self._stdout, self._stderr = sys.stdin, sys.stdout, sys.stderr
        self._environ, self._arguments = os.environ, sys.argv
        self._filter_list: Any = warnings.filters
        # Here alone: what a step has imported may rely on what it has added, as on its globals.
        sys.path[:] = given.path
        _finder.places = given.places
        if _finder.places and _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        self._set_environment()
        # The name is private; to compare the variables in public takes ten times as long.
        self._variables: Any = getattr(os.environ, "_data", os.environ)
        self._expected = dict(self._variables)
        _change_to(given.folder)
        self._folder = working_folder()
        self._umask = given.umask
        self._locale = _change_locale(given.locale)
        self._socket_timeout = given.socket_timeout
        self._handlers = [given.ignored.get(each, _handler(each)) for each in _SIGNALS]
        self._set_handlers()
        self._handlers = [_handler(each) for each in _SIGNALS]
        self._blocked = given.blocked
        self._decimal = _decimal_context(given.decimal)
        self._unknown: list[Filter] = []
        self._filters: list[Any] = []
        self._set_filters()
        self.restore()

    def restore(self) -> None:
        """Undo what a step has changed; it costs little where that is nothing."""
        if not self._has_its_objects():
            self._set_objects()
        self._restore_signals()
        os.umask(self._umask)
        if self._variables != self._expected:
            self._set_environment()
        try:
            folder = os.getcwd()
        except OSError:
            folder = None  # it was removed
        if folder != self._folder:
            _change_to(self._given.folder)
        if sys.argv != self._argv:
            sys.argv[:] = self._argv
        if warnings.filters != self._filters:
            self._set_filters()
        self._restore_settings()

    def _restore_signals(self) -> None:
        if [*map(_handler, _SIGNALS)] != self._handlers:
            self._set_handlers()
        # A timer that a step left would end the next one; that of `setitimer` is the same one.
        signal.alarm(0)
        if _mask(_ADD, ()) != self._blocked:
            _mask(signal.SIG_SETMASK, self._blocked)

    def _restore_settings(self) -> None:
        if sys.getrecursionlimit() != self._recursion_limit:
            with contextlib.suppress(RecursionError):  # this process is deeper than that already
                sys.setrecursionlimit(self._recursion_limit)
        if sys.get_int_max_str_digits() != self._int_digits:
            sys.set_int_max_str_digits(self._int_digits)
        if socket.getdefaulttimeout() != self._socket_timeout:
            socket.setdefaulttimeout(self._socket_timeout)
        # To ask takes time, and a step changes it by that module.
        if "locale" in sys.modules and _locale.setlocale(_locale.LC_ALL, None) != self._locale:
            _change_locale(self._locale)
        if self._decimal is not None:
            # A copy: what an attempt changes of it is its own.
            set_context, context = self._decimal
            set_context(context.copy())

    def note_modules(self) -> None:
        """Take over filters of categories whose modules have been imported by now."""
        if self._unknown and any(_category(each) for each in self._unknown):
            self._set_filters()

    def _has_its_objects(self) -> bool:
        try:
            return (
                sys.stdout is self._stdout
                and sys.stderr is self._stderr
                and sys.stdin is self._stdin
                and os.environ is self._environ
                and sys.argv is self._arguments
                and warnings.filters is self._filter_list
            )
        except AttributeError:
            return False  # one was removed

    def _set_objects(self) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._stdin, self._stdout, self._stderr
        os.environ, sys.argv = self._environ, self._arguments
        warnings.filters = self._filter_list
        for stream in (self._stdout, self._stderr):
            with contextlib.suppress(Exception):  # there is none, or it was closed
                stream.flush()  # of what the step wrote before it replaced it

    def _set_handlers(self) -> None:
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if handler is not None and _handler(number) is not handler:
                with contextlib.suppress(OSError):  # of a signal that the system keeps to itself
                    signal.signal(number, handler)
        # What comes with handlers: timers that send those signals, and where they are told of.
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.set_wakeup_fd(-1)

    def _set_environment(self) -> None:
        if environment() != self._environment:
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


def working_folder() -> str | None:
    """Return the working directory; None: it was removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _umask() -> int:
    # Where the system tells; to set it, and so learn what it was, is seen by other threads.
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    found = os.umask(0o077)
    os.umask(found)
    return found


def _change_to(folder: str) -> None:
    with contextlib.suppress(OSError):  # the folder may be gone by now
        os.chdir(folder)


def _change_locale(wanted: str) -> str:
    with contextlib.suppress(Exception):  # it is not there any more
        return _locale.setlocale(_locale.LC_ALL, wanted)
    return _locale.setlocale(_locale.LC_ALL, None)


def _ignored() -> dict[int, int]:
    found = ((number, _handler(number)) for number in _SIGNALS)
    return {number: handler for number, handler in found if type(handler) is int}


def _decimal() -> tuple[tuple[Any, ...], tuple[str, ...]]:
    module: Any = sys.modules.get("decimal")
    with contextlib.suppress(Exception):  # it is none, or another one of that name
        found = module.getcontext()
        numbers = found.prec, found.rounding, found.Emin, found.Emax, found.capitals, found.clamp
        return numbers, tuple(sorted(each.__name__ for each, on in found.traps.items() if on))
    return _DECIMAL


def _decimal_context(packed: tuple[tuple[Any, ...], tuple[str, ...]]) -> Any:
    # The module takes time to import, so only where there is something to change.
    if packed == _DECIMAL and "decimal" not in sys.modules:
        return None
    import decimal  # noqa: PLC0415 - as above

    (precision, rounding, lowest, highest, capitals, clamp), traps = packed
    return decimal.setcontext, decimal.Context(
        precision,
        rounding,
        Emin=lowest,
        Emax=highest,
        capitals=capitals,
        clamp=clamp,
        flags=[],
        traps=[getattr(decimal, name) for name in traps],
    )


def environment() -> dict[str, str]:
    """Return the variables of this process, which are not to be changed there."""
    # The name is private; variables seldom change, and to read them takes longer than all else.
    data = getattr(os.environ, "_data", None)
    before, found = _Read.last
    if type(data) is dict and data == before:
        return found
    # Another thread may take a variable away while they are read; what a program has put in place
    # of `os.environ` may hold anything.
    before = dict(data) if type(data) is dict else None
    read = ((name, os.environ.get(name)) for name in list(os.environ))
    found = {name: text for name, text in read if type(name) is str and type(text) is str}
    _Read.last = (before if data == before else None), found
    return found


class _Read:
    """The variables that were read last: as `os.environ` keeps them, and as texts."""

    last: tuple[dict[Any, Any] | None, dict[str, str]] = (None, {})


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
