"""`dotflow start`: run steps, or a workflow, once."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from dotflow.cli.flow import Chosen, takes_options
from dotflow.cli.output import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    print_error,
    print_note,
)
from dotflow.cli.report import Output
from dotflow.core.timing import Latch, monotonic
from dotflow.core.types import TypeExecution, TypeStatus
from dotflow.signals import TERMINATED, Terminated, sigterm_exits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dotflow.core.dotflow import DotFlow
    from dotflow.core.options import RunOptions


@takes_options
def start(chosen: Chosen) -> int:
    """Run steps, or a workflow, once.

    Give either --step, once or more, or --workflow. Modules of the working directory are found.

    Exit codes: 0 all tasks completed, 1 a task failed, 2 wrong use, 130 interrupted,
    143 terminated.
    """
    options = chosen.run_options()
    # First, for modules and factories may print as well.
    output = Output(as_json=chosen.as_json)
    with chosen.flow() as flow:
        return _run(flow, options, output)


def _run(flow: DotFlow, options: RunOptions, output: Output) -> int:
    code, began = COMPLETED, monotonic()
    try:
        with terminable():
            code = FAILED if _failed(flow, options) else COMPLETED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Terminated:
        code = TERMINATED
    except SystemExit:
        code = FAILED  # of a step, whose task says so
    duration = monotonic() - began
    tasks, is_cut_off = flow.result_task(), code in (INTERRUPTED, TERMINATED)
    failed = code != COMPLETED
    if is_cut_off and tasks:
        # A run in the background may have gone on to its end.
        failed = any(task.status != TypeStatus.COMPLETED for task in tasks)
    if not output.write(flow, tasks, duration, failed=failed):
        code = code or FAILED
    if is_cut_off:
        print_error("Aborted." if code == INTERRUPTED else "Terminated.")
    return code


def _failed(flow: DotFlow, options: RunOptions) -> bool:
    """Run the workflow to its end; return whether it failed."""
    ended = Latch()
    options["on_success"] = options["on_failure"] = lambda **_tasks: ended.open()
    if options["mode"] != TypeExecution.BACKGROUND:
        return flow.start(**options).failed
    try:
        with _signals_held_back():
            manager = flow.start(**options)
        # Not by `thread.join()`: once interrupted, it takes a thread that runs for one that ended.
        ended.wait()
    except (KeyboardInterrupt, Terminated) as interruption:
        _end_background(ended, interruption)
        raise
    return manager.failed


def _end_background(ended: Latch, interruption: BaseException) -> None:
    # Nothing can interrupt another thread's step.
    code = INTERRUPTED if isinstance(interruption, KeyboardInterrupt) else TERMINATED
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: leave_at_once(code))
    print_note("Waiting for the run in the background to end; once more leaves it at once.")
    ended.wait()


def leave_at_once(code: int) -> NoReturn:
    """End the process, whatever its threads do."""
    _clear_terminal()
    # A signal's handler may have come while something was written.
    with suppress(RuntimeError):
        print_error("Aborted: what was running is left as it is.")
        sys.stdout.flush()
    os._exit(code)


def _clear_terminal() -> None:
    progress = sys.modules.get("dotflow.providers.progress_terminal")
    if progress is not None:
        progress.clear_terminal()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM to the end: so a run has begun as a whole, or not at all."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for each in came:
        signal.raise_signal(each)


def terminable() -> AbstractContextManager[None]:
    """Return a context in which the first SIGTERM raises `Terminated` in the main thread."""
    return sigterm_exits(_clear_terminal)
