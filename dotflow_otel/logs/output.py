"""Writes events as lines: JSON for machines, colours for people."""

from __future__ import annotations

import sys
import weakref
from datetime import UTC, datetime
from io import BufferedIOBase, RawIOBase, TextIOWrapper
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final

from structlog.contextvars import get_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback

from dotflow.core.arguments import check_choice, check_file, check_method
from dotflow.core.exception import InvalidOption
from dotflow.core.process import fork_safe_lock
from dotflow.core.user_objects import (
    escape_unencodable,
    guarded,
    strict_json,
    whole_repr_of,
    write_text,
)
from dotflow.printable import printable, printable_lines
from dotflow.settings import Settings
from dotflow_otel.conventions import BOUND

if TYPE_CHECKING:
    import os
    from io import FileIO
    from typing import TextIO


_OUTPUTS: Final = ("console", "file", "both")
_FORMATS: Final = ("json", "simple")
# What the renderer puts below the line.
_IN_LINES: Final = frozenset({"exception", "stack"})


class LogOutput:
    """Renders events and writes each as one line.

    Args:
        output: `console`, `file` or `both`.
        path: The file; None: `Settings.LOG_PATH`.
        format: `json`, `simple`, or None for what fits the console; files get JSON then.
        stream: The console; None: what is `sys.stderr` at that moment.

    Raises:
        InvalidOption: `output` or `format` is none of these, `path` is not that of a file, or
            `stream` takes no text.
    """

    def __init__(
        self,
        output: str,
        path: str | os.PathLike[str] | None,
        format: str | None,  # noqa: A002 - as in LogStructlog
        stream: TextIO | None,
    ) -> None:
        check_choice("output", output, _OUTPUTS)
        check_choice("format", format, _FORMATS, optional=True)
        check_file("path", path, optional=True)
        _check_stream(stream)
        self._console = output != "file"
        self._file = None if output == "console" else LogFile(Path(path or Settings.LOG_PATH))
        self._format = format
        self._stream = stream
        # Tracebacks come as text: with another formatter structlog 24 warns of that.
        self._renderers = {
            colours: ConsoleRenderer(colors=colours, exception_formatter=plain_traceback)
            for colours in (False, True)
        }
        self._clock = _Clock()
        # Whether a stream is a terminal, asked once for each.
        self._asked: tuple[TextIO | None, bool] = (None, False)

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Write one event, with what the application has bound in structlog's context."""
        facts = {"timestamp": self.now(), "level": level, "event": event, **fields}
        bound = get_contextvars()
        if bound:
            for name, value in bound.items():
                # Ids that are bound here are those of a step around this run.
                if name not in BOUND:
                    facts.setdefault(name, value)
        if self._console:
            terminal = self._is_terminal()
            chosen = self._format or ("simple" if terminal else "json")
            self._write_to_console(self._line(facts, chosen, colours=terminal))
        if self._file is not None:
            self._file.write(self._line(facts, self._format or "json", colours=False))

    def takes_json(self) -> bool:
        """Return whether every line is JSON and says nothing but the event.

        Then one that was made elsewhere, at less cost, can be given to `write_line`.
        """
        chosen = self._format == "json" or (self._format is None and not self._is_terminal())
        return chosen and not get_contextvars()

    def write_line(self, line: str) -> None:
        """Write a line of JSON, with its line break."""
        if self._console:
            self._write_to_console(line)
        if self._file is not None:
            self._file.write(line)

    def now(self) -> str:
        """Return the timestamp of an event."""
        return self._clock.now()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _is_terminal(self) -> bool:
        stream: TextIO | None = sys.stderr if self._stream is None else self._stream
        if stream is None or not self._console:
            return False
        asked, terminal = self._asked
        if asked is not stream:
            # An application's own stream may not have it.
            isatty = getattr(stream, "isatty", None)
            terminal = isatty is not None and isatty()
            self._asked = stream, terminal
        return terminal

    def _write_to_console(self, line: str) -> None:
        # Tests and notebooks replace it; a program without a console has none.
        stream: TextIO | None = sys.stderr if self._stream is None else self._stream
        if stream is not None:
            write_text(stream, line)
            stream.flush()

    def _line(self, facts: dict[str, Any], chosen: str, *, colours: bool) -> str:
        if chosen == "json":
            return strict_json(facts) + "\n"
        render = self._renderers[colours]
        text, error = guarded(lambda: render(None, "", _as_texts(facts)))
        return escape_unencodable(f"{text if error is None else strict_json(facts)}\n")


def _as_texts(facts: dict[str, Any]) -> dict[str, Any]:
    # The application may have bound anything, also what has line breaks in its `repr`.
    texts = {}
    for name, value in facts.items():
        text = value if type(value) is str else whole_repr_of(value)
        texts[printable(name)] = printable_lines(text) if name in _IN_LINES else printable(text)
    return texts


class LogFile:
    """A file that is opened at the first line and after each `close`.

    It is written to without a buffer: one has a lock, which stays held in a forked child for
    ever where another thread was writing at the fork.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = fork_safe_lock()
        self._open: list[FileIO] = []
        weakref.finalize(self, _close, self._open)

    def write(self, line: str) -> None:
        """Append a line, whole."""
        left = line.encode()
        with self._lock:
            if not self._open:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._open.append(self._path.open("ab", buffering=0))
            write = self._open[0].write
            while (written := write(left)) < len(left):
                left = left[written:]

    def close(self) -> None:
        """Close the file, if it is open."""
        with self._lock:
            _close(self._open)


def _close(files: list[FileIO]) -> None:
    while files:
        files.pop().close()


class _Clock:
    """Writes the time in UTC, ISO 8601. All but the microseconds is made once a second."""

    def __init__(self) -> None:
        self._made: tuple[int, str] = (-1, "")

    def now(self) -> str:
        now = time()
        second = int(now)
        made, text = self._made
        if made != second:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._made = second, text
        return f"{text}.{int((now - second) * 1e6):06d}Z"


def _check_stream(stream: TextIO | None) -> None:
    if stream is None:
        return
    hint = "give a text stream that is open for writing"
    check_method("stream", stream, "write", hint)
    check_method("stream", stream, "flush", hint)
    if isinstance(stream, (RawIOBase, BufferedIOBase)):
        raise InvalidOption("stream", stream, "it takes bytes: give a text stream")
    # A stream of an application's own may have no more than it needs, and be right.
    closed = getattr(stream, "closed", False)
    if closed or (isinstance(stream, TextIOWrapper) and not stream.writable()):
        raise InvalidOption("stream", stream, hint)
