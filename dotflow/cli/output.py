"""What a command writes, how a run ended, and the code that it exits with.

Lines to read are written to stderr, results to stdout, and nothing to a closed pipe.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from dotflow.core.dotflow import DotFlow
    from dotflow.core.task import Task


COMPLETED: Final = 0
FAILED: Final = 1  # a task, or dotflow itself
WRONG_USE: Final = 2
INTERRUPTED: Final = 130
TERMINATED: Final = 143

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


class Terminated(SystemExit):
    """SIGTERM came; it ends a run as Ctrl-C does."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


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


def printable(text: str) -> str:
    """Return text on one line, without what a terminal would take as an order."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def shortened(text: str, length: int) -> str:
    """Return text on one line, cut to a length."""
    line = printable(text[: length + 1])
    return line if len(line) <= length else f"{line[: length - 3]}..."


def _escaped(character: str) -> str:
    return " " if character == "\n" else character.encode("unicode_escape").decode("ascii")


def has_colors(stream: io.TextIOBase | object) -> bool:
    """Return whether what is written to a stream may be in colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", bool)())


# Beyond these numbers a run is shown in sums.
_ROWS: Final = 50
_TRACEBACKS: Final = 5
_SHOWN: Final = 60

# Below this width a table has no room for results.
_NARROW: Final = 60
_WIDE: Final = 200
# What two columns of a table need, with the space before each.
_STATUS_AND_TIME: Final = 2 + 11 + 2 + 8

# Names of statuses, as in `dotflow.core.types`, which `dotflow --help` does without.
_COMPLETED: Final = "Completed"
_FAILED: Final = "Failed"
_STYLES: Final = {_COMPLETED: "green", _FAILED: "red"}


