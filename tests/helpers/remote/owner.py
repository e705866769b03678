"""Another application that uses the same worker process: it runs steps, and tells what it got."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from log_records import records_kept
from observed import Observed
from opentelemetry import trace
from remote import meeting
from remote.process import RemoteExecutor

from dotflow import action
from dotflow.providers import ExecutorFutures

if TYPE_CHECKING:
    from dotflow import Context

tracer = trace.get_tracer("theirs")


@action
def lets_go() -> None:
    """Have the thread of another application's step go on, while this attempt runs."""
    meeting.tell("go")
    meeting.wait_for("done")
    with tracer.start_as_current_span("theirs"):
        logging.getLogger("app").warning("theirs")


@action
def meets(initial_context: Context) -> None:
    """Record while another application's steps do."""
    meeting.tell("theirs has begun")
    for number in range(initial_context.storage):
        meeting.meet(f"round {number}", 2)
        with tracer.start_as_current_span(f"theirs {number}"):
            logging.getLogger("app").warning("theirs %d", number)


def main(port: int, step: str, told: Any) -> None:
    """Run one step, and print the names of its spans and the texts of its records."""
    with records_kept() as records:
        observed = Observed()
        observed.config.executor = ExecutorFutures(RemoteExecutor(port, 1))
        steps = {"lets_go": lets_go, "meets": meets}
        observed.run({"step": steps[step], "initial_context": told}, mode="parallel")
    texts = sorted(record.getMessage() for record in records)
    print(json.dumps([sorted(span.name for span in observed.finished), texts]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
