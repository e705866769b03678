"""A service whose workflow `billing` has every outcome, and whose metrics can be scraped."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from dotflow import Config, DotFlow, action
from dotflow.abc.notify import Notify
from dotflow.abc.scheduler import Tick
from dotflow.providers import ExecutorLocal, StorageDefault
from dotflow_otel import LogStructlog, MetricsPrometheus, TracerOpenTelemetry, serve_metrics

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOW: Final = "billing"
_PATIENCE: Final = 20.0  # seconds


class BrokenNotify(Notify):
    """Fails at every change of a task."""

    def hook_status_task(self, task: Any) -> None:
        raise ConnectionError("no route to the pager")


@action
def read() -> int:
    """Succeed."""
    return 1


@action(retry=2, retry_delay=0)
def charge() -> None:
    """Fail, twice."""
    raise ConnectionError("the bank is busy")


@action(timeout=0.02)
async def wait() -> None:
    """Take too long."""
    await asyncio.sleep(60)


@action
def die() -> None:
    """End the worker that this runs in."""
    os.kill(os.getpid(), signal.SIGKILL)


class BusyService:
    """Runs `billing` with every outcome, while it is entered with two runs in progress.

    Args:
        folder: An empty one, for its files.

    Attributes:
        url: Where its metrics are.
        spans: What it exported.
    """

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self._released = Event()
        self._begun = Event()
        self._inside = ExitStack()
        self.spans = InMemorySpanExporter()
        registry = CollectorRegistry()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self._metrics = MetricsPrometheus(registry)
        self._providers: dict[str, Any] = {
            "tracer": TracerOpenTelemetry(tracer_provider=provider),
            "metrics": self._metrics,
            "log": LogStructlog(output="file", path=folder / "service.log", format="json"),
            "executor": ExecutorLocal(workers=2),
        }
        self._inside.callback(self._providers["executor"].close)
        server = self._inside.enter_context(serve_metrics(0, registry=registry))
        self.url = server.url

    def __enter__(self) -> Self:
        os.mkfifo(self._gate)
        here = self._flow(self._holds)
        self._inside.callback(here.start(mode="background").thread.join, _PATIENCE)
        self._inside.callback(self._released.set)
        assert self._begun.wait(_PATIENCE)
        in_worker = self._flow(_opens, initial_context=str(self._gate))
        thread = Thread(target=in_worker.start, kwargs={"mode": "parallel"})
        thread.start()
        self._inside.callback(thread.join, _PATIENCE)
        self._inside.callback(self._gate.write_text, "go on")
        return self

    def __exit__(self, *error: object) -> None:
        self._inside.close()

    def run(self) -> None:
        """Have every outcome once more."""
        self._flow(read, read).start()
        self._flow(charge, read).start()
        self._flow(wait).start()
        self._flow(read, read, die).start(mode="parallel")
        storage = StorageDefault()
        for _ in range(2):
            self._flow(read, storage=storage, workflow_id="nightly").start(resume=True)
        self._flow(read, notify=BrokenNotify()).start()
        tick = Tick(1.0, workflow=WORKFLOW)
        self._metrics.tick_fired(tick._replace(began=9.0))
        self._metrics.tick_skipped(tick, "overlap")
        self._metrics.workflow_lost(WORKFLOW)
        self._metrics.telemetry_dropped("traces")

    def _flow(
        self, *steps: Any, workflow_id: str | None = None, initial_context: Any = None, **slots: Any
    ) -> DotFlow:
        config = Config(**self._providers, **slots)
        flow = DotFlow(config=config, name=WORKFLOW, workflow_id=workflow_id)
        for step in steps:
            flow.task.add(step, initial_context=initial_context)
        return flow

    @property
    def _holds(self) -> Any:
        @action
        def hold() -> None:
            """Go on until released."""
            self._begun.set()
            self._released.wait(_PATIENCE)

        return hold


@action
def _opens(initial_context: Any) -> str:
    """Go on until the other end of a pipe is opened."""
    with open(initial_context.storage, encoding="utf-8") as gate:  # noqa: PTH123 - a pipe
        return gate.read()