class Output:
    """Writes the results of runs to stdout.

    Args:
        as_json: Whether as JSON: one object a run, and nothing else on stdout. What steps print
            goes to stderr then, also in workers.

    Attributes:
        stdout: What the results are written to.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.stdout: TextIO = sys.stdout
        if as_json:
            sys.stdout.flush()
            self.stdout = os.fdopen(os.dup(1), "w", encoding="ascii")
            os.dup2(2, 1)

    def write(
        self, flow: DotFlow, tasks: Sequence[Task], duration: float | None, *, failed: bool
    ) -> bool:
        """Write the result of a run to stdout, and its failures to stderr.

        Returns:
            Whether the result could be written, or nobody reads it.
        """
        write, written = self._write_json if self._as_json else self._write_table, True
        try:
            write(flow, tasks, duration, failed=failed)
            self.stdout.flush()
        except BrokenPipeError:
            pass
        except OSError as error:  # a full disk, say
            print_error(f"The result could not be written: {error}")
            send_nowhere(self.stdout.fileno())  # what is left of it would fail again at exit
            written = False
        _print_failures(flow, tasks)
        return written

    def _write_json(
        self, flow: DotFlow, tasks: Sequence[Task], duration: float | None, *, failed: bool
    ) -> None:
        status = _FAILED if failed else _COMPLETED
        record = {**flow.task.result(tasks), "status": status, "duration": duration}
        indent = 2 if self.stdout.isatty() else None
        print(json.dumps(record, indent=indent), file=self.stdout)

    def _write_table(
        self, flow: DotFlow, tasks: Sequence[Task], duration: float | None, *, failed: bool
    ) -> None:
        from rich.console import Console  # noqa: PLC0415 - needed once something has run
        from rich.text import Text  # noqa: PLC0415

        # In a pipe nothing is cut to a width that nobody has.
        width = None if self.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
        console = Console(file=self.stdout, width=width, highlight=False, markup=False, emoji=False)
        if tasks:
            console.print(_table(_shown(tasks), console.width))
        status = _FAILED if failed else _COMPLETED
        heading = Text.assemble(
            (printable(flow.name), "bold"),
            ": ",
            (status.lower(), "red" if failed else "green"),
            f" in {_seconds(duration)}" if duration is not None else "",
            f", {_counted(tasks)}",
        )
        console.print(heading, soft_wrap=True)


def _table(tasks: Sequence[Task], width: int) -> Table:
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    narrow = width < _NARROW
    left = width - _STATUS_AND_TIME - (0 if narrow else 2)
    longest = max([len(printable(task.name)) for task in tasks], default=0)
    name_width = min(longest, left if narrow else max(left // 2, left - _SHOWN))
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column("task", overflow="fold", width=max(name_width, len("task")))
    table.add_column("status", no_wrap=True, min_width=11)
    table.add_column("time", justify="right", no_wrap=True, min_width=8)
    if not narrow:
        room = min(_SHOWN, left - name_width)
        table.add_column("result", overflow="ellipsis", no_wrap=True, max_width=room)
    for task in tasks:
        status = Text(_status(task), style=_STYLES.get(task.status, "dim"))
        cells = [Text(printable(task.name)), status, Text(_seconds(task.duration))]
        table.add_row(*cells, *(() if narrow else (Text(_result(task)),)))
    return table


def _shown(tasks: Sequence[Task]) -> Sequence[Task]:
    if len(tasks) <= _ROWS:
        return tasks
    return [task for task in tasks if task.status != _COMPLETED][:_ROWS]


def _counted(tasks: Sequence[Task]) -> str:
    counts = Counter(task.status for task in tasks)
    if set(counts) <= {_COMPLETED}:
        return f"{len(tasks)} {_plural(len(tasks))}"
    parts = ", ".join(f"{number} {status.lower()}" for status, number in counts.items())
    return f"{len(tasks)} {_plural(len(tasks))}: {parts}"


def _plural(number: int) -> str:
    return "task" if number == 1 else "tasks"


def _status(task: Task) -> str:
    return "Restored" if task.restored else task.status


def _result(task: Task) -> str:
    if _was_interrupted(task):
        return "interrupted"
    if task.status == _FAILED and task.errors:
        error = task.errors[-1]
        return shortened(f"{error.exception}: {error.message}", _SHOWN)
    value: Any = task.current_context.storage
    if value is None:
        return ""
    from reprlib import Repr  # noqa: PLC0415 - needed once something has run

    shown = Repr()
    shown.maxstring = shown.maxother = _SHOWN
    return shortened(shown.repr(value), _SHOWN)


def _seconds(duration: float | None) -> str:
    if duration is None:
        return ""
    return f"{duration:.2f} s" if duration >= 1 else f"{duration * 1e3:.1f} ms"


def _was_interrupted(task: Task) -> bool:
    failure = task.failure
    return failure is not None and isinstance(failure.exception, (KeyboardInterrupt, Terminated))


def _print_failures(flow: DotFlow, tasks: Sequence[Task]) -> None:
    failed = [task for task in tasks if task.status == _FAILED and not _was_interrupted(task)]
    if not failed:
        return
    with suppress(BrokenPipeError):
        for task in failed[:_TRACEBACKS]:
            if task.errors:
                traceback = task.errors[-1].traceback.rstrip()
                print(f"\ntask {printable(task.name)}\n{traceback}", file=sys.stderr)
        print(file=sys.stderr, flush=True)
    kinds = [*dict.fromkeys(_named(task) for task in failed)]
    named = ", ".join(kinds[:_TRACEBACKS])
    more = ", ..." if len(kinds) > _TRACEBACKS else ""
    count = f"{len(failed)} of {len(tasks)} {_plural(len(tasks))} failed"
    print_error(f"{flow.name}: {count}: {named}{more}")


def _named(task: Task) -> str:
    if not task.errors:
        return task.name
    error, attempts = task.errors[-1], task.step.policy.attempts
    tries = f", in attempt {task.attempt} of {attempts}" if attempts > 1 else ""
    return f"{task.name} ({shortened(f'{error.exception}: {error.message}', _SHOWN)}{tries})"
