"""Connects what happens in this process to its history."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.locks import fork_safe_lock
from dotflow_otel.history.recorder import RecordedLogs, Recorder
from dotflow_otel.history.store import Limits
from dotflow_otel.logs import events
from dotflow_otel.sdk.root_handler import add_to_root
from dotflow_otel.traces.tracer import TracerOpenTelemetry

if TYPE_CHECKING:
    from pathlib import Path

    from dotflow import Config

_logger: Final = logging.getLogger("dotflow_otel")
_lock: Final = fork_safe_lock()

# As global as the providers and the root logger that they listen to: one for each file.
_recorders: Final[dict[Path, Recorder]] = {}

_heard: Final[list[tuple[Any, Recorder]]] = []
_logs: Final = RecordedLogs()
_is_at_root = False

_WORKER: Final = "dotflow.workers.child"


def record(
    config: Config,
    path: Path,
    limits: Limits = Limits(),  # noqa: B008 - a tuple
) -> Recorder | None:
    """Record the runs of a configuration in the history at a path, from now on.

    Worker processes record nothing: what happens there comes to the process of the run.

    Args:
        config: Its tracer is a `TracerOpenTelemetry`.
        path: The file.
        limits: How much the history keeps.

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
    with _lock:
        recorder = _recorders.get(path)
        if recorder is None:
            resource = getattr(provider, "resource", None)
            attributes = {} if resource is None else resource.attributes
            recorder = _recorders[path] = Recorder(path, attributes, limits=limits)
            events.listeners.append(recorder.event_logged)
            _listen_to_logs(recorder)
        _listen(recorder, provider)
    tracer.watch(recorder)
    return recorder


def forget(recorder: Recorder) -> None:
    """Close a history, and record nothing there any more: for tests."""
    recorder.close()
    with _lock:
        _recorders.pop(recorder.path, None)
        _heard[:] = [each for each in _heard if each[1] is not recorder]
        events.listeners[:] = [each for each in events.listeners if each != recorder.event_logged]
        if recorder in _logs.recorders:
            _logs.recorders.remove(recorder)
        if not _logs.recorders:
            logging.root.removeHandler(_logs)


def _listen(recorder: Recorder, provider: Any) -> None:
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        # Nobody makes spans, or what makes them cannot be listened to: the hooks tell of runs,
        # tasks and attempts.
        return
    if not any(provider is known and recorder is by for known, by in _heard):
        _heard.append((provider, recorder))
        add(recorder)
    recorder.hears_spans = True


def _listen_to_logs(recorder: Recorder) -> None:
    global _is_at_root  # noqa: PLW0603 - as global as the root logger
    _logs.recorders.append(recorder)
    if not _is_at_root:
        _is_at_root = True
        add_to_root(_logs)
    elif _logs not in logging.root.handlers:
        logging.root.addHandler(_logs)
