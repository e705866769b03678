"""`dotflow recover`: send what killed processes could not send of their runs."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from dotflow.cli.output import COMPLETED, FAILED, print_error, printable
from dotflow.core.exception import DotflowError
from dotflow_otel.analysis.sentences import moment, plural
from dotflow_otel.cli.shared import AsJson, Debug, HistoryPath  # noqa: TC001 - typer reads them
from dotflow_otel.history.place import history_path
from dotflow_otel.history.reader import History
from dotflow_otel.history.store import RUNNING, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.recovery import Sending

_LONGEST: Final = 60

# What decides whether spans are exported at all.
_DECIDING: Final = ("SDK_DISABLED", "TRACES_EXPORTER")


class NowhereToSend(DotflowError):
    """Spans are exported nowhere."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            f"{reason}, so nothing could be sent, and nothing was done: name a backend in "
            "OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4318."
        )


def recover(
    history: HistoryPath = None,
    as_json: AsJson = False,
    _debug: Debug = False,
) -> int:
    """Send the traces of runs whose process was killed, to where OTEL_* variables say.

    The next process that records in the same history does so by itself; this does it now. What
    was delivered is not sent again.

    Exit codes: 0 all was sent, or there was nothing to send, 1 the backend did not take it all,
    2 wrong use.
    """
    path = history_path(True if history is None else history)
    assert path is not None  # noqa: S101 - it may be None for False alone
    # Before anything is set up, and before a file that is damaged would be set aside.
    with History(path) as opened:
        going_on = len(opened.runs(status=RUNNING))
    lost, sendings = _recovered(path)
    if as_json:
        print(json.dumps(_as_data(lost, sendings, going_on), indent=2))
    else:
        _print(lost, sendings, going_on)
    failed = [each for each in sendings if not each.is_delivered]
    if not failed:
        return COMPLETED
    print_error(
        f"{plural(len(failed), 'run')} could not be sent: see that the backend is up, and call it "
        "again. Nothing is lost: what was not taken stays in the history."
    )
    return FAILED


def _recovered(path: Path) -> tuple[list[RunInfo], Sequence[Sending]]:
    # Here, for the page of help needs no SDK.
    from dotflow_otel.history.recording import recovery_of  # noqa: PLC0415
    from dotflow_otel.observing import observe  # noqa: PLC0415
    from dotflow_otel.sdk.setting_up import setup  # noqa: PLC0415

    config = observe(history=False)
    telemetry = setup()  # what `observe` has set up
    if not telemetry.pipelines:
        raise NowhereToSend(_why_nowhere())
    try:
        recovery = recovery_of(config, path, telemetry)
        return recovery.recover(), recovery.sendings
    except sqlite3.Error as error:
        raise unreadable(path, error) from error


def _why_nowhere() -> str:
    disabled, named = (os.environ.get(f"OTEL_{name}", "") for name in _DECIDING)
    if disabled.strip().lower() == "true":
        return f"OTEL_SDK_DISABLED is {disabled!r}"
    if named:
        return f"OTEL_TRACES_EXPORTER is {named!r}"
    return "No backend is named, and no collector listens on this machine"


def _print(lost: Sequence[RunInfo], sendings: Sequence[Sending], going_on: int) -> None:
    more = f" {plural(going_on, 'run')} {'goes' if going_on == 1 else 'go'} on." if going_on else ""
    sent = [each for each in sendings if each.is_delivered]
    if not lost and not sendings:
        print(f"Nothing to recover: no process of this history was killed.{more}")
        return
    rest = {run.key: run for run in lost}
    for each in sendings:
        rest.pop(each.run.key, None)
    spans = sum(each.spans for each in sent)
    counted = f"{plural(spans, 'span')} of {plural(len(sent), 'run')}"
    print(f"{'Sent ' + counted if sent else 'Sent nothing'}.{more}")
    for each in sendings:
        what = f"{each.spans:,} sent" if each.is_delivered else "not sent"
        print(f"  {_described(each.run)}  {what}")
    for run in rest.values():
        print(f"  {_described(run)}  {'nothing was missing' if run.is_sampled else 'not sampled'}")


def _described(run: RunInfo) -> str:
    name = printable(run.workflow)
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
    began = moment(run.started)
    tasks = f"{run.completed} of {run.tasks} tasks completed"
    return f"{run.id}  {name}  {began}  {run.status}, {tasks}"


def _as_data(lost: Sequence[RunInfo], sendings: Sequence[Sending], going_on: int) -> dict[str, Any]:
    return {
        "lost": [run.id for run in lost],
        "sent": [_sending(each) for each in sendings if each.is_delivered],
        "not_sent": [_sending(each) for each in sendings if not each.is_delivered],
        "running": going_on,
    }


def _sending(each: Sending) -> dict[str, Any]:
    run = each.run
    return {
        "id": run.id,
        "workflow": run.workflow,
        "status": run.status,
        "trace_id": run.trace_id,
        "spans": each.spans,
    }
