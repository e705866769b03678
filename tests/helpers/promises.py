"""What every storage of documents keeps beyond the contract suite: values, keys, swaps, crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from kept_values import REFUSED, VALUES, same

from dotflow import Config, Context, DotFlow, action
from dotflow.core.exception import StorageError, WorkflowInUse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from figures import Figures

    from dotflow.abc.storage import Storage

_PATIENCE: Final = 60.0  # seconds

# Keys that a name of a file, a pattern or an order of letters could confuse.
KEYS: Final = (
    *("../up", "a/b", "/root", "a\\b", "%", "_", "a%", "a_", "K", "k", "é", "\U0001f600", "\n"),
    *("'; DROP TABLE x; --", "x" * 300, "flow-01HXYZ0123456789ABCDEFGHJK", "a b", "a?b#c", "~"),
)

_RUN: Final = """
import os, signal, sys
from pathlib import Path
from dotflow import Config, DotFlow, action

ran = Path(sys.argv[1])
killed = sys.argv[2] == "killed"


def note(name):
    with ran.open("a") as file:
        print(name, file=file)


@action
def first():
    note("first")
    return {"n": (1, 2)}


@action
def nothing():
    note("nothing")


@action
def third():
    note("third")
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)
    return (3, b"x")


flow = DotFlow(config=Config(storage=storage), workflow_id="crashed")
flow.task.add([first, nothing, third])
flow.start(resume=True)
print(flow.result_storage())
"""

_HOLD: Final = """
import time
from dotflow import Config, DotFlow, action


@action
def first():
    return "of the holder"


@action
def second():
    print("held", flush=True)
    time.sleep(600)


flow = DotFlow(config=Config(storage=storage), workflow_id="held")
flow.task.add([first, second])
flow.start()
"""

_COUNT: Final = """
done = 0
while done < 20:
    seen = storage.get("n")
    done += storage.atomic_swap("n", seen, Context(storage=seen.storage + 1))
"""

_POST: Final = """
for n in range(10 ** 9):
    storage.post("a", Context(storage=[n] * 20_000))
    print(n, flush=True)
"""


_FORK: Final = """
import os
storage.post("a", Context(storage=1))
child = os.fork()
if child == 0:
    status = 1
    try:
        storage.post("b", Context(storage=storage.get("a").storage + 1))
        status = 0
    finally:
        os._exit(status)
