"""What a command writes, and the code that it exits with.

Lines to read are written to stderr, results to stdout, and nothing to a closed pipe.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import ClassVar, Final

from dotflow.printable import printable

COMPLETED: Final = 0
FAILED: Final = 1  # a task, or dotflow itself
WRONG_USE: Final = 2
INTERRUPTED: Final = 130

_RED: Final = "31"
_YELLOW: Final = "33"


class StandardStream(io.FileIO):
    """A standard stream whose reader may go: what comes later is dropped, and nobody fails.

    Attributes:
        failure: The last error of writing to one.
    """

    failure: ClassVar[OSError | None] = None

    def write(self, data: object) -> int:
        """Write bytes, or drop them where nobody reads any more; return how many."""
        try:
            return super().write(data)  # type: ignore[arg-type] # as in the base class
        except BrokenPipeError:
            # Also for what else writes there, such as processes that are started later.
            send_nowhere(self.fileno())
            return len(memoryview(data))  # type: ignore[arg-type]
        except OSError as error:
            StandardStream.failure = error
            raise


def is_of_output(error: BaseException) -> bool:
    """Return whether an error came of writing to standard output, such as that of a full disk."""
    return error is StandardStream.failure


def send_nowhere(descriptor: int) -> None:
    """Drop what is written to a descriptor from now on, buffered text included."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


def prepare_streams() -> None:
    """Make standard output outlive its reader, and take characters that it has no code for."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # it was closed
            send_nowhere(descriptor)
            opened = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, opened)
    for stream in (sys.stdout, sys.stderr):
        # Something else where a test looks at what is written.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        return
    unbuffered = isinstance(out.buffer, io.FileIO)  # PYTHONUNBUFFERED
    if unbuffered or isinstance(getattr(out.buffer, "raw", None), io.FileIO):
        out.flush()
        raw = StandardStream(out.fileno(), "w", closefd=False)
        sys.stdout = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            encoding=out.encoding,
            errors=out.errors,
            line_buffering=out.line_buffering,
            write_through=out.write_through,
        )


def print_note(text: str) -> None:
    """Write a line to stderr that the user may want to know."""
    _print_line("note:", _YELLOW, text)


def print_error(text: str) -> None:
    """Write a line to stderr that says what ended the command, and what to do."""
    _print_line("error:", _RED, text)


def _print_line(kind: str, color: str, text: str) -> None:
    stream = sys.stderr
    shown = f"\x1b[{color}m{kind}\x1b[0m" if has_colors(stream) else kind
    with suppress(BrokenPipeError):  # nobody reads it; the exit code tells the same
        # At once, for other processes may write there as well.
        stream.write(f"{shown} {printable(text)}\n")
        stream.flush()


def shortened(text: str, length: int) -> str:
    """Return text on one line, cut to a length."""
    line = printable(text[: length + 1])
    return line if len(line) <= length else f"{line[: length - 3]}..."


def has_colors(stream: io.TextIOBase | object) -> bool:
    """Return whether what is written to a stream may be in colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", bool)())
