"""Whether the process that wrote something still lives."""

from __future__ import annotations

import os
import subprocess
import sys
from time import time_ns

import pytest
from waiting import is_gone, wait_for

from dotflow.core.process_mark import ProcessMark

SECOND = 10**9
HERE = ProcessMark.of_this()


def test_this_process() -> None:
    """This process lives, however long ago its last heartbeat was."""
    assert not HERE.is_gone(0)
    assert HERE.pid == os.getpid()
    assert HERE.born > 0


def test_a_process_that_ended() -> None:
    """One that ended is gone, also before anybody has waited for it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        mark = HERE._replace(pid=child.pid, born=born(child.pid))
        assert not mark.is_gone(time_ns())
        child.kill()
        wait_for(lambda: is_gone(child.pid))
        assert mark.is_gone(time_ns())
    assert mark.is_gone(time_ns())


def born(pid: int) -> int:
    """Return when a process began, as the system counts."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
        return int(file.read().rpartition(")")[2].split()[19])


def test_a_number_that_was_given_again() -> None:
    """A later process of the same number is another one."""
    assert HERE._replace(born=HERE.born - 1).is_gone(time_ns())


@pytest.mark.parametrize("elsewhere", ["host", "boot", "namespace"])
def test_a_process_elsewhere(elsewhere: str) -> None:
    """One that cannot be looked at is gone once it was silent for a minute."""
    mark = HERE._replace(**{elsewhere: "another"})
    assert not mark.is_gone(time_ns() - 30 * SECOND)
    assert mark.is_gone(time_ns() - 90 * SECOND)


def test_without_a_time_of_birth() -> None:
    """Where the system does not tell when a process began, its number has to do."""
    assert not HERE._replace(born=0).is_gone(0)
    assert not HERE._replace(born=0, pid=1).is_gone(0)
    assert HERE._replace(born=0, pid=2**22 - 1).is_gone(time_ns())
