"""What a worker process does, done in this process over a socket pair."""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotflow import Context, action
from dotflow.abc.scope import RemoteScope
from dotflow.workers import child, imports
from dotflow.workers.child import Child
from dotflow.workers.environment import ProcessEnvironment
from dotflow.workers.pickling import dump
from dotflow.workers.protocol import (
    Closed,
    Environment,
    FrameReader,
    Message,
    Permits,
    PermitTaker,
    Run,
    SharedState,
    Step,
    decoded,
    encoded,
    make_shared_state,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Wired:
    """A child, and the owner's end of its socket."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        descriptor = make_shared_state()
        self.state, self.owners_state = SharedState(descriptor), SharedState(descriptor)
        os.close(descriptor)
        self.permits = Permits()
        self.child = Child(self.theirs, self.state, PermitTaker(self.permits.reading))
        self.reader = FrameReader(self.ours)

    def tell(self, message: Message, body: bytes = b"") -> None:
        """Send one message and have the child serve it."""
        send(self.ours, encoded(message), body)
        self.child.serve_one()

    def run(self, step: Any, *, attempt: int = 1, task: str = "t", remote: Any = None) -> Any:
        """Run a step in the child; give the head and the body of its answer."""
        self.tell(Step(1, True, True), body=dump(step, "step"))
        scopes = [(slot, 0, dump(each, "scope")) for slot, each in (remote or {}).items()]
        given = ((Context(1), Context(2)), 0, scopes)
        self.tell(Run(7, 1, task, attempt, "name", ()), body=pickle.dumps(given))
        head, body = self.reader.wait()
        return decoded(head), bytes(body)

    def close(self) -> None:
        """Close everything."""
        for each in (self.ours, self.theirs, self.state, self.owners_state, self.permits):
            each.close()


@pytest.fixture
def wired() -> Iterator[Wired]:
    """Return a child to talk to."""
    made = Wired()
    yield made
    made.close()


class Boom(RemoteScope):
    """A scope that breaks where it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _break(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError(where)

    def __enter__(self) -> None:
        self._break("enter")

    def __exit__(self, *_: object) -> None:
        self._break("exit")

    def collect(self) -> object:
        """Return what was recorded."""
        self._break("collect")
        return ["recorded"]


def test_step_runs_and_its_value_comes_back(wired: Wired) -> None:
    """The answer has the number, no failure, both times and the pickled value."""

    @action
    def both(initial_context: Context, previous_context: Context) -> int:
        return int(initial_context.storage) + int(previous_context.storage)

    (number, failure, started, ended, recorded, error, is_spent), body = wired.run(both)
    assert (number, failure, recorded, error, is_spent) == (7, None, None, None, False)
    assert started <= ended
    assert pickle.loads(body) == 3


def test_shared_memory_shows_the_attempt(wired: Wired) -> None:
    """The owner sees that the attempt arrived and began, and of no other one."""

    @action
    def ok() -> None: ...

    wired.run(ok)
    received, begun, _ = wired.owners_state.moments(7)
    assert received is not None
    assert begun is not None
    assert received <= begun
    assert wired.owners_state.moments(8) == (None, None, None)


def test_failure_comes_back_as_text_and_error(wired: Wired) -> None:
    """A failed step's answer has kind, type, message, traceback and the exception."""

    @action
    def bad() -> None:
        raise KeyError("k")

    (_, failure, _, _, _, error, _), body = wired.run(bad)
    assert failure[:4] == ("error", "KeyError", "KeyError", "'k'")
    assert "raise KeyError" in failure[4]
    assert isinstance(pickle.loads(error), KeyError)
    assert body == b""


def test_exit_of_a_step_is_an_error_here(wired: Wired) -> None:
    """`SystemExit` in a worker is a failure like any other."""

    @action
    def leaving() -> None:
        sys.exit(3)

    (_, failure, *_), _ = wired.run(leaving)
    assert failure[:2] == ("error", "SystemExit")


def test_result_that_cannot_travel(wired: Wired) -> None:
    """It fails the attempt with an error that names the step and the type."""

    @action
    def lock() -> Any:
        return threading.Lock()

    (_, failure, *_), _ = wired.run(lock)
    assert failure[2] == "PicklingFailed"
    assert "the result of step name (lock)" in failure[3]


def test_error_that_cannot_travel(wired: Wired) -> None:
    """Its text comes back, the exception itself does not."""

    @action
    def holding() -> None:
        error = ValueError("held")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    (_, failure, _, _, _, error, _), _ = wired.run(holding)
    assert failure[1:4] == ("ValueError", "ValueError", "held")
    assert error is None


def test_input_that_cannot_be_read(wired: Wired) -> None:
    """It fails the attempt with an error that says so."""

    @action
    def ok() -> None: ...

    wired.tell(Step(1, True, True), body=dump(ok, "step"))
    wired.tell(Run(9, 1, "t", 1, "name", ()), body=b"no pickle")
    head, _ = wired.reader.wait()
    number, failure, *_ = decoded(head)
    assert number == 9
    assert failure[2] == "PicklingFailed"
    assert "the input of step name" in failure[3]


def test_retry_goes_on_with_the_same_step(wired: Wired) -> None:
    """What a closure counts goes on counting over one task's attempts, and no other's."""
    counted: list[int] = []

    @action(retry=2)
    def counting() -> int:
        counted.append(1)
        if len(counted) == 1:
            raise ValueError("first")
        return len(counted)

    (_, failure, *_), _ = wired.run(counting)
    assert failure[3] == "first"
    (_, failure, *_), body = wired.run(counting, attempt=2)
    assert (failure, pickle.loads(body)) == (None, 2)
    (_, failure, *_), _ = wired.run(counting, task="another")
    assert failure[3] == "first"


def test_scopes_record(wired: Wired) -> None:
    """What a scope recorded comes back under its slot."""

    @action
    def ok() -> None: ...

    (_, failure, _, _, recorded, *_), _ = wired.run(ok, remote={"tracer": Boom("nowhere")})
    assert failure is None
    assert pickle.loads(recorded) == {"tracer": ["recorded"]}


@pytest.mark.parametrize("where", ["enter", "exit", "collect"])
def test_broken_scope_does_no_harm(where: str, wired: Wired) -> None:
    """A scope that raises is logged, and the step runs all the same."""

    @action
    def ok() -> int:
        return 5

    (_, failure, _, _, recorded, *_), body = wired.run(ok, remote={"log": Boom(where)})
    assert (failure, pickle.loads(body)) == (None, 5)
    if where == "collect":
        assert recorded is None
    else:
        assert pickle.loads(recorded) == {"log": ["recorded"]}


def test_the_environment_is_taken_over(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folder, environment, import path and arguments become those of the run."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    here = ProcessEnvironment.here()
    other = {**here.environment, "DOTFLOW_TEST": "1"}
    there = here._replace(environment=other, argv=["x"])
    wired.tell(Environment(), body=pickle.dumps(tuple(there)))
    assert (os.environ["DOTFLOW_TEST"], sys.argv) == ("1", ["x"])
    gone = there._replace(folder=f"{here.folder}/gone", environment=here.environment)
    wired.tell(Environment(), body=pickle.dumps(tuple(gone)))
    assert "DOTFLOW_TEST" not in os.environ
    assert str(Path.cwd()) == here.folder


def test_closed_socket_ends_it(wired: Wired) -> None:
    """The end of the owner is the end of the wait, between frames and within one."""
    wired.ours.sendall(b"\0" * 10)
    wired.ours.close()
    with pytest.raises(Closed):
        wired.child.serve_one()


def test_frames_that_arrive_together_and_apart() -> None:
    """Frames are cut right, however the stream is: joined, split in the middle, and large."""
    ours, theirs = socket.socketpair()
    large = os.urandom(300_000)
    with ours, theirs:
        reader = FrameReader(theirs)
        send(ours, b"one", b"1")
        send(ours, b"two", b"2")
        frames = [tuple(map(bytes, reader.wait())) for _ in range(2)]
        sender = threading.Thread(target=send, args=(ours, b"head", large))
        sender.start()
        frames.append(tuple(map(bytes, reader.wait())))
        sender.join()
        theirs.setblocking(False)
        assert reader.read() is None
    assert frames == [(b"one", b"1"), (b"two", b"2"), (b"head", large)]


def test_steps_are_kept_until_there_is_no_room(wired: Wired) -> None:
    """A step that comes alone has the others forgotten."""

    @action
    def ok() -> int:
        return 5

    for key, keeps_others in ((1, True), (2, True), (3, False), (4, True)):
        wired.tell(Step(key, keeps_others, True), body=dump(ok, "step"))
    found = []
    for key in (1, 2, 3, 4):
        given = pickle.dumps(((Context(1), Context(2)), 0, []))
        wired.tell(Run(key, key, "t", 1, "name", ()), body=given)
        head, _ = wired.reader.wait()
        found.append(decoded(head)[1] is None)
    assert found == [False, False, True, True]


def test_no_step_waits_whose_last_attempt_has_failed(wired: Wired) -> None:
    """Where its task's id and key come again, it begins afresh."""
    counted: list[int] = []

    @action(retry=2)
    def counting() -> None:
        counted.append(1)
        raise ValueError(str(len(counted)))

    again = [wired.run(counting, task="a", attempt=number)[0][1][3] for number in (1, 2, 2)]
    assert again == ["1", "2", "1"]


def test_what_was_taken_back_is_not_begun(wired: Wired) -> None:
    """Of attempts that wait there the child begins those that its owner has left it, in order."""

    @action
    def same(initial_context: Context) -> int:
        return int(initial_context.storage)

    def wait_there(number: int) -> None:
        batch = wired.permits.add()
        body = pickle.dumps(((Context(number), Context()), 0, ()))
        send(wired.ours, encoded(Run(number, 1, str(number), 1, "name", (), batch)), body)

    wired.tell(Step(1, True, True), body=dump(same, "step"))
    for number in (1, 2, 3):
        wait_there(number)
    wired.child.serve_one()
    assert wired.permits.withdraw() == 2
    wait_there(4)
    for _ in range(3):
        wired.child.serve_one()
    assert wired.permits.withdraw() == 0
    answers = [wired.reader.wait() for _ in range(2)]
    assert [decoded(head)[0] for head, _ in answers] == [1, 4]
    assert [pickle.loads(body) for _, body in answers] == [1, 4]
    wired.ours.setblocking(False)
    assert wired.reader.read() is None


def test_serves_until_its_owner_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker answers, and returns when the connection is closed; its children inherit nothing."""
    prepared: list[object] = []
    dies = threading.Event()
    monkeypatch.setattr(child, "leave_terminal", lambda: prepared.append("terminal"))
    monkeypatch.setattr(child, "become_worker", lambda: prepared.append("worker"))
    monkeypatch.setattr(child, "forbid_runs_of_imports", lambda: prepared.append(True))
    monkeypatch.setattr(child, "die_with_owner", lambda lifeline: dies.set())
    monkeypatch.setattr(imports, "become_stand_in", lambda: prepared.append("main"))
    ours, theirs = socket.socketpair()
    state, connection = make_shared_state(), theirs.detach()
    lifeline, owners_end = os.pipe()
    permits = Permits()
    descriptors = (connection, state, lifeline, permits.reading)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)

    @action
    def ok() -> int:
        return 5

    with ours:
        send(ours, encoded(Step(1, True, True)), dump(ok, "step"))
        given = ((Context(1), Context(2)), 0, [])
        send(ours, encoded(Run(7, 1, "t", 1, "name", ())), pickle.dumps(given))
        ours.shutdown(socket.SHUT_WR)
        child.main(*descriptors)
        head, body = FrameReader(ours).wait()
        assert (decoded(head)[:2], pickle.loads(body)) == ((7, None), 5)

    assert prepared == ["terminal", "worker", "main", True]
    assert dies.wait(30)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(connection)
    assert [os.get_inheritable(each) for each in descriptors[1:]] == [False] * 3
    for each in (state, lifeline, owners_end):
        os.close(each)
    permits.close()


def test_dies_with_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the owner's end of the pipe goes, the worker ends with all that it started."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *args: killed.append(args))
    lifeline, owners_end = os.pipe()
    os.close(owners_end)
    # In a thread, for what waits there blocks its signals.
    thread = threading.Thread(target=child.die_with_owner, args=(lifeline,))
    thread.start()
    thread.join(10)
    os.close(lifeline)
    assert killed == [(0, signal.SIGKILL)]


@pytest.mark.parametrize("refused", [False, True])
def test_leaves_its_terminal(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    """The terminal is asked for, given up and closed, also where the system refuses it."""
    import termios

    terminal, other = os.pipe()
    asked: list[object] = []

    def opened(path: str, flags: int) -> int:
        asked.append((path, flags))
        return terminal

    def ioctl(descriptor: int, request: int) -> None:
        asked.append((descriptor, request))
        if refused:
            raise OSError(25, "Inappropriate ioctl for device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opened)
        patched.setattr(fcntl, "ioctl", ioctl)
        child.leave_terminal()
    assert asked == [("/dev/tty", os.O_RDWR | os.O_NOCTTY), (terminal, termios.TIOCNOTTY)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(terminal)
    os.close(other)


def test_has_no_terminal_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, nothing is asked of it."""
    asked: list[object] = []

    def refuse(path: str, flags: int) -> int:
        raise OSError(6, "No such device or address")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        patched.setattr(fcntl, "ioctl", lambda *args: asked.append(args))
        child.leave_terminal()
    assert asked == []


def test_keeps_a_bounded_number_of_steps(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest step that waits for a retry makes room: it begins afresh."""
    monkeypatch.setattr(child, "MOST_KEPT", 2)
    counted: list[int] = []

    @action(retry=2)
    def counting() -> None:
        counted.append(1)
        raise ValueError(str(len(counted)))

    for task in ("a", "b", "c"):
        (_, failure, *_), _ = wired.run(counting, task=task)
        assert failure[3] == "1"
    again = [wired.run(counting, task=task, attempt=2)[0][1][3] for task in ("a", "b", "c")]
    assert again == ["1", "2", "2"]


def test_streams_that_a_step_has_closed(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is sent whatever a step has made of the streams."""

    @action
    def closes() -> int:
        sys.stdout = None  # type: ignore[assignment]
        return 5

    monkeypatch.setattr(sys, "stdout", sys.stdout)
    (_, failure, *_), body = wired.run(closes)
    assert (failure, pickle.loads(body)) == (None, 5)
