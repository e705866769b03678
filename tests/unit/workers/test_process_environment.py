"""What a worker takes over from the run's process, and undoes after each attempt."""

from __future__ import annotations

import decimal
import io
import locale
import os
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.workers import environment
from dotflow.workers.environment import Baseline, ProcessEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator

MAIN = (None, None)


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the state of this process be as before."""
    folder, environment, umask = Path.cwd(), dict(os.environ), os.umask(0o022)
    path, argv = list(sys.path), list(sys.argv)
    limits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    numbers = signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1
    handlers = [(number, signal.getsignal(number)) for number in numbers]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    of_system, of_sockets = locale.setlocale(locale.LC_ALL), socket.getdefaulttimeout()
    with warnings.catch_warnings(), decimal.localcontext():
        yield
    monkeypatch.undo()
    for number, handler in handlers:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    locale.setlocale(locale.LC_ALL, of_system)
    socket.setdefaulttimeout(of_sockets)
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.path[:], sys.argv[:] = path, argv
    sys.setrecursionlimit(limits[0])
    sys.set_int_max_str_digits(limits[1])


def there(folder: Path, **changes: Any) -> ProcessEnvironment:
    """Return an environment that is not this process's."""
    here = ProcessEnvironment(
        folder=str(folder),
        environment={"KEPT": "1", "TZ": "UTC"},
        path=[*sys.path, "/their/path"],
        argv=["their.py", "arg"],
        recursion_limit=sys.getrecursionlimit() + 100,
        int_digits=5000,
        filters=[("ignore", None, ("builtins", "UserWarning"), None, 0)],
        main=MAIN,
        umask=0o027,
        modules=[],
        locale="C",
        socket_timeout=7.5,
        ignored={signal.SIGHUP: 1, signal.SIGPIPE: 0},
        blocked={signal.SIGUSR2},
        decimal=((50, "ROUND_UP", -99, 99, 0, 1), ("Inexact",)),
        places={},
    )
    return here._replace(**changes)


def umask() -> int:
    """Return the mask of new files."""
    found = os.umask(0)
    os.umask(found)
    return found


def state() -> list[object]:
    """Return all that a worker takes over, as it is in this process."""
    return [
        Path.cwd(),
        dict(os.environ),
        sys.path[-1],
        list(sys.argv),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        list(warnings.filters),
        locale.setlocale(locale.LC_ALL),
        socket.getdefaulttimeout(),
        [signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGPIPE)],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        decimal_context(),
    ]


def decimal_context() -> list[object]:
    """Return the context of decimal numbers of this thread."""
    found = decimal.getcontext()
    trapped = [each for each, is_on in found.traps.items() if is_on]
    return [
        found.prec,
        found.rounding,
        found.Emin,
        found.Emax,
        found.capitals,
        found.clamp,
        trapped,
    ]


def test_is_taken_over(tmp_path: Path) -> None:
    """All of it becomes that of the run's process, and nothing of this one stays."""
    limit = sys.getrecursionlimit() + 100
    Baseline(there(tmp_path))
    assert state() == [
        tmp_path,
        {"KEPT": "1", "TZ": "UTC"},
        "/their/path",
        ["their.py", "arg"],
        limit,
        5000,
        [("ignore", None, UserWarning, None, 0)],
        "C",
        7.5,
        [signal.SIG_IGN, signal.SIG_DFL],
        {signal.SIGUSR2},
        [50, "ROUND_UP", -99, 99, 0, 1, [decimal.Inexact]],
    ]


def test_what_a_step_changes_is_undone(tmp_path: Path) -> None:
    """Whatever a step has changed, the next one begins as it did; the import path stays."""
    baseline = Baseline(there(tmp_path))
    before = state()

    os.chdir("/")
    os.umask(0o077)
    os.environ["KEPT"] = "2"
    os.environ["NEW"] = "3"
    sys.argv.append("more")
    sys.setrecursionlimit(sys.getrecursionlimit() + 1)
    sys.set_int_max_str_digits(0)
    warnings.simplefilter("error", DeprecationWarning)
    sys.path.append("/of/the/step")
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    socket.setdefaulttimeout(1)
    signal.signal(signal.SIGHUP, print)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
    decimal.getcontext().prec = 3
    baseline.restore()

    assert sys.path.pop() == "/of/the/step"
    assert state() == before
    assert umask() == 0o027


