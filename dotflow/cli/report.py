"""How a run ended, for people and for programs."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

from dotflow.cli.output import print_error, send_nowhere, shortened
from dotflow.core.types import TypeStatus, WorkflowStatus
from dotflow.printable import printable, printable_lines
from dotflow.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from dotflow.core.dotflow import DotFlow
    from dotflow.core.task import Task

# Beyond these numbers a run is shown in sums.
_ROWS: Final = 50
_TRACEBACKS: Final = 5
_SHOWN: Final = 60

# Below this width a table has no room for results.
_NARROW: Final = 60
_WIDE: Final = 200
# What two columns of a table need, with the space before each.
_STATUS_AND_TIME: Final = 2 + 11 + 2 + 8

_STYLES: Final = {TypeStatus.COMPLETED: "green", TypeStatus.FAILED: "red"}


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
        status = WorkflowStatus.FAILED if failed else WorkflowStatus.COMPLETED
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
        status = WorkflowStatus.FAILED if failed else WorkflowStatus.COMPLETED
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
    return [task for task in tasks if task.status != TypeStatus.COMPLETED][:_ROWS]


def _counted(tasks: Sequence[Task]) -> str:
    counts = Counter(task.status for task in tasks)
    if set(counts) <= {TypeStatus.COMPLETED}:
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
    if task.status == TypeStatus.FAILED and task.errors:
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
    failed = [
        task for task in tasks if task.status == TypeStatus.FAILED and not _was_interrupted(task)
    ]
    if not failed:
        return
    with suppress(BrokenPipeError):
        for task in failed[:_TRACEBACKS]:
            if task.errors:
                traceback = printable_lines(task.errors[-1].traceback.rstrip())
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
