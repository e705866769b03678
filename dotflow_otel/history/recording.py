"""Connects what happens in this process to its history."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.noop import is_noop
from dotflow.core.arguments import strict_arguments
from dotflow.core.config import check_config
from dotflow.core.process import fork_safe_lock
from dotflow.providers.tracer_default import TracerDefault
from dotflow_otel import conventions as names
from dotflow_otel._process import for_each
from dotflow_otel.history.deliveries import Deliveries
from dotflow_otel.history.place import history_path
from dotflow_otel.history.recorder import RecordedLogs, Recorder
from dotflow_otel.history.recovery import Outlets, Recovery
from dotflow_otel.history.store import HistoryUnusable, Limits
from dotflow_otel.logs import events
from dotflow_otel.logs.log import LogStructlog
from dotflow_otel.metrics.ledger import BaseMetrics
from dotflow_otel.sdk.batching import add_to_root
from dotflow_otel.sdk.setting_up import ensure_provider
from dotflow_otel.span_ids import SpanIds
from dotflow_otel.traces.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from dotflow import Config
    from dotflow.abc.log import Log
    from dotflow.core.model import Task
    from dotflow.core.run import Run
    from dotflow_otel.history.reader import RunInfo
    from dotflow_otel.history.segments import Span
    from dotflow_otel.sdk.span_pipeline import SpanPipeline
    from dotflow_otel.sdk.telemetry import Telemetry

_logger: Final = logging.getLogger("dotflow_otel")
_lock: Final = fork_safe_lock()

# As global as the providers and the root logger that they listen to: one for each file.
_recorders: Final[dict[Path, Recorder]] = {}
_deliveries: Final[dict[Path, Deliveries]] = {}

_listening: Final[list[tuple[Any, Recorder]]] = []
_logs: Final = RecordedLogs()
_recoveries: Final[list[Recovery]] = []
_is_at_root = False

_WORKER: Final = "dotflow.workers.child"


@strict_arguments
def record_history(
    config: Config, history: bool | str | os.PathLike[str] | None = None
) -> Recorder | None:
    """Record the runs of a configuration in a local file, and export nothing.

    A configuration without a tracer gets a `TracerOpenTelemetry`. Where no tracer provider is
    set, one without an exporter is, so that spans of steps are recorded too. Beside a log that
    writes lines and no more, events and what steps log in workers are recorded. A configuration
    whose runs are recorded already, as by `observe(history=True)`, is left as it is.

    Args:
        config: The configuration.
        history: The file, as in `observe`.

    Returns:
        What records; None where nothing does.

    Raises:
        InvalidOption: `config` is no `Config`, or `history` no path where a file can be.
        ModuleNotFound: A library of `dotflow[otel]` is not installed.
    """
    check_config(config)
    path = history_path(history)
    if path is None:
        return None
    for known in tuple(_recorders.values()):
        if config.tracer in known.tracers:
            return known
    telemetry = ensure_provider(None)
    if type(config.tracer) is TracerDefault:
        config.tracer = TracerOpenTelemetry()
    if _leaves_scopes(config.log):
        config.log = _JoinedLog(config.log)
    # What a killed process could not send is left to a process that sends anything.
    return record(config, path, telemetry, recovers=not telemetry.is_silent)


def _leaves_scopes(log: Log) -> bool:
    # One that has them, as `LogStructlog`, sees to its events and the lines of steps itself.
    hooks = (log.attempt_scope, log.remote_scope, log.attempt_recorded, log.attempt_finished)
    return all(is_noop(hook) for hook in hooks)


class _JoinedLog(LogStructlog):
    """Has events recorded, and what steps log in workers; another log writes what it always did.

    Args:
        log: That one.
    """

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def info(self, **kwargs: Any) -> None:
        self._join("info", **kwargs)

    def error(self, **kwargs: Any) -> None:
        self._join("error", **kwargs)

    def warning(self, **kwargs: Any) -> None:
        self._join("warning", **kwargs)

    def debug(self, **kwargs: Any) -> None:
        self._log.debug(**kwargs)

    def run_started(self, run: Run) -> None:
        self._join("run_started", run)

    def run_finished(self, run: Run) -> None:
        self._join("run_finished", run)

    def task_restored(self, task: Task) -> None:
        self._join("task_restored", task)

    def task_skipped(self, task: Task) -> None:
        self._join("task_skipped", task)

    def _join(self, hook: str, *args: Any, **kwargs: Any) -> None:
        try:
            getattr(self._log, hook)(*args, **kwargs)
        finally:
            getattr(super(), hook)(*args, **kwargs)

    def _writes_json(self) -> bool:
        return False

    def _emit(
        self, level: int, event: str, fields: dict[str, Any], ids: SpanIds | None = None
    ) -> None:
        pass  # the line is the other log's


def record(
    config: Config,
    path: Path,
    telemetry: Telemetry | None = None,
    *,
    limits: Limits = Limits(),  # noqa: B008 - a tuple
    recovers: bool = True,
) -> Recorder | None:
    """Record the runs of a configuration in the history at a path, from now on.

    Worker processes record nothing: what happens there comes to the process of the run.

    Args:
        config: Its tracer is a `TracerOpenTelemetry`.
        path: The file.
        telemetry: What `setup` created. Its pipelines note what they deliver.
        limits: How much the history keeps.
        recovers: Whether the runs of processes that were killed are looked for, once.

    Returns:
        What records; None in a worker, and where the tracer is another one.
    """
    if any(_WORKER in argument for argument in sys.orig_argv):
        return None
    tracer = config.tracer
    if not isinstance(tracer, TracerOpenTelemetry):
        _logger.warning(
            "No history is recorded: the tracer %s is no TracerOpenTelemetry",
            type(tracer).__name__,
        )
        return None
    provider: Any = tracer.provider
    is_first = False
    with _lock:
        recorder = _recorders.get(path)
        if recorder is None:
            resource = getattr(provider, "resource", None)
            attributes = {} if resource is None else resource.attributes
            pipelines = _own_pipelines(provider, telemetry)
            exporters = [pipeline.name for pipeline in pipelines]
            recorder = _recorders[path] = Recorder(path, attributes, exporters, limits)
            deliveries = _deliveries[path] = Deliveries(recorder)
            for pipeline in pipelines:
                pipeline.note_in(deliveries)
            is_first = True
            events.listeners.append(recorder.event_logged)
            _listen_to_logs(recorder)
        _listen(recorder, provider)
    tracer.watch(recorder)
    recorder.tracers.add(tracer)
    is_there = path.exists()
    recorder.open()
    if is_first and recovers and is_there:
        recovery = _recovery(recorder, config, telemetry)
        recovery.start()
        _recoveries.append(recovery)
    return recorder


def recover(config: Config, path: Path, telemetry: Telemetry | None = None) -> list[RunInfo]:
    """Send now what processes that were killed could not send; return the runs that were lost.

    `record` does it by itself, in a thread. Otherwise as `recovery_of`.
    """
    return recovery_of(config, path, telemetry).recover()


def recovery_of(config: Config, path: Path, telemetry: Telemetry | None = None) -> Recovery:
    """Return what sends, when it is called, what processes that were killed could not send.

    Args:
        config: Its metrics and log are notified of each run that is found to be lost.
        path: The history.
        telemetry: What `setup` created.

    Raises:
        HistoryUnusable: There is no history, or this version cannot use it.
    """
    is_there = path.exists()
    recorder = record(config, path, telemetry, recovers=False) if is_there else None
    if recorder is None:
        raise HistoryUnusable(path, "is not there, or cannot be recovered from here.")
    return _recovery(recorder, config, telemetry)


def finish_recovery(seconds: float) -> bool:
    """Wait until what `record` has begun to recover is sent; return whether it is."""
    return all(recovery.wait(seconds) for recovery in _recoveries)


def _recovery(recorder: Recorder, config: Config, telemetry: Telemetry | None) -> Recovery:
    provider: Any = (
        config.tracer.provider if isinstance(config.tracer, TracerOpenTelemetry) else None
    )
    pipelines = _own_pipelines(provider, telemetry)
    replay = None if pipelines else _replay_to(provider)
    noted = _deliveries.get(recorder.path)
    outlets = Outlets(pipelines, noted, replay, partial(_report_lost, config))
    return Recovery(recorder, outlets)


def _own_pipelines(provider: Any, telemetry: Telemetry | None) -> Sequence[SpanPipeline]:
    if telemetry is None or telemetry.provider is not provider:
        return ()
    return tuple(telemetry.pipelines)


def _replay_to(provider: Any) -> Callable[[Sequence[ReadableSpan]], None] | None:
    processor = getattr(provider.get_tracer(names.SCOPE), "span_processor", None)
    if processor is None:
        return None
    return partial(for_each, processor.on_end)


def _report_lost(config: Config, run: RunInfo, spans: Sequence[Span]) -> None:
    if isinstance(config.metrics, BaseMetrics):
        config.metrics.workflow_lost(run.workflow)
    if isinstance(config.log, LogStructlog):
        in_flight = [each.attributes.get(names.TASK_NAME) for each in spans if each.ended is None]
        fields = {
            "workflow_id": run.workflow_id,
            "workflow": run.workflow,
            "started": _on_the_wall(run.started),
            "last_heartbeat": _on_the_wall(run.beat),
            "tasks": run.tasks,
            "completed": run.completed,
            "failed": run.failed,
            "in_flight": ", ".join(str(name) for name in in_flight if name is not None),
        }
        span_id = f"{run.span_id:016x}"
        config.log.workflow_lost(fields, SpanIds(run.trace_id, span_id, sampled=run.is_sampled))


def _on_the_wall(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat()


def forget(recorder: Recorder) -> None:
    """Close a history, and record nothing there any more: for tests."""
    recorder.close()
    with _lock:
        deliveries = _deliveries.pop(recorder.path, None)
        _recorders.pop(recorder.path, None)
        _listening[:] = [each for each in _listening if each[1] is not recorder]
        events.listeners[:] = [each for each in events.listeners if each != recorder.event_logged]
        if recorder in _logs.recorders:
            _logs.recorders.remove(recorder)
        if not _logs.recorders:
            logging.root.removeHandler(_logs)
    if deliveries is not None:
        deliveries.close()


def _listen(recorder: Recorder, provider: Any) -> None:
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        # Nobody makes spans, or what makes them cannot be listened to: the hooks notify of runs,
        # tasks and attempts.
        return
    if not any(provider is known and recorder is by for known, by in _listening):
        _listening.append((provider, recorder))
        add(recorder)
    recorder.receives_spans = True


def _listen_to_logs(recorder: Recorder) -> None:
    global _is_at_root  # noqa: PLW0603 - as global as the root logger
    _logs.recorders.append(recorder)
    if not _is_at_root:
        _is_at_root = True
        add_to_root(_logs)
    elif _logs not in logging.root.handlers:
        logging.root.addHandler(_logs)
