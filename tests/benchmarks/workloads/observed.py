"""What the workloads of telemetry share: a provider of spans that go nowhere, and flows."""

from __future__ import annotations

import gc
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from workload import check

from dotflow import DotFlow, action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from dotflow import Config


class NullExporter(SpanExporter):
    """Delivers every span to nowhere, at once."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver nothing."""
        return SpanExportResult.SUCCESS


@action
def step() -> int:
    """Do nothing that takes time."""
    return 1


def busy(milliseconds: float) -> Any:
    """Return a step that takes so much CPU time."""

    @action
    def work() -> int:
        until = thread_time() + milliseconds / 1000
        while thread_time() < until:
            pass
        return 1

    return work


def null_provider(exporter: SpanExporter | None = None, queue: int = 2048) -> TracerProvider:
    """Return a provider of the SDK with its batch processor and an exporter to nowhere.

    Args:
        exporter: Another exporter.
        queue: How many spans the processor keeps; it drops what is more.
    """
    provider = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter or NullExporter(), max_queue_size=queue)
    provider.add_span_processor(processor)
    return provider


def run_time(
    config: Config, count: int, mode: str = "sequential", task: Callable[..., Any] = step
) -> float:
    """Build a flow of `count` tasks and tell how long its `start()` takes, in us a task."""
    flow = DotFlow(config=config, name="bench")
    for _ in range(count):
        flow.task.add(task)
    spent = timed_call(lambda: flow.start(mode=mode))
    check(flow, count)
    return spent / count


def timed_call(function: Callable[[], object]) -> float:
    """Return how long a call takes, in microseconds, with no garbage left from before."""
    gc.collect()
    begun = perf_counter()
    function()
    return (perf_counter() - begun) * 1e6
