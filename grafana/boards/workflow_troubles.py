"""Of the board *Workflow*: what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards.look import (
    COUNT,
    HALF,
    SECONDS,
    THIRD,
    About,
)
from boards.panels import bars, graph
from boards.queries import RATE
from boards.workflow_scope import queries as _q
from dotflow_otel import conventions as names

if TYPE_CHECKING:
    from boards.board import Panels


def failures() -> Panels:
    """Show failures, retries and cut-off attempts, by their reasons: three panels."""
    by_error = About(
        "Failures by type of error",
        "Why tasks fail: the class of the exception, `timeout` or `worker_lost`. A dot leads "
        "to a trace with the exception and its stack trace.",
        COUNT,
        THIRD,
    )
    retried = About(
        "Retries by type of error",
        "What is tried again, and why. A storm of retries strains what is called: raise "
        "`retry_delay`, or set `backoff=True`.",
        COUNT,
        THIRD,
    )
    late = About(
        "Timeouts and lost workers",
        "Attempts that were cut off, by task. A timeout that hits always: raise it, or mend "
        "what is waited for. Lost workers: see the kernel's log.",
        COUNT,
        THIRD,
    )
    cut_off = {
        "{{task}} timed out": _q.counted(names.TASK_TIMED_OUT, "task", window=RATE),
        "{{task}} lost its worker": _q.counted(names.WORKER_LOST, "task", window=RATE),
    }
    failed = _q.counted(names.TASK_FAILED, "error_type", window=RATE)
    again = _q.counted(names.TASK_RETRIED, "error_type", window=RATE)
    return [
        bars(by_error, {"{{error_type}}": failed}, exemplars=True),
        bars(retried, {"{{error_type}}": again}, exemplars=True),
        bars(late, cut_off, exemplars=True),
    ]


def waits() -> Panels:
    """Show how long tasks waited for a worker: two panels."""
    quantiles = About(
        "Wait for a worker",
        "How long tasks that were ready waited for a worker (`parallel` alone has waits). "
        "Longer than the tasks take: raise `ExecutorLocal(workers=)`.",
        SECONDS,
        HALF,
    )
    by_task = About(
        "Wait for a worker, p95 by task",
        "Tasks that wait most come last in their group: start long ones first.",
        SECONDS,
        HALF,
    )
    wait = names.TASK_QUEUE
    overall = {f"p{of * 100:g}": _q.quantile(of, wait) for of in (0.5, 0.95, 0.99)}
    return [
        graph(quantiles, overall, exemplars=True),
        graph(by_task, {"{{task}}": _q.quantile(0.95, wait, "task")}, exemplars=True),
    ]
