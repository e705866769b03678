"""`dotflow schedule`: run steps, or a workflow, at the times of a cron expression."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dotflow.cli.flow import Chosen, takes_options
from dotflow.cli.output import COMPLETED, INTERRUPTED, print_note
from dotflow.cli.report import Output
from dotflow.cli.start import leave_at_once, terminable
from dotflow.core.types import TypeOverlap
from dotflow.providers.scheduler_cron import SchedulerCron
from dotflow.signals import TERMINATED, Terminated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.core.dotflow import DotFlow
    from dotflow.core.options import RunOptions
    from dotflow.core.task import Task

_OVERLAPS: Final = (TypeOverlap.SKIP, TypeOverlap.QUEUE, TypeOverlap.PARALLEL)
_CODES: Final[dict[int | None, int]] = {
    None: COMPLETED,
    signal.SIGINT: INTERRUPTED,
    signal.SIGTERM: TERMINATED,
}


@takes_options
def schedule(
    chosen: Chosen,
    cron: Annotated[
        str,
        typer.Option(
            "--cron",
            metavar="CRON",
            help="When: '*/5 * * * *' is every five minutes; a sixth field is the second.",
        ),
    ],
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap",
            metavar="|".join(_OVERLAPS),
            show_default=False,
            help="What becomes of a time that comes while a run goes on: it is dropped (default), "
            "one waits, or up to ten runs go on at once.",
            autocompletion=lambda incomplete: [x for x in _OVERLAPS if x.startswith(incomplete)],
        ),
    ] = TypeOverlap.SKIP,
    timezone: Annotated[
        str | None,
        typer.Option(
            "--timezone",
            metavar="ZONE",
            help="The time zone of --cron, such as Europe/Berlin; local time unless given.",
        ),
    ] = None,
    jitter: Annotated[
        float,
        typer.Option("--jitter", metavar="SECONDS", help="How much later each time is, by chance."),
    ] = 0.0,
    catch_up: Annotated[
        int,
        typer.Option(
            "--catch-up",
            metavar="COUNT",
            help="How many are run of the times that passed while the machine slept, say.",
        ),
    ] = 1,
) -> int:
    """Run steps, or a workflow, at the times of a cron expression.

    Ctrl-C and SIGTERM end the schedule, once the run that goes on has ended; a second one ends
    that too. A run that fails does not end the schedule.

    Exit codes: 130 interrupted, 143 terminated, 2 wrong use, 0 where no further time comes.
    """
    scheduler = SchedulerCron(cron, overlap, timezone, jitter, catch_up)
    options = chosen.run_options()
    output = Output(as_json=chosen.as_json)
    with chosen.flow() as flow:
        flow.config.scheduler = scheduler
        return _Ticks(flow, scheduler, output).run(options)


class _Ticks:
    def __init__(self, flow: DotFlow, scheduler: SchedulerCron, output: Output) -> None:
        self._flow = flow
        self._scheduler = scheduler
        self._output = output
        self._writing = threading.Lock()

    def run(self, options: RunOptions) -> int:
        options["on_success"] = partial(self._ended, failed=False)
        options["on_failure"] = partial(self._ended, failed=True)
        code: int | None = None
        try:
            with terminable():
                self._print_next()
                self._flow.schedule(**options)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except Terminated:
            code = TERMINATED
        stopped_by = self._scheduler.stopped_by
        if code is not None and stopped_by is not None:
            leave_at_once(code)  # the second signal, while a run goes on
        if code is not None or stopped_by is not None:
            print_note("The schedule has ended.")
        return _CODES[stopped_by] if code is None else code

    def _ended(self, tasks: Sequence[Task], *, failed: bool) -> None:
        # Of several runs at the same time, each is written as a whole.
        with self._writing:
            self._output.write(self._flow, tasks, _duration(tasks), failed=failed)
        if self._scheduler.running:
            self._print_next()

    def _print_next(self) -> None:
        tick = self._scheduler.next_tick()
        if tick is not None:
            print_note(
                f"{self._flow.name}: runs next at {_shown(tick, self._scheduler)}; Ctrl-C ends it"
            )


def _duration(tasks: Sequence[Task]) -> float | None:
    starts = [task.started_at for task in tasks if task.started_at is not None]
    ends = [task.finished_at for task in tasks if task.finished_at is not None]
    return (max(ends) - min(starts)).total_seconds() if starts and ends else None


def _shown(tick: float, scheduler: SchedulerCron) -> str:
    at = datetime.fromtimestamp(tick, UTC)
    return f"{at.astimezone(scheduler.zone):%Y-%m-%d %H:%M:%S %Z}"
