"""The providers, imported when they are first asked for.

`from dotflow.providers import <Name>` finds those of dotflow itself and, by the entry-point
group `dotflow.providers`, those of any other distribution, which the core does not know.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from dotflow.dask import ExecutorDask as ExecutorDask
    from dotflow.providers.executor_futures import ExecutorFutures as ExecutorFutures
    from dotflow.providers.executor_local import ExecutorLocal as ExecutorLocal
    from dotflow.providers.log_default import LogDefault as LogDefault
    from dotflow.providers.metrics_default import MetricsDefault as MetricsDefault
    from dotflow.providers.notify_apprise import NotifyApprise as NotifyApprise
    from dotflow.providers.notify_default import NotifyDefault as NotifyDefault
    from dotflow.providers.notify_discord import NotifyDiscord as NotifyDiscord
    from dotflow.providers.notify_telegram import NotifyTelegram as NotifyTelegram
    from dotflow.providers.progress_terminal import ProgressTerminal as ProgressTerminal
    from dotflow.providers.scheduler_cron import SchedulerCron as SchedulerCron
    from dotflow.providers.scheduler_default import SchedulerDefault as SchedulerDefault
    from dotflow.providers.server_default import ServerDefault as ServerDefault
    from dotflow.providers.storage_default import StorageDefault as StorageDefault
    from dotflow.providers.storage_file import StorageFile as StorageFile
    from dotflow.providers.storage_fsspec import StorageFsspec as StorageFsspec
    from dotflow.providers.storage_gcs import StorageGCS as StorageGCS
    from dotflow.providers.storage_s3 import StorageS3 as StorageS3
    from dotflow.providers.storage_sql import StorageSQL as StorageSQL
    from dotflow.providers.tracer_default import TracerDefault as TracerDefault

_GROUP: Final = "dotflow.providers"

_BUILT_IN: Final = {
    "ExecutorDask": "dotflow.dask.executor",
    "ExecutorFutures": "dotflow.providers.executor_futures",
    "ExecutorLocal": "dotflow.providers.executor_local",
    "LogDefault": "dotflow.providers.log_default",
    "MetricsDefault": "dotflow.providers.metrics_default",
    "NotifyApprise": "dotflow.providers.notify_apprise",
    "NotifyDefault": "dotflow.providers.notify_default",
    "NotifyDiscord": "dotflow.providers.notify_discord",
    "NotifyTelegram": "dotflow.providers.notify_telegram",
    "ProgressTerminal": "dotflow.providers.progress_terminal",
    "SchedulerCron": "dotflow.providers.scheduler_cron",
    "SchedulerDefault": "dotflow.providers.scheduler_default",
    "ServerDefault": "dotflow.providers.server_default",
    "StorageDefault": "dotflow.providers.storage_default",
    "StorageFile": "dotflow.providers.storage_file",
    "StorageFsspec": "dotflow.providers.storage_fsspec",
    "StorageGCS": "dotflow.providers.storage_gcs",
    "StorageS3": "dotflow.providers.storage_s3",
    "StorageSQL": "dotflow.providers.storage_sql",
    "TracerDefault": "dotflow.providers.tracer_default",
}

__all__ = [*_BUILT_IN]  # noqa: PLE0604 - names, all of them


def __getattr__(name: str) -> Any:
    provider = _built_in(name) if name in _BUILT_IN else _from_others(name)
    # The next look-up finds it without coming here.
    globals()[name] = provider
    return provider


def __dir__() -> list[str]:
    return sorted({*globals(), *_BUILT_IN, *(entry.name for entry in _others())})


def _built_in(name: str) -> Any:
    return getattr(import_module(_BUILT_IN[name]), name)


def _from_others(name: str) -> Any:
    # Python itself asks for names like `__path__`; no provider has one.
    if not name.startswith("_"):
        for entry in _others():
            if entry.name == name:
                return entry.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _others() -> Iterable[EntryPoint]:
    # Here, because `import dotflow` does without it.
    from importlib.metadata import entry_points  # noqa: PLC0415

    return entry_points(group=_GROUP)