def test_what_a_step_replaces_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step has put in place of whole objects, or removed, is as it was."""
    places = [(sys, "stdin"), (sys, "stdout"), (sys, "stderr"), (sys, "argv")]
    places += [(os, "environ"), (warnings, "filters")]
    for place, name in places:
        monkeypatch.setattr(place, name, getattr(place, name))  # and so it is after this test
    written = io.TextIOWrapper(io.BytesIO())
    sys.stdout = written
    before = [getattr(*each) for each in places]
    baseline = Baseline(there(tmp_path))
    expected = state()

    print("before", end="")
    sys.stdout, sys.stderr, sys.stdin = io.StringIO(), io.StringIO(), io.StringIO()
    os.environ = {}  # noqa: B003 - as a step may do
    sys.argv = ()
    warnings.filters = []
    baseline.restore()
    assert all(getattr(*each) is found for each, found in zip(places, before, strict=True))
    assert state() == expected
    assert written.buffer.getvalue() == b"before"

    del sys.stdout, os.environ
    baseline.restore()
    assert sys.stdout is written
    assert state() == expected


def test_timers_that_a_step_leaves(tmp_path: Path) -> None:
    """No timer ends a later step, nor is any told of its signals."""
    baseline = Baseline(there(tmp_path))
    timers = signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF
    told, tells = socket.socketpair()
    with told, tells:
        tells.setblocking(False)
        for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
            signal.signal(number, print)
        for timer in timers:
            signal.setitimer(timer, 100)
        signal.set_wakeup_fd(tells.fileno())
        baseline.restore()
        assert [signal.getitimer(each) for each in timers] == [(0, 0)] * 3
        assert signal.set_wakeup_fd(-1) == -1
    for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
        assert signal.getsignal(number) == signal.SIG_DFL


def test_a_locale_that_is_not_there(tmp_path: Path) -> None:
    """A worker keeps its own."""
    before = locale.setlocale(locale.LC_ALL)
    Baseline(there(tmp_path, locale="xx_XX.none"))
    assert locale.setlocale(locale.LC_ALL) == before


def test_the_decimal_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the run's thread's; one that never was imported, or is none, is as Python has it."""
    with decimal.localcontext(decimal.Context(prec=7, traps=[decimal.Rounded])):
        packed = ProcessEnvironment.here().decimal
    assert packed == ((7, "ROUND_HALF_EVEN", -999999, 999999, 1, 0), ("Rounded",))
    monkeypatch.setitem(sys.modules, "decimal", ModuleType("decimal"))
    default = ProcessEnvironment.here().decimal
    monkeypatch.delitem(sys.modules, "decimal")
    assert ProcessEnvironment.here().decimal == default
    Baseline(there(tmp_path, decimal=default))
    assert "decimal" not in sys.modules
    monkeypatch.undo()
    with decimal.localcontext(decimal.Context()):
        assert ProcessEnvironment.here().decimal == default


def test_the_time_zone_is_that_of_the_variables(tmp_path: Path) -> None:
    """Local time follows TZ: when it is taken over, and when a step has changed it."""
    baseline = Baseline(there(tmp_path, environment={"TZ": "EST5"}))
    assert (time.tzname[0], time.timezone) == ("EST", 5 * 3600)
    os.environ["TZ"] = "CET-1"
    time.tzset()
    baseline.restore()
    assert (time.tzname[0], time.timezone) == ("EST", 5 * 3600)


def test_a_folder_that_a_step_removes(tmp_path: Path) -> None:
    """A step that removes the folder it is in leaves the next one in the run's."""
    baseline = Baseline(there(tmp_path))
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert ProcessEnvironment.here().folder == "/"
    baseline.restore()
    assert Path.cwd() == tmp_path


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A worker stays where it is when the run's folder is gone."""
    os.chdir(tmp_path)
    Baseline(there(tmp_path / "gone"))
    assert Path.cwd() == tmp_path


def test_a_limit_that_this_process_is_beyond(tmp_path: Path) -> None:
    """A recursion limit below the depth of this very call is left as it is."""
    before = sys.getrecursionlimit()
    Baseline(there(tmp_path, recursion_limit=5))
    assert sys.getrecursionlimit() == before


def test_a_worker_says_how_many_may_be_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is this worker's, not that of the run's process."""
    monkeypatch.setattr(environment.Own, "workers", 3)
    Baseline(there(tmp_path, environment={environment.VARIABLE: "16"}))
    assert dict(os.environ) == {environment.VARIABLE: "3"}


def test_filters_of_modules_that_are_imported_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter whose category is not known yet holds once its module has been imported."""
    late = ("error", None, ("late_module", "Outer.Late"), None, 7)
    known = ("ignore", None, ("builtins", "UserWarning"), None, 0)
    baseline = Baseline(there(tmp_path, filters=[late, known]))
    baseline.note_modules()
    assert warnings.filters == [("ignore", None, UserWarning, None, 0)]

    class Outer:
        class Late(Warning):
            pass

    module: Any = ModuleType("late_module")
    module.Outer = Outer
    monkeypatch.setitem(sys.modules, "late_module", module)
    baseline.note_modules()
    expected = [("error", None, Outer.Late, None, 7), ("ignore", None, UserWarning, None, 0)]
    assert warnings.filters == expected


def test_filters_that_are_no_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no category of warnings makes no filter, and an odd filter does not travel."""
    Baseline(there(tmp_path, filters=[("error", None, ("builtins", "int"), None, 0)]))
    assert warnings.filters == []
    filters: Any = warnings.filters
    filters[:] = ["odd", ("ignore", None, UserWarning, None, 0)]
    packed = [("ignore", None, ("builtins", "UserWarning"), None, 0)]
    assert ProcessEnvironment.here().filters == packed


@pytest.mark.parametrize(
    ("file", "found"), [("/a/script.py", "/a/script.py"), ("<stdin>", None), (None, None)]
)
def test_the_main_module(
    monkeypatch: pytest.MonkeyPatch, file: str | None, found: str | None
) -> None:
    """Its file is that of a script; a program that is piped in has none."""
    module: Any = ModuleType("__main__")
    if file is not None:
        module.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert ProcessEnvironment.here().main == (found, None)
