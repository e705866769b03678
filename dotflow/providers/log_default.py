"""The log that is used by default: lines of text or JSON, to stderr or a file."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from typing import TYPE_CHECKING, Final

from dotflow.abc.log import Log, level_of
from dotflow.core.arguments import check_choice, check_file, strict_arguments
from dotflow.settings import Settings

if TYPE_CHECKING:
    from io import TextIOWrapper

_NAME: Final = "dotflow.log"
_OUTPUTS: Final = ("console", "file", "both")
_ESCAPED: Final = "backslashreplace"
_LINES: Final = {
    "simple": "%(asctime)s - %(levelname)s [%(name)s]: %(message)s",
    "json": "%(message)s",
}


class LogDefault(Log):
    """Writes one line at each change of a task's status.

    Each instance writes by handlers of its own, past the logging configuration of the
    application, and leaves nothing behind when it is gone.

    Args:
        level: The lowest level that is written: `DEBUG`, `INFO`, `WARNING` or `ERROR`, in
            any case, or a number of `logging`. An unknown name means `INFO`.
        output: `console` (stderr), `file` or `both`.
        path: The file, which is appended to; made with its folders at the first line. None:
            `Settings.LOG_PATH`.
        format: `simple` or `json`: one JSON object a line.

    Raises:
        InvalidOption: `output` or `format` is none of these, `level` is neither a name nor a
            number, or `path` is not that of a file.
    """

    @strict_arguments
    def __init__(
        self,
        level: str | int = "INFO",
        output: str = "console",
        path: str | os.PathLike[str] | None = None,
        format: str = "simple",  # noqa: A002 - the name of 1.x
    ) -> None:
        check_choice("output", output, _OUTPUTS)
        check_choice("format", format, _LINES)
        check_file("path", path, optional=True)
        self._level = level_of(level)
        self._format = format
        # `getLogger` would keep it for ever and share it with others.
        self._logger = logging.Logger(_NAME, level=self._level)  # noqa: LOG001
        self._logger.propagate = False
        self._handlers = _handlers(output, path)
        for handler in self._handlers:
            handler.setFormatter(logging.Formatter(_LINES[format]))
            self._logger.addHandler(handler)
            weakref.finalize(self, handler.close)

    def close(self) -> None:
        """Close the file, if there is one. A later line opens it again."""
        for handler in self._handlers:
            handler.close()


class _ConsoleHandler(logging.Handler):
    """Writes to what is `sys.stderr` at that moment, which tests and notebooks replace."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        # It is None in a program without a console.
        if stream is None:
            return
        try:
            from dotflow.core.user_objects import write_text  # noqa: PLC0415 - where lines are written

            write_text(stream, self.format(record) + "\n")
            stream.flush()
        except Exception:  # noqa: BLE001 - logging reports it in its own way
            self.handleError(record)


class _FileHandler(logging.FileHandler):
    def _open(self) -> TextIOWrapper:
        os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)  # noqa: PTH103, PTH120
        return super()._open()


def _handlers(output: str, path: str | os.PathLike[str] | None) -> list[logging.Handler]:
    handlers: list[logging.Handler] = []
    if output != "file":
        handlers.append(_ConsoleHandler())
    if output != "console":
        file = path or Settings.LOG_PATH
        # Texts of users' errors may hold what cannot be encoded.
        handlers.append(_FileHandler(file, encoding="utf-8", delay=True, errors=_ESCAPED))
    return handlers
