"""What commands write, and to which streams: odd, closed and full ones included."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.cli.output import (
    StandardStream,
    prepare_streams,
    print_error,
    print_note,
    send_nowhere,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def is_null(descriptor: int) -> bool:
    """Return whether a descriptor is the null device's."""
    return os.path.samestat(os.fstat(descriptor), Path(os.devnull).stat())


class Stream(io.StringIO):
    """A stream that is a terminal's, or none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_what_nobody_reads_is_dropped(unread: int) -> None:
    """Once its reader has gone, all that is written to the stream counts as written."""
    with StandardStream(unread, "w", closefd=False) as stream:
        assert stream.write(b"first") == 5
        assert is_null(unread)
        assert stream.write(memoryview(b"second")) == 6


def test_what_is_read_arrives() -> None:
    """As long as there is a reader, it gets everything."""
    reading, writing = os.pipe()
    with StandardStream(writing, "w") as stream:
        assert stream.write(b"text") == 4
    assert os.read(reading, 10) == b"text"
    os.close(reading)


def test_a_closed_descriptor_is_sent_nowhere() -> None:
    """Where the null device gets the very descriptor, that one stays open."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    send_nowhere(descriptor)
    assert is_null(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("unbuffered", [False, True])
def test_standard_output_outlives_its_reader(
    monkeypatch: pytest.MonkeyPatch, unread: int, unbuffered: bool
) -> None:
    """What is printed to a closed pipe raises nothing, with and without a buffer."""
    if unbuffered:
        raw = io.FileIO(unread, "w", closefd=False)
        given = io.TextIOWrapper(raw, "ascii", write_through=True)  # type: ignore[type-var]
    else:
        given = open(unread, "w", encoding="ascii", closefd=False)  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", given)
    prepare_streams()
    stream: Any = sys.stdout
    assert stream is not given
    assert (stream.encoding, stream.errors) == ("ascii", "backslashreplace")
    assert stream.write_through == unbuffered
    assert isinstance(stream.buffer, StandardStream) == unbuffered
    print("snowman \N{SNOWMAN}", flush=True)
    assert is_null(unread)
    stream.close()


def test_closed_streams_are_opened(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stream that the process has not leads nowhere."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    print("out", flush=True)
    print_error("wrong")
    assert is_null(1)
    assert is_null(2)
    assert sys.stderr.encoding == "utf-8"
    assert capfd.readouterr() == ("", "")


def test_streams_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is no file, as a test's, is left as it is."""
    out = Stream(terminal=False)
    monkeypatch.setattr(sys, "stdout", out)
    prepare_streams()
    assert sys.stdout is out


@pytest.mark.parametrize(
    ("terminal", "variables", "coloured"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, variables: dict[str, str], coloured: bool
) -> None:
    """Colours are for terminals that take them; control characters never get through."""
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    print_note("two\nlines")
    print_error("a\x1bb")
    note, error = (
        ("\x1b[33mnote:\x1b[0m", "\x1b[31merror:\x1b[0m")
        if coloured
        else (
            "note:",
            "error:",
        )
    )
    assert stream.getvalue() == f"{note} two lines\n{error} a\\x1bb\n"


def test_nobody_reads_errors(monkeypatch: pytest.MonkeyPatch, unread: int) -> None:
    """An error that nobody reads raises no other one."""
    with io.FileIO(unread, "w", closefd=False) as raw:
        # Without a buffer, which would keep the line, and fail when it is closed.
        stream = io.TextIOWrapper(raw, write_through=True)  # type: ignore[type-var]
        monkeypatch.setattr(sys, "stderr", stream)
        print_error("wrong")
        with pytest.raises(BrokenPipeError):
            stream.write("the pipe is closed indeed")
