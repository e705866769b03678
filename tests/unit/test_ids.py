"""Ids of tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dotflow.core.ids import FreshIds, derived_id

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns at almost every step of the interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_ids_are_taken_by_many_threads() -> None:
    """Threads that take ids from one source at the same time get one each, none twice."""
    source = FreshIds()
    taken: list[list[str]] = []
    begin = threading.Barrier(4)

    def take() -> None:
        begin.wait(20)
        taken.append([source.take() for _ in range(20_000)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(ids) for ids in taken] == [20_000] * 4
    assert len({each for ids in taken for each in ids}) == 80_000


def test_ids_sort_in_the_order_they_were_taken() -> None:
    """Ids of one source sort as they were taken, and have 26 characters each."""
    source = FreshIds()

    ids = [source.take() for _ in range(3_000)]

    assert ids == sorted(ids)
    assert {len(each) for each in ids} == {26}


def test_forked_children_have_ids_of_their_own() -> None:
    """A process that took ids and its forked child never give the same one."""
    program = """
import os
from dotflow.core.ids import FreshIds
source = FreshIds()
source.take()
child = os.fork()
ids = {source.take() for _ in range(1_000)}
if not child:
    os.write(1, ("\\n".join(ids) + "\\n").encode())
    os._exit(0)
os.waitpid(child, 0)
os.write(1, "\\n".join(ids).encode())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert len(set(done.stdout.split())) == 2_000


def test_derived_ids_depend_on_the_place_alone() -> None:
    """A derived id has 26 characters and differs with each part of the task's place."""
    places = [("w", "g", "t", 0), ("w", "g", "t", 1), ("w", "g", "u", 0), ("w", "h", "t", 0)]

    ids = {derived_id(*place) for place in places}

    assert len(ids) == 4
    assert {len(each) for each in ids} == {26}
    assert derived_id(*places[0]) in ids


def test_derived_ids_of_names_without_utf_8() -> None:
    """Names of files that are no UTF-8 have ids as well, different ones; others keep theirs."""
    assert derived_id("w", "g", "\udcff", 0) != derived_id("w", "g", "\udcfe", 0)
    assert derived_id("w", "g", "t\u00e9", 0) == "R27RZQ8EBQFJAVJQMRXS4SVEEK"