storage.post("c", Context(storage=3))
print(os.waitpid(child, 0)[1], [storage.get(key).storage for key in "abc"])
"""


class Place(NamedTuple):
    """Where contexts are kept, for storages of this process and of others.

    Attributes:
        make: Makes a storage of it.
        source: What makes one in a program, as lines that set `storage`.
    """

    make: Callable[[], Storage]
    source: str

    def start(self, program: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a program that has a storage of the place."""
        head = f"from dotflow.core.context import Context\n{self.source}\n"
        return subprocess.Popen(
            [sys.executable, "-c", head + program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )


class Promises:
    """Tests of one kind of storage; a subclass has a fixture `place`, empty for each test."""

    def test_values_keep_their_types(self, place: Place, figures: Figures) -> None:
        """Type and content survive, alone and inside of others, for whoever reads them."""
        storage = place.make()
        storage.post("flow-all", Context(storage=VALUES))
        for number, value in enumerate(VALUES):
            storage.post(f"flow-{number}", Context(storage=value))
        other = place.make()
        for value, found in zip(VALUES, other.get("flow-all").storage, strict=True):
            assert same(found, value)
        for number, value in enumerate(VALUES):
            assert same(other.get(f"flow-{number}").storage, value)
        figures.add("values kept", 2 * len(VALUES))

    def test_other_values_are_refused(self, place: Place, figures: Figures) -> None:
        """The error names type, place and key, and the old value stays."""
        storage = place.make()
        storage.post("flow-a", Context(storage="old"))
        for value, name, part in REFUSED:
            with pytest.raises(StorageError) as caught:
                storage.post("flow-a", Context(storage=value))
            said = f", for its value{part}" if part else ""
            assert str(caught.value).startswith(f"Cannot store the value under 'flow-a'{said}: a ")
            assert f"{name} cannot be kept as JSON" in str(caught.value)
        assert storage.get("flow-a").storage == "old"
        figures.add("bad inputs tried", len(REFUSED))

    def test_keys_are_kept_apart(self, place: Place) -> None:
        """Whatever a key consists of, it is itself: read, listed by its beginning, removed."""
        storage = place.make()
        for key in KEYS:
            storage.post(key, Context(storage=key))
        assert [storage.get(key).storage for key in KEYS] == list(KEYS)
        assert list(storage.list_keys("")) == sorted(KEYS)
        for key in KEYS:
            wanted = sorted(other for other in KEYS if other.startswith(key))
            assert list(storage.list_keys(key)) == wanted
        assert [storage.delete(key) for key in KEYS] == [True] * len(KEYS)
        assert list(storage.list_keys("")) == []

    def test_swap_from_what_was_read(self, place: Place) -> None:
        """What was got matches what is there, NaN and contexts too; a stored None is something."""
        storage = place.make()
        for value in (float("nan"), [Context(storage=1)], None, {1: {2}}):
            storage.post("a", Context(storage=value))
            assert not storage.atomic_swap("a", None, Context(storage="new"))
            assert storage.atomic_swap("a", storage.get("a"), Context(storage="new"))
            assert not storage.atomic_swap("a", Context(storage=value), Context(storage="newer"))
        assert storage.get("a").storage == "new"

    def test_one_of_many_writers_wins(self, place: Place) -> None:
        """Of threads that swap from nothing at the same time one does, and its value is there."""
        storage = place.make()
        barrier = threading.Barrier(4)
        won: list[int] = []

        def write(number: int) -> None:
            barrier.wait()
            if storage.atomic_swap("a", None, Context(storage=number)):
                won.append(number)

        _all_at_once([lambda number=number: write(number) for number in range(4)])
        assert len(won) == 1
        assert storage.get("a").storage == won[0]

    def test_swaps_lose_nothing(self, place: Place) -> None:
        """Two threads and another process that count up together reach the sum."""
        storage = place.make()
        storage.post("n", Context(storage=0))

        def count() -> None:
            done = 0
            while done < 20:
                seen = storage.get("n")
                done += storage.atomic_swap("n", seen, Context(storage=seen.storage + 1))

        with place.start(_COUNT) as other:
            _all_at_once([count, count])
            assert other.wait(_PATIENCE) == 0
        assert storage.get("n").storage == 60

    def test_killed_in_the_middle_of_posts(self, place: Place) -> None:
        """After SIGKILL a value is the old or the new one, whole, and nothing else is listed."""
        with place.start(_POST) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            time.sleep(0.02)  # the moment of the kill is the point
            process.send_signal(signal.SIGKILL)
            last = max([0, *(int(line) for line in process.stdout if line.endswith("\n"))])
        storage = place.make()
        assert storage.get("a").storage in ([last] * 20_000, [last + 1] * 20_000)
        assert list(storage.list_keys("")) == ["a"]
        storage.post("a", Context(storage="after"))
        assert storage.get("a").storage == "after"

    def test_killed_run_is_resumed(self, place: Place, tmp_path: Path) -> None:
        """A run killed in its third step goes on there in a new process, with equal values."""
        ran = tmp_path / "ran"
        with place.start(_RUN, ran, "killed") as run:
            assert run.wait(_PATIENCE) == -signal.SIGKILL
        with place.start(_RUN, ran, "resumed") as run:
            said, _ = run.communicate(timeout=_PATIENCE)
        assert said == "[{'n': (1, 2)}, None, (3, b'x')]\n"
        assert ran.read_text().split() == ["first", "nothing", "third", "third"]
        assert len(list(place.make().list_keys("crashed-"))) == 5

    def test_one_run_of_a_workflow_at_a_time(self, place: Place) -> None:
        """While one goes on another is refused; once it was killed, one goes on at once."""

        def resumed() -> DotFlow:
            flow = DotFlow(config=Config(storage=place.make()), workflow_id="held")
            flow.task.add([action(first), action(second)])
            flow.start(resume=True)
            return flow

        def first() -> str:
            return "run again"

        def second() -> str:
            return "of the next"

        with place.start(_HOLD) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(WorkflowInUse) as refused:
                resumed()
            assert f"The workflow held is run already by process {holder.pid} on" in str(
                refused.value
            )
            holder.kill()
        assert resumed().result_storage() == ["of the holder", "of the next"]
        assert "held-_lease" not in place.make().list_keys("held-")

    def test_forked_child_has_it_too(self, place: Place) -> None:
        """A forked child reads and writes with the storage of its parent, which goes on as well."""
        # In a program of its own: what other tests have left in this process is no part of it.
        with place.start(_FORK) as program:
            said, _ = program.communicate(timeout=_PATIENCE)
        assert said == "0 [1, 2, 3]\n"


def _all_at_once(calls: list[Any]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
